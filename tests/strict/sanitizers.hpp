// What the sanitizers are told of the kernel, which they cannot see.
//
// AddressSanitizer: memory that the kernel holds is poisoned, so whoever touches it is reported at that line.
// ThreadSanitizer: it must not see the kernel's own locks, for they would order what Windows does not. So inside of the
// kernel it is switched off, and is told by hand what Windows promises (released, acquired) and what the kernel does to
// the program's memory (reads, writes). Then a touch of a buffer that the kernel holds is a race that it reports.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define STRICT_ADDRESS_SANITIZER 1
#elif defined(__SANITIZE_THREAD__)
#define STRICT_THREAD_SANITIZER 1
#endif

#ifdef STRICT_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#endif

#ifdef STRICT_THREAD_SANITIZER
extern "C" {
void AnnotateIgnoreSyncBegin(const char*, int);
void AnnotateIgnoreSyncEnd(const char*, int);
void AnnotateIgnoreReadsBegin(const char*, int);
void AnnotateIgnoreReadsEnd(const char*, int);
void AnnotateIgnoreWritesBegin(const char*, int);
void AnnotateIgnoreWritesEnd(const char*, int);
void __tsan_acquire(void*);
void __tsan_release(void*);
void __tsan_read_range(void*, unsigned long);
void __tsan_write_range(void*, unsigned long);
}
#endif

namespace strict {

inline void hold_memory([[maybe_unused]] const void* start, [[maybe_unused]] std::size_t size) {
#ifdef STRICT_ADDRESS_SANITIZER
    __asan_poison_memory_region(start, size);
#endif
}
inline void give_back_memory([[maybe_unused]] const void* start, [[maybe_unused]] std::size_t size) {
#ifdef STRICT_ADDRESS_SANITIZER
    __asan_unpoison_memory_region(start, size);
#endif
}

// Whether it lies in a block of the heap that was freed. Held memory must be asked before it is given back.
inline bool is_freed([[maybe_unused]] const void* address) {
#ifdef STRICT_ADDRESS_SANITIZER
    void* frame = nullptr;
    int thread = 0;
    return __asan_get_free_stack(const_cast<void*>(address), &frame, 1, &thread) > 0;
#else
    return false;
#endif
}

#ifdef STRICT_THREAD_SANITIZER
inline thread_local int inside = 0;  // of how many calls of the kernel this thread is
inline void switch_off() {
    AnnotateIgnoreSyncBegin(__FILE__, __LINE__);
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
}
inline void switch_on() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
    AnnotateIgnoreSyncEnd(__FILE__, __LINE__);
}
// Every function of the kernel has one: ThreadSanitizer does not look while it lives.
class Inside {
public:
    Inside() {
        if (inside++ == 0) switch_off();
    }
    ~Inside() {
        if (--inside == 0) switch_on();
    }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;
};
// What follows is to be seen all the same.
class Seen {
public:
    Seen() {
        if (inside > 0) switch_on();
    }
    ~Seen() {
        if (inside > 0) switch_off();
    }
    Seen(const Seen&) = delete;
    Seen& operator=(const Seen&) = delete;
};
// What a thread did before it released an address is known to whoever acquires that later.
inline void released(const void* address) {
    const Seen seen;
    __tsan_release(const_cast<void*>(address));
}
inline void acquired(const void* address) {
    const Seen seen;
    __tsan_acquire(const_cast<void*>(address));
}
inline void kernel_reads(const void* start, std::size_t size) {
    const Seen seen;
    __tsan_read_range(const_cast<void*>(start), size);
}
inline void kernel_writes(void* start, std::size_t size) {
    const Seen seen;
    __tsan_write_range(start, size);
}
#else
struct Inside {
    Inside() {}  // not trivial, or it would be an unused variable
};
inline void released(const void*) {}
inline void acquired(const void*) {}
inline void kernel_reads(const void*, std::size_t) {}
inline void kernel_writes(void*, std::size_t) {}
#endif

}  // namespace strict
