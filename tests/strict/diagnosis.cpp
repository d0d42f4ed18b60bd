// How a program ends that has broken a rule: with a line that says what it did, and where.
#include "kernel.hpp"

#include <cstdio>
#include <cstdlib>

namespace strict {

namespace {

const char* note_on(Kind kind) {
    switch (kind) {
        case Kind::receive:
            return "notes/03-recv.md";
        case Kind::send:
            return "notes/04-send.md";
        case Kind::disconnect:
            return "notes/05-disconnect.md";
        default:
            return "notes/02-acceptex.md";
    }
}

}  // namespace

void broken_rule(const char* subject, const Request& request, const char* what) {
    std::fprintf(stderr, "strict: the %s of the %s that was started at %s:%u %s\n", subject, name_of(request.kind),
                 file_of(request.where), static_cast<unsigned>(request.where.line()), what);
    std::fprintf(stderr, "strict: read %s: what must stay alive until the packet has been taken\n",
                 note_on(request.kind));
    end_trace();
    std::abort();
}

void not_modelled(const char* what) {
    std::fprintf(stderr, "strict: %s is not modelled here\n", what);
    std::abort();
}

}  // namespace strict

#ifdef STRICT_ADDRESS_SANITIZER
#include <sanitizer/common_interface_defs.h>
#include <unistd.h>

namespace {

char last_words[600] = "";

// Behind the sanitizer's own pages.
const bool set_up = [] {
    __sanitizer_set_death_callback([] { (void)!::write(STDERR_FILENO, last_words, __builtin_strlen(last_words)); });
    return true;
}();

}  // namespace

// Called by AddressSanitizer when it is started, and when it has found something.
extern "C" const char* __asan_default_options() {
    return "detect_stack_use_after_return=1:exitcode=134:print_legend=0";
}
extern "C" void __asan_on_error() {
    char place[400] = "";
    __sanitizer_symbolize_pc(__asan_get_report_pc(), "%s:%l in %f", place, sizeof place);
    std::snprintf(last_words, sizeof last_words, "strict: %s at %s\n", __asan_get_report_description(), place);
}
#endif
