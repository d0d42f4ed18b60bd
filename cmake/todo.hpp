// What stands in a body that is still to be written (cmake/start.cmake puts it there).
#pragma once

#include <atomic>
#include <cstdio>

// For a test that calls the body itself: the first TODO that this process has come to, or null.
inline std::atomic<const char*> first_todo{nullptr};

// Flushed, for Wine keeps what goes into a pipe.
inline bool say_todo(const char* what) noexcept {
    const char* none = nullptr;
    first_todo.compare_exchange_strong(none, what);
    return std::fprintf(stderr, "TODO: %s\n", what) >= 0 && std::fflush(stderr) == 0;
}

// Says so on stderr when the body runs for the first time.
#define TODO(what)                               \
    do {                                         \
        static const bool said = say_todo(what); \
        (void)said;                              \
    } while (false)
