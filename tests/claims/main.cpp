// main() of the claims: every statement of fact in the notes, as a test that runs on Windows and on Wine.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
