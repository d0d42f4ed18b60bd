// Exercise 4 of note 05: a time limit that no amount of talking moves.
#include "tests/support/contract.hpp"
#include "tests/support/windows.hpp"

#include <chrono>

using namespace support;

namespace {

class Stage05Exercise4 : public StageTest {
protected:
    Stage05Exercise4() : StageTest("notes/05-disconnect.md", STAGE_PROGRAM) {}
};

// Speaks without a pause until its connection has been cancelled.
void speak_on(Program& program, Client& speaker) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(deadline_ms());
    const std::string line = "cancelled " + speaker.address();
    while (program.lines_starting(line).empty() && std::chrono::steady_clock::now() < end) {
        (void)speaker.try_send("still here\n");
        ::Sleep(5);  // only so as not to flood it
    }
}

TEST_F(Stage05Exercise4, NeitherSpeakingNorSilenceMovesTheEnd) {
    promise("with --lifetime SECONDS a connection ends after that time, whether it is busy or silent");
    likely("a completion moves this limit on as it moves the other, or nobody cancels what is pending: see tick()",
           "Who says why");
    Program program({"0", "--lifetime", "1", "--idle", "600"});
    Client silent(program.address());
    Client speaker(program.address());
    speak_on(program, speaker);
    program.expect_line("cancelled " + speaker.address() + ": here for 1 s");
    program.expect_line("cancelled " + silent.address() + ": here for 1 s");
    speaker.expect_any_end();
    silent.expect_any_end();
    program.stop();
}

TEST_F(Stage05Exercise4, EachConnectionHasItsOwnTime) {
    promise("the time begins with the connection: who comes when another's is over has all of it");
    likely("the time is counted from the start of the program, or the first client's end is everybody's");
    Program program({"0", "--lifetime", "3", "--idle", "2"});
    Client speaker(program.address());
    speak_on(program, speaker);
    program.expect_line("cancelled " + speaker.address() + ": here for 3 s");
    const Client silent(program.address());  // its silence ends it before its time is over
    program.expect_line("cancelled " + silent.address() + ": idle for 2 s");
    program.stop();
}

}  // namespace
