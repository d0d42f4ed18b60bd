// What a learner reads when a test fails: Promise, Did, Expected, Saw, Likely cause, Read, Rerun.
//
// A test tells its promise and what most likely breaks it; Program and Client note what was done. The first check that
// fails prints the seven lines and ends the test. Threads: did() may be called from any, the rest from the test's own.
#pragma once

#include <gtest/gtest.h>

#include <source_location>
#include <string>
#include <string_view>
#include <vector>

namespace support {

using Where = std::source_location;

// How a failure shows itself. It chooses the likely cause.
enum class Symptom {
    not_started,        // the program could not be run at all
    no_first_line,      // it runs and does not say where it listens
    ended_early,        // it ended by itself
    no_connection,      // a client is refused, or hangs in connect
    line_missing,       // the line did not come in time
    line_unexpected,    // a line came that must not
    no_bytes,           // the client waits for bytes, or for the end, in vain
    wrong_bytes,        // other bytes came
    wrong_end,          // the connection ended in another way
    does_not_stop,      // stdin has ended and the program runs on
    wrong_exit_code,    //
    wrong_diagnostics,  // stderr does not say what it should
    operations_left,    // the accounts at the end do not balance
    other
};

void promise(std::string text);
// The test's own guess, for a failure of the promise itself; and where the note speaks of it.
void likely(std::string cause, std::string section = "What goes wrong");
// The test's own guess for one symptom, in place of the general one.
void likely_when(Symptom symptom, std::string cause);
// Goes before all of these where `text` is part of what was seen. For a fixture: what a stage's basic mistakes print.
void likely_if_seen(std::string text, std::string cause);
// One step of what the test did. The same step again is counted, not repeated.
void did(const std::string& step);

// Prints the seven lines and ends the test.
[[noreturn]] void fail(Symptom symptom, const std::string& expected, const std::string& saw,
                       Where where = Where::current());
inline void expect(bool holds, const std::string& expected, const std::string& saw, Where where = Where::current()) {
    if (!holds) fail(Symptom::other, expected, saw, where);
}

// Text for one line of a failure: quoted, control bytes as \xNN, the middle of a long one left out.
std::string shown(std::string_view bytes, std::size_t limit = 160);
// "a ninth of a MiB of bytes" is no help: says where two byte strings part.
std::string difference(std::string_view expected, std::string_view saw);

// The text against an ECMAScript pattern, which all of it must match: what the groups matched, [0] being all of it;
// empty if it does not match. Here and nowhere else, because <regex> takes a compiler 10 s wherever it is included.
std::vector<std::string> matched(const std::string& text, const std::string& pattern);

// How long a test waits for what must come: 20 s, since machines are noisy. IOCP_TEST_SECONDS changes it.
unsigned deadline_ms();
std::string deadline_text();  // "20 s"

// The program that runs at the moment, for Saw: Program sets it.
struct Witness {
    virtual std::string testimony() = 0;             // its last lines and its stderr
    virtual bool ended_early(std::string& how) = 0;  // it ended though nobody asked it to
    virtual std::string name() const = 0;

protected:
    ~Witness() = default;
};
void add_witness(Witness* witness);
void remove_witness(Witness* witness);

// Base of every fixture: `class Stage03Recv : public support::StageTest { protected: Stage03Recv()
// : StageTest("notes/03-recv.md", STAGE_PROGRAM) {} };` The build defines STAGE_PROGRAM; the environment variable
// IOCP_STAGE_PROGRAM names another. Forgets the last test's story.
class StageTest : public ::testing::Test {
protected:
    StageTest(const char* note, const char* program);
};

// The program under test, as CreateProcess takes it.
std::string program_path();

// Another build of it, until the test ends.
void use_program(const char* path);

// First in a test that needs more than the program, its headers or a build of its own: where IOCP_STAGE_PROGRAM names
// somebody's own program, such a test has nothing to say about it.
bool judges_another_program();
#define NEEDS_THE_HEADERS()                \
    if (support::judges_another_program()) \
    GTEST_SKIP() << "IOCP_STAGE_PROGRAM names a program, and this test needs its sources"

}  // namespace support
