// The border between the program and the kernel, as the sanitizers have to see it.
//
// AddressSanitizer: memory that the kernel holds is poisoned, so it reports whoever touches it, at that line.
// ThreadSanitizer must not see the kernel's own locks, for they would order what Windows does not. So it looks away
// inside of the kernel, and the kernel itself reports what Windows promises (released, acquired) and what it does to
// the program's memory (reads, writes). Then touching a buffer that the kernel holds is a race.
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
// Whether held memory is no longer marked so: its function has returned, and the place on the stack is another's.
// Not looked at itself: it reads the sanitizer's own marks.
[[gnu::no_sanitize("address")]] inline bool is_no_longer_held([[maybe_unused]] const void* start,
                                                              [[maybe_unused]] std::size_t size) {
#ifdef STRICT_ADDRESS_SANITIZER
    constexpr unsigned char poisoned_by_user = 0xF7;
    std::size_t scale = 0, offset = 0;
    __asan_get_shadow_mapping(&scale, &offset);
    const std::size_t granule = std::size_t{1} << scale;
    const auto first = (reinterpret_cast<std::size_t>(start) + granule - 1) >> scale;  // the first that it has whole
    const auto end = (reinterpret_cast<std::size_t>(start) + size) >> scale;
    return first < end && *reinterpret_cast<const unsigned char*>(first + offset) != poisoned_by_user;
#else
    return false;
#endif
}

inline thread_local int inside = 0;  // how many calls of the kernel this thread is in

inline void look_away() {
#ifdef STRICT_THREAD_SANITIZER
    AnnotateIgnoreSyncBegin(__FILE__, __LINE__);
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
#endif
}
inline void look_again() {
#ifdef STRICT_THREAD_SANITIZER
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
    AnnotateIgnoreSyncEnd(__FILE__, __LINE__);
#endif
}
// Every function of the kernel has one: ThreadSanitizer does not look while it lives, and no allocation fails.
class Inside {
public:
    Inside() {
        if (inside++ == 0) look_away();
    }
    ~Inside() {
        if (--inside == 0) look_again();
    }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;
};
// Does what ThreadSanitizer is to see all the same.
template <class Does>
void seen(Does does) {
    if (inside > 0) look_again();
    does();
    if (inside > 0) look_away();
}

// What a thread did before it released an address is known to whoever acquires that later.
inline void released([[maybe_unused]] const void* address) {
#ifdef STRICT_THREAD_SANITIZER
    seen([&] { __tsan_release(const_cast<void*>(address)); });
#endif
}
inline void acquired([[maybe_unused]] const void* address) {
#ifdef STRICT_THREAD_SANITIZER
    seen([&] { __tsan_acquire(const_cast<void*>(address)); });
#endif
}
inline void kernel_reads([[maybe_unused]] const void* start, [[maybe_unused]] std::size_t size) {
#ifdef STRICT_THREAD_SANITIZER
    seen([&] { __tsan_read_range(const_cast<void*>(start), size); });
#endif
}
inline void kernel_writes([[maybe_unused]] void* start, [[maybe_unused]] std::size_t size) {
#ifdef STRICT_THREAD_SANITIZER
    seen([&] { __tsan_write_range(start, size); });
#endif
}

}  // namespace strict
