// Exercise 4 of note 01: one operation that is posted again from its own complete().
#include "tests/support/contract.hpp"

using namespace support;

namespace {

class Stage01Exercise4 : public StageTest {
protected:
    Stage01Exercise4() : StageTest("notes/01-create-port.md", STAGE_PROGRAM) {}
};

TEST_F(Stage01Exercise4, ARepeatedLineComesOutSoManyTimes) {
    promise("`repeat 3 hello` comes out of the port three times, each time with the key of its line and 5 bytes");
    likely(
        "the operation is deleted after its first packet, or counts behind the post: another worker may have it by "
        "then",
        "Walk-through");
    Program program;
    program.send_line("repeat 3 hello");
    program.send_line("repeat");
    program.expect_lines(3, "packet: key 1, 5 bytes: hello");
    program.expect_line("packet: key 2, 6 bytes: repeat");
    const std::uint64_t posted = program.stop();
    const std::size_t printed = program.lines_starting("packet: ").size();
    expect(printed == 4 && posted == 4, "4 packets printed and 4 operations posted",
           std::to_string(printed) + " printed and " + std::to_string(posted) + " posted");
}

TEST_F(Stage01Exercise4, TheStopWaitsForTheRest) {
    promise(
        "a line that still goes round when stdin ends comes out as often as it was asked for, and then comes the stop");
    likely_when(Symptom::operations_left,
                "the operation posts itself behind the stop packets, where no worker is left to take it");
    Program program;
    program.send_to_stdin("repeat 500 one\nrepeat 500 two\n");
    did("wrote `repeat 500 one` and `repeat 500 two` to its stdin");
    const std::uint64_t posted = program.stop();
    const std::size_t one = program.lines_starting("packet: key 1, 3 bytes: one").size();
    const std::size_t two = program.lines_starting("packet: key 2, 3 bytes: two").size();
    expect(one == 500 && two == 500 && posted == 1000, "500 packets of each line and 1000 operations posted",
           std::to_string(one) + " and " + std::to_string(two) + ", and " + std::to_string(posted) + " posted");
}

}  // namespace
