// Exercise 4 of note 02: two listeners on one completion port.
#include "tests/support/contract.hpp"

using namespace support;

namespace {

class Stage02Exercise4 : public StageTest {
protected:
    Stage02Exercise4() : StageTest("notes/02-acceptex.md", STAGE_PROGRAM) {}
};

// Where the second listener listens: its line comes behind that of the first.
std::string other_address(Program& program) {
    const std::string start = "listening on ";
    return program.expect_lines(2, start)[1].substr(start.size());
}

TEST_F(Stage02Exercise4, OneCompletionPortServesTwoListeners) {
    promise("with --also PORT the program listens on a second port too, says so, and accepts the clients of both");
    likely("the second listening socket is not associated with the port, or nobody replenishes its accepts",
           "Walk-through");
    Program program({"0", "--also", "0"});
    const std::string other = other_address(program);
    expect(other != program.address(), "two addresses", other + " twice");
    for (int i = 0; i < 20; ++i) {  // more than there are accepts
        Client one(program.address());
        Client two(other);
        program.expect_line("accepted " + one.address());
        program.expect_line("accepted " + two.address());
        one.finish_sending();
        two.finish_sending();
        program.expect_line("finished " + one.address());
        program.expect_line("finished " + two.address());
    }
    program.stop();
}

TEST_F(Stage02Exercise4, TheStopEndsBoth) {
    promise("at stop the accepts of both listeners are cancelled, and the clients of both are reported");
    likely_when(Symptom::does_not_stop,
                "Server::stop waits until nothing is pending on the port, and the accepts of the other server are");
    Program program({"0", "--also", "0", "--accepts", "3"});
    const std::string other = other_address(program);
    std::vector<Client> clients;
    for (int i = 0; i < 5; ++i) {
        clients.emplace_back(program.address());
        clients.emplace_back(other);
    }
    program.expect_lines(10, "accepted ");
    program.stop();
    for (Client& client : clients) {
        program.expect_line("cancelled " + client.address() + ": the server stops");
        client.expect_any_end();
    }
}

}  // namespace
