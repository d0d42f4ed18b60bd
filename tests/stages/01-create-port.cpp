// Stage 01 from outside: lines of stdin come out of the port as packets, and association alone completes nothing. And
// its operation, from inside.
#include "01-create-port/port.hpp"
#include "tests/support/contract.hpp"

#include <set>

using namespace support;

namespace {

class Stage01CreatePort : public StageTest {
protected:
    Stage01CreatePort() : StageTest("notes/01-create-port.md", STAGE_PROGRAM) {}
};

CONTRACT_TESTS(Stage01CreatePort)

TEST_F(Stage01CreatePort, APostedLineComesOutOfThePort) {
    promise("a line of stdin is posted as a packet, and a worker prints it with its key and byte count");
    likely("no worker waits on the port, or the values given to PostQueuedCompletionStatus are in another order");
    Program program;
    program.send_line("hello");
    program.expect_line("packet: key 1, 5 bytes: hello");
    program.stop();
}

TEST_F(Stage01CreatePort, EachPacketKeepsItsOwnKeyBytesAndLine) {
    promise("every packet carries the key, the byte count and the operation that it was posted with");
    likely("the packets share one operation: each needs its own OVERLAPPED, until its packet has been handled",
           "Walk-through");
    likely_when(Symptom::line_missing,
                "only the first few came: a worker ends after one packet, instead of going on; all came, but changed: "
                "they share one operation, and each needs an OVERLAPPED of its own");
    Program program;
    for (int i = 1; i <= 100; ++i)
        program.send_line(std::string(static_cast<std::size_t>(i), 'x'));
    for (int i = 1; i <= 100; ++i) {
        const std::string count = std::to_string(i);
        program.expect_line("packet: key " + count + ", " + count +
                            " bytes: " + std::string(static_cast<std::size_t>(i), 'x'));
    }
    program.stop();
}

TEST_F(Stage01CreatePort, AnEmptyLineIsAPacketOfNoBytes) {
    promise("a packet of zero bytes is a packet like any other");
    likely("zero bytes, or FALSE, is taken for the end: only a packet without an operation stops a worker");
    Program program;
    program.send_to_stdin("\n\n\n\n\n\n\n\nthe ninth\n");
    did("wrote 8 empty lines and `the ninth` to its stdin");
    program.expect_lines(8, "packet: key ");
    program.expect_line("packet: key 8, 0 bytes: ");
    program.expect_line("packet: key 9, 9 bytes: the ninth");
    program.stop();
}

TEST_F(Stage01CreatePort, EveryPacketIsHandledExactlyOnce) {
    promise("each packet wakes one worker: 2000 lines come out 2000 times, none twice and none lost");
    likely("two workers share the place where a packet is put, or a packet is posted twice");
    Program program;
    std::string all;
    for (int i = 1; i <= 2000; ++i)
        all += "line " + std::to_string(i) + "\n";
    program.send_to_stdin(all);
    did("wrote 2000 lines to its stdin");
    const auto printed = program.expect_lines(2000, "packet: key ");
    const std::uint64_t posted = program.stop();
    const std::set<std::string> different(printed.begin(), printed.end());
    const std::size_t count = program.lines_starting("packet: ").size();
    expect(different.size() == 2000 && count == 2000, "2000 lines, all different",
           std::to_string(count) + " lines, " + std::to_string(different.size()) + " different");
    expect(posted == 2000, "2000 operations posted", std::to_string(posted));
}

TEST_F(Stage01CreatePort, PacketsInTheQueueAreHandledBeforeTheStop) {
    promise("lines that are still in the queue when stdin ends are printed before the program stops");
    likely(
        "workers are stopped by a flag or by closing the port, ahead of the packets that wait: post the stop behind "
        "them");
    Program program;
    std::string all;
    for (int i = 0; i < 3000; ++i)
        all += "x\n";
    program.send_to_stdin(all);
    did("wrote 3000 lines to its stdin");
    const std::uint64_t posted = program.stop();
    const std::size_t printed = program.lines_starting("packet: ").size();
    expect(posted == 3000 && printed == 3000, "3000 packets posted and 3000 printed",
           std::to_string(posted) + " posted and " + std::to_string(printed) + " printed");
}

TEST_F(Stage01CreatePort, ALineWithoutAnEndIsPostedToo) {
    promise("the last line counts even when stdin ends without a line end");
    likely("what was read is thrown away at the end of the input", "Walk-through");
    Program program;
    program.send_to_stdin("cut off");
    program.stop();
    program.expect_line("packet: key 1, 7 bytes: cut off");
}

TEST_F(Stage01CreatePort, BytesAreCountedWhateverTheyAre) {
    promise("the byte count is the length of the line, whichever bytes it is made of");
    likely("strlen stops at a NUL: count with the string's own size");
    Program program;
    likely_when(Symptom::line_missing, "stdin is read as text, which ends at a byte 0x1A: make it binary first");
    program.send_to_stdin(std::string("a\0b\n", 4) + "\xC3\xA9\xFF\n" + "a line\r\n" + "a\x1A" + "b\nthe last\n");
    did("wrote lines with a NUL, with bytes over 127, with \\r\\n at the end and with a byte 0x1A to its stdin");
    program.expect_line(std::string("packet: key 1, 3 bytes: a\0b", 27));
    program.expect_line("packet: key 2, 3 bytes: \xC3\xA9\xFF");
    program.expect_line("packet: key 3, 6 bytes: a line");
    program.expect_line(
        "packet: key 4, 3 bytes: a\x1A"
        "b");
    program.expect_line("packet: key 5, 8 bytes: the last");
    program.stop();
}

TEST_F(Stage01CreatePort, AVeryLongLineIsOnePacket) {
    promise("a line of 100,000 bytes is one packet with that count");
    likely("the line is read into a buffer of fixed size");
    Program program;
    const std::string line(100000, 'z');
    program.send_to_stdin(line + "\n");
    did("wrote a line of 100,000 bytes to its stdin");
    program.expect_line("packet: key 1, 100000 bytes: " + line);
    program.stop();
}

TEST_F(Stage01CreatePort, AssociationAloneCompletesNothing) {
    promise("clients connect and send, and no packet comes: only operations that were posted complete");
    likely("something else is printed when a client comes; this stage accepts nobody", "Walk-through");
    Program program;
    Client one(program.address());
    one.send("anybody there?");
    Client two(program.address());
    two.finish_sending();
    Client(program.address()).reset();
    program.send_line("only me");  // a packet that comes after anything the clients could have caused
    program.expect_line("packet: key 1, 7 bytes: only me");
    const std::uint64_t posted = program.stop();
    const auto lines = program.lines();
    expect(lines.size() == 3 && posted == 1, "three lines: listening, the packet, stopped",
           std::to_string(lines.size()) + " lines and " + std::to_string(posted) + " operations");
}

TEST_F(Stage01CreatePort, ManyClientsInTheBacklogChangeNothing) {
    promise("clients that nobody accepts do not disturb the packets, nor the stop");
    likely("the listening socket is closed or read while clients wait");
    Program program;
    std::vector<Client> waiting;
    for (int i = 0; i < 50; ++i)
        waiting.emplace_back(program.address());
    for (Client& client : waiting)
        client.send("x");
    program.send_line("still here");
    program.expect_line("packet: key 1, 10 bytes: still here");
    program.stop();
}

struct AsksWhatIsPending final : Operation {
    explicit AsksWhatIsPending(CompletionPort& port) : Operation(port), port_(port) {}
    void complete(const Packet&) noexcept override { pending_inside = port_.pending(); }

    std::uint64_t pending_inside = 0;

private:
    CompletionPort& port_;
};

TEST_F(Stage01CreatePort, AnOperationIsPendingUntilItsHandlerHasReturned) {
    NEEDS_THE_HEADERS();
    promise("pending() counts an operation until complete() has returned: who waits for 0 may end what a handler uses");
    likely("completed_ is incremented before complete() is called, or not at all");
    CompletionPort port;
    AsksWhatIsPending operation(port);
    expect(operation.post(0, 0) == 0, "a posted operation", "an error");
    const Packet packet = port.wait();
    expect(packet.operation == &operation, "its packet", "another one");
    operation.dispatch(packet);
    expect(operation.pending_inside == 1, "1 pending inside of complete()", std::to_string(operation.pending_inside));
    expect(port.pending() == 0, "0 pending after it", std::to_string(port.pending()));
}

}  // namespace
