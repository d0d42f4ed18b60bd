// Exercise 4 of note 04: a last word behind the client's FIN.
#include "tests/support/contract.hpp"

using namespace support;

namespace {

class Stage04Exercise4 : public StageTest {
protected:
    Stage04Exercise4() : StageTest("notes/04-send.md", STAGE_PROGRAM) {}
};

// Lets the client finish; it must then get this last word, the server's FIN, and the right line.
void expect_goodbye(Program& program, Client& client, const std::string& message) {
    const std::string goodbye = "goodbye after " + std::to_string(message.size()) + " bytes\n";
    client.finish_sending();
    const std::string came = client.expect_end(End::finished);
    if (came != message + goodbye) {
        fail(Symptom::wrong_bytes, "the echo, then " + shown(goodbye), difference(message + goodbye, came));
    }
    program.expect_line("finished " + client.address() + ": " + std::to_string(message.size()) + " bytes received, " +
                        std::to_string(message.size() + goodbye.size()) + " sent");
}

TEST_F(Stage04Exercise4, TheLastWordComesBehindTheEcho) {
    promise(
        "with --goodbye a client that has finished gets the rest of its echo, then `goodbye after N bytes`, then FIN");
    likely("our FIN is sent when zero bytes come, and not when the last send has ended", "After the client's FIN");
    likely_when(Symptom::no_bytes,
                "the last word's end leads to a receive, as every send's: that gets zero bytes again");
    Program program({"0", "--goodbye"});
    Client client(program.address());
    const std::string message = numbered_bytes(100000);
    client.send(message);
    expect_goodbye(program, client, message);
    program.stop();
}

TEST_F(Stage04Exercise4, EveryClientGetsItsOwn) {
    promise("clients that finish at the same time each get their own count, also one that has sent nothing");
    likely("the text is shared, or gone before its send has ended: it must be a member of the connection",
           "The greeting");
    Program program({"0", "--goodbye"});
    std::vector<Client> clients;
    for (int i = 0; i < 50; ++i)
        clients.emplace_back(program.address());
    const auto message = [](std::size_t i) { return std::string(i * 10, 'x'); };
    for (std::size_t i = 0; i < clients.size(); ++i)
        clients[i].send(message(i));
    for (std::size_t i = 0; i < clients.size(); ++i)
        expect_goodbye(program, clients[i], message(i));
    program.stop();
}

}  // namespace
