// Exercise 4 of note 06: a client that has used up its quota is ended gracefully.
#include "tests/support/client.hpp"
#include "tests/support/failure.hpp"
#include "tests/support/program.hpp"

using namespace support;

namespace {

class Stage06Exercise4 : public StageTest {
protected:
    Stage06Exercise4() : StageTest("notes/06-full-server.md", STAGE_PROGRAM) {}
};

Program::Arguments with_quota(const std::string& mode, const std::string& quota) {
    Program::Arguments arguments = {"0",    "--stop-on-eof", "--verbose", "--drain", "60", "--receive-buffer",
                                    "4096", "--quota",       quota};
    if (!mode.empty()) arguments.push_back(mode);
    return arguments;
}

TEST_F(Stage06Exercise4, WhoHasUsedItsQuotaGetsTheEchoThenFin) {
    promise("with --quota BYTES a client that has sent so many gets what it is owed, then FIN; the others stay");
    likely("the connection is dropped, which cancels its send: Connection::close lets the queue run empty first",
           "The stop");
    for (const std::string mode : {"", "--no-skip-on-success"}) {
        Program program(with_quota(mode, "1000"));
        {
            Client other(program.address());
            Client client(program.address());
            client.send(std::string(999, 'a'));
            client.expect(std::string(999, 'a'));
            program.expect_no_line("closed ");
            client.send(std::string(999, 'b'));
            const std::string rest = client.expect_end(End::finished);
            expect(rest == std::string(999, 'b'), "the other 999 bytes, then FIN", shown(rest));
            other.send("hello");
            other.expect("hello");
            (void)client.try_send("too late");
            client.finish_sending();
            program.expect_line("closed " + client.address() + ": its quota of 1000 bytes is used up");
        }
        program.stop();
        program.expect_no_line("dropped ");
    }
}

TEST_F(Stage06Exercise4, WhatComesBehindTheQuotaIsThrownAway) {
    promise("a client that sends on beyond its quota gets the beginning of it back, then FIN, and is reported once");
    likely("bytes that come when the connection is ending are still sent back, or are not received at all");
    for (const std::string mode : {"", "--no-skip-on-success"}) {
        Program program(with_quota(mode, "5000"));
        Client client(program.address());
        const std::string message = numbered_bytes(4u << 20);
        expect(client.try_send(message), "all 4 MiB to be taken", "an end before that");
        client.finish_sending();
        const std::string echo = client.expect_end(End::finished);
        // One receive may go beyond the quota, by less than --receive-buffer.
        expect(echo.size() >= 5000 && echo.size() < 5000 + 4096, "5000 bytes or a little more",
               std::to_string(echo.size()));
        if (!message.starts_with(echo)) fail(Symptom::wrong_bytes, "the beginning", difference(message, echo));
        program.expect_line("closed " + client.address() + ": its quota of 5000 bytes is used up");
        program.stop();
    }
}

}  // namespace
