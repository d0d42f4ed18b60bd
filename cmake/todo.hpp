// What stands in a body that is still to be written (cmake/start.cmake puts it there).
#pragma once

#include <cstdio>

// Says so on stderr when the body runs for the first time.
#define TODO(what)                                                      \
    do {                                                                \
        static const int once = std::fputs("TODO: " what "\n", stderr); \
        (void)once;                                                     \
    } while (false)
