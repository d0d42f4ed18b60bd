// What stands in a body that is still to be written (cmake/start.cmake puts it there).
#pragma once

#include <cstdio>

// Says so on stderr when the body runs for the first time; at once, for Wine keeps what goes into a pipe.
#define TODO(what)                                                                                      \
    do {                                                                                                \
        static const int once = std::fputs("TODO: " what "\n", stderr) < 0 || std::fflush(stderr) != 0; \
        (void)once;                                                                                     \
    } while (false)
