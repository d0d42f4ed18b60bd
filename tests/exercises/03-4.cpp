// Exercise 4 of note 03: messages with their length in front, found in a stream that keeps no borders.
#include "tests/support/contract.hpp"

using namespace support;

namespace {

class Stage03Exercise4 : public StageTest {
protected:
    Stage03Exercise4() : StageTest("notes/03-recv.md", STAGE_PROGRAM) {}
};

// Two bytes for the length, the high one first, and the text.
std::string message(const std::string& text) {
    return std::string{static_cast<char>(text.size() >> 8), static_cast<char>(text.size() & 0xFF)} + text;
}

// The sizes in this client's lines `message`, in their order.
std::string sizes(const Program& program, const Client& client) {
    const std::string start = "message " + client.address() + ": ";
    std::string all;
    for (const std::string& line : program.lines_starting(start))
        all += line.substr(start.size()) + ", ";
    return all;
}

TEST_F(Stage03Exercise4, AMessageIsToldWhenItIsWhole) {
    promise("with --messages, a message that comes in two pieces is reported once, when its last byte is there");
    likely("a receive is taken for a message");
    Program program({"0", "--messages"});
    Client client(program.address());
    const std::string hello = message("hello");
    client.send(hello.substr(0, 4));
    program.expect_line("received " + client.address() + ": 4 bytes");
    program.expect_no_line("message ");
    client.send(hello.substr(4));
    program.expect_line("message " + client.address() + ": 5 bytes");
    program.stop();
}

TEST_F(Stage03Exercise4, APieceMayHoldSeveralMessages) {
    promise("messages that come together are reported one by one; what follows the last of them begins the next");
    likely("only the first message of a receive is looked for, or the bytes behind it are thrown away");
    Program program({"0", "--messages"});
    Client client(program.address());
    const std::string last = message("the last");
    client.send(message("one") + message("") + message("three") + last.substr(0, 1));
    client.send(last.substr(1));
    program.expect_line("message " + client.address() + ": 8 bytes");
    program.stop();
    expect(sizes(program, client) == "3 bytes, 0 bytes, 5 bytes, 8 bytes, ", "3, 0, 5 and 8 bytes",
           sizes(program, client));
}

TEST_F(Stage03Exercise4, AMessageMayComeInAnyPieces) {
    promise("it does not matter how the stream is cut: byte by byte, or in pieces that the buffer does not hold");
    likely(
        "the two bytes of the length must not be expected in one receive, nor a message in one buffer; a length "
        "byte over 127 is no negative number");
    Program program({"0", "--messages"});
    Client bytes(program.address());
    for (const char byte : message(std::string(300, 'x')) + message("y"))
        bytes.send(std::string(1, byte));
    program.expect_line("message " + bytes.address() + ": 300 bytes");
    program.expect_line("message " + bytes.address() + ": 1 bytes");
    Client large(program.address());
    large.send(message(std::string(65535, 'x')) + message(std::string(200, 'y')));
    program.expect_line("message " + large.address() + ": 65535 bytes");
    program.expect_line("message " + large.address() + ": 200 bytes");
    program.stop();
}

}  // namespace
