// main() of the claims: every statement of fact in the notes, as a test that runs on Windows and on Wine.
// Above each stands where Windows documents it, or that no source is known.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
