// Stage 05 from outside: every way in which a connection can end, told apart, and none that costs the server anything.
#include "tests/support/contract.hpp"
#include "tests/support/windows.hpp"

using namespace support;

namespace {

class Stage05Disconnect : public StageTest {
protected:
    Stage05Disconnect() : StageTest("notes/05-disconnect.md", STAGE_PROGRAM) {
        likely_if_seen("error 0 (0)",
                       "its count came to 0 and nothing had said why: the next receive was not started, the error of a "
                       "start was not kept, or an operation was started without being counted");
    }
};

CONTRACT_TESTS(Stage05Disconnect)

void expect_echo(Client& client, const std::string& text) {
    client.send(text);
    client.expect(text);
}

void serve_ten(Program& program) {
    std::vector<Client> clients;
    for (int i = 0; i < 10; ++i)
        clients.emplace_back(program.address());
    for (Client& client : clients)
        client.send("hello\n");
    for (Client& client : clients)
        client.expect("hello\n");
    for (Client& client : clients)
        client.finish_sending();
    for (Client& client : clients)
        program.expect_line("finished " + client.address() + ": the client closed first");
}

TEST_F(Stage05Disconnect, TheSecondLineTellsWhetherSocketsAreReused) {
    promise("the second line tells whether this system reuses sockets: Windows does, Wine does not");
    likely("Wine's DisconnectEx takes TF_REUSE_SOCKET and says that it worked: ask ntdll for wine_get_version",
           "Windows and Wine");
    Program program;
    program.expect_line(on_wine() ? "socket reuse: off, Wine does not reuse sockets" : "socket reuse: on");
    program.stop();
    expect(program.lines().at(1).starts_with("socket reuse: "), "it as the second line", shown(program.lines().at(1)));
}

TEST_F(Stage05Disconnect, TheClientFinishes) {
    promise(
        "when the client closes first, it gets the rest of its echo and our FIN, and the line says who closed first");
    likely("zero bytes are taken for a lost client");
    likely_when(Symptom::no_bytes,
                "all bytes came back: its count never comes to 0, as a handler returns without release() or something "
                "is added twice; not all did: the next receive or send is not started");
    Program program;
    Client client(program.address());
    const std::string message = numbered_bytes(50000);
    client.send(message);
    client.finish_sending();
    const std::string echo = client.expect_end(End::finished);
    if (echo != message) fail(Symptom::wrong_bytes, "all of the echo, then FIN", difference(message, echo));
    program.expect_line("finished " + client.address() + ": the client closed first");
    program.stop();
}

TEST_F(Stage05Disconnect, TheClientIsLost) {
    promise("a client that resets is reported as lost, with the error's name and Winsock's number");
    likely("a failed packet is taken for an end, or its number is the port's own (64) instead of Winsock's");
    likely_when(Symptom::line_missing, "after an error a handler returns without release(), so nobody closes it");
    Program program;
    std::size_t lost = 0;
    for (int i = 0; i < 20; ++i) {
        Client client(program.address());
        expect_echo(client, "hello\n");
        client.reset();
        const auto line = program.expect_line_like("(lost|finished) " + client.address() + ": (.*)");
        if (line[1] == "lost" && line[2] == "WSAECONNRESET (10054)") ++lost;
    }
    // The next receive may not be posted yet when the reset comes. Wine 8.0 then shows it as an end; others do not.
    const std::size_t least = wine_version() == 8 ? 1 : 20;
    expect(lost >= least, "`lost ADDRESS: WSAECONNRESET (10054)` for each of 20 clients that reset",
           std::to_string(lost) + " such lines");
    program.stop();
}

TEST_F(Stage05Disconnect, AStartThatFailsEndsTheConnection) {
    promise("a client that resets right after its bytes is reported once: the answer to them cannot be sent any more");
    likely("a start that failed was not taken off the count, or its error was not looked at: no packet will come");
    Program program;
    std::vector<Client> clients;
    for (int i = 0; i < 50; ++i) {
        clients.emplace_back(program.address());
        program.expect_line("accepted " + clients.back().address());
        clients.back().send(std::string(20000, 'x'));
        clients.back().reset();
    }
    for (const Client& client : clients)
        program.expect_line_like("lost " + client.address() + ": WSAE[A-Z]+ \\(\\d+\\)|finished " + client.address() +
                                 ": the client closed first");
    program.stop();
}

TEST_F(Stage05Disconnect, ByeMakesTheServerCloseFirst) {
    promise(
        "after the line `bye` the client gets the echo and FIN; once it has closed too, the server tells that it was "
        "first");
    likely(
        "closesocket instead of a FIN and a receive: bytes on their way are lost, and on Windows the client reads RST");
    Program program({"0", "--deadline", "600"});
    Client client(program.address());
    expect_echo(client, "hello\n");
    client.send("bye\n");
    const std::string bytes = client.expect_end(End::finished);
    expect(bytes == "bye\n", "the echo \"bye\\n\", then FIN", shown(bytes));
    program.expect_no_line("closed ");
    client.finish_sending();
    program.expect_line("closed " + client.address() + ": the server closed first");
    program.stop();
}

TEST_F(Stage05Disconnect, ByeIsFoundHoweverItComes) {
    promise("a command is a whole line: byte by byte, with \\r\\n, or behind other lines in one piece");
    likely("a receive is taken for a line: a line may come in pieces, and a piece may hold several lines");
    Program program({"0", "--deadline", "600"});
    Client bytes(program.address());
    for (const char byte : std::string("bye\n"))
        bytes.send(std::string(1, byte));
    Client carriage_return(program.address());
    carriage_return.send("bye\r\n");
    Client behind(program.address());
    behind.send("one\ntwo\nbye\n");
    Client late(program.address());
    expect_echo(late, "b");
    expect_echo(late, "ye");
    late.send("\n");
    const auto says_bye = [&](Client& client, const std::string& expected) {
        const std::string echo = client.expect_end(End::finished);
        expect(echo == expected, shown(expected) + ", then FIN", shown(echo));
        client.finish_sending();
        program.expect_line("closed " + client.address() + ": the server closed first");
    };
    says_bye(bytes, "bye\n");
    says_bye(carriage_return, "bye\r\n");
    says_bye(behind, "one\ntwo\nbye\n");
    says_bye(late, "\n");
    program.stop();
}

TEST_F(Stage05Disconnect, OtherLinesAreNoCommands) {
    promise("only the exact lines `bye` and `abort` are commands; everything else is echoed and nothing more");
    likely("the bytes are searched for the word instead of the line being compared");
    Program program;
    Client client(program.address());
    for (const char* line : {"goodbye\n", "bye bye\n", "BYE\n", " bye\n", "aborted\n", "\n", "byebyebyebyebyebye\n"}) {
        expect_echo(client, line);
    }
    expect_echo(client, std::string("bye\0\n", 5));
    expect_echo(client, all_bytes());
    expect_echo(client, "\nbye");  // no line end yet
    client.finish_sending();
    program.expect_line("finished " + client.address() + ": the client closed first");
    program.stop();
}

TEST_F(Stage05Disconnect, NothingIsEchoedAfterBye) {
    promise("what a client sends after its line `bye` is not answered, and its own end is still waited for");
    likely(
        "the server goes on echoing after its FIN: that send fails with WSAESHUTDOWN, and the connection looks lost");
    Program program({"0", "--deadline", "600"});
    Client client(program.address());
    client.send("bye\n");
    const std::string echo = client.expect_end(End::finished);
    expect(echo == "bye\n", "\"bye\\n\", then FIN", shown(echo));
    for (int i = 0; i < 10; ++i)
        client.send("too late\n");
    client.finish_sending();
    program.expect_line("closed " + client.address() + ": the server closed first");
    program.stop();
}

TEST_F(Stage05Disconnect, AClientThatNeverEndsIsAbortedAfterTheDeadline) {
    promise("after `bye` the server waits --deadline seconds for the client's own end, then aborts the connection");
    likely("nobody cancels the receive that waits for the client's FIN, so the connection stays for ever");
    Program program({"0", "--deadline", "0.5"});
    Client client(program.address());
    client.send("bye\n");
    client.expect_end(End::finished);
    program.expect_line("aborted " + client.address() + ": no end from the client within 0.5 s");
    program.stop();
}

TEST_F(Stage05Disconnect, TheAbortAfterTheDeadlineIsAReset) {
    promise("a client that does not end within --deadline gets RST: after it, the client cannot send either");
    likely("without linger{1, 0} closesocket gives up quietly: the client has had FIN already, and goes on sending");
    Program program({"0", "--deadline", "0.5"});
    Client client(program.address());
    client.send("bye\n");
    client.expect_end(End::finished);
    program.expect_line("aborted " + client.address() + ": no end from the client within 0.5 s");
    program.stop();  // so the socket is closed
    bool is_taken = client.try_send("x");
    // Windows may send RST only as its answer to this.
    for (int i = 0; i < 100 && is_taken && !on_wine(); ++i, ::Sleep(10))
        is_taken = client.try_send("x");
    expect(!is_taken, "the client's next send to fail, because RST has come",
           "it was taken: the client has seen nothing but FIN");
}

TEST_F(Stage05Disconnect, AbortResetsTheConnection) {
    promise("after the line `abort` the client sees RST, and the line says that it was asked for");
    likely("without linger{1, 0} closesocket sends FIN");
    Program program;
    for (int i = 0; i < 10; ++i) {
        Client client(program.address());
        expect_echo(client, "hello\n");
        client.watch();
        client.send("abort\n");
        const std::string bytes = client.expect_end(End::reset);
        expect(std::string("abort\n").starts_with(bytes), "at most the echo of the line", shown(bytes));
        program.expect_line("aborted " + client.address() + ": on request");
    }
    program.stop();
}

TEST_F(Stage05Disconnect, SilenceIsCancelled) {
    promise("a client that is silent for --idle seconds is cancelled, and sees its connection end");
    likely("SO_RCVTIMEO does nothing for overlapped receives: a timer must call CancelIoEx");
    Program program({"0", "--idle", "0.5"});
    Client never_spoke(program.address());
    Client fell_silent(program.address());
    expect_echo(fell_silent, "hello\n");
    program.expect_line("cancelled " + never_spoke.address() + ": idle for 0.5 s");
    program.expect_line("cancelled " + fell_silent.address() + ": idle for 0.5 s");
    never_spoke.expect_any_end();
    fell_silent.expect_any_end();
    program.stop();
}

TEST_F(Stage05Disconnect, WhoSpeaksIsNotIdle) {
    promise("a client that goes on speaking outlives --idle, however long it stays");
    likely("the time of idleness is counted from the accept, and not from the last completion");
    Program program({"0", "--idle", "3"});
    Client speaker(program.address());
    const auto cancelled = [&] { return program.lines_starting("cancelled ").size(); };
    // Two silent clients, one after the other, measure the time: the speaker then is older than --idle for sure.
    for (std::size_t i = 0; i < 2; ++i) {
        const Client silent(program.address());
        while (cancelled() == i) {
            expect_echo(speaker, "still here\n");
            ::Sleep(20);  // only so as not to flood it
        }
    }
    expect_echo(speaker, "and still\n");
    program.expect_no_line("cancelled " + speaker.address());
    program.stop();
}

TEST_F(Stage05Disconnect, AClientThatNeverReadsIsIdleToo) {
    promise("a client that lets the server's send wait for --idle seconds is cancelled, and leaves nothing behind");
    likely(
        "only the receive is cancelled; or the socket is closed while its send is pending: on Wine the rest of that "
        "send "
        "then reaches the next client that gets the same handle");
    Program program({"0", "--idle", "3"});
    std::vector<Client> deaf;
    for (int i = 0; i < 3; ++i) {
        deaf.emplace_back(program.address(), ClientOptions{.receive_buffer = 4096});
        deaf.back().send_until_stuck(64u << 20);
    }
    for (Client& client : deaf)
        program.expect_line("cancelled " + client.address() + ": idle for 3 s");
    for (int i = 0; i < 3; ++i)
        serve_ten(program);  // each reads its own bytes and no others
    program.stop();
}

TEST_F(Stage05Disconnect, ResetWhileTheServerWaitsForTheEnd) {
    promise("a client that answers the server's FIN with RST ends the connection once, however it is reported");
    likely("the timer and the completion both end the connection: only the last of what is pending may close it");
    Program program({"0", "--deadline", "600"});
    for (int i = 0; i < 20; ++i) {
        Client client(program.address());
        client.send("bye\n");
        client.expect_end(End::finished);
        client.reset();
        program.expect_line_like("(lost|closed) " + client.address() + ": .*");
    }
    serve_ten(program);
    program.stop();
    expect(program.lines_starting("lost ").size() + program.lines_starting("closed ").size() == 20, "20 ends",
           "others");
}

TEST_F(Stage05Disconnect, TheDeadlineAndTheEndMayMeet) {
    promise("when the client's end comes just when the deadline passes, exactly one of the two is reported");
    likely("the timer closes the socket itself, instead of cancelling and leaving it to the last completion");
    Program program({"0", "--deadline", "0.1", "--idle", "0.1"});
    std::vector<Client> clients;
    for (int i = 0; i < 100; ++i) {
        clients.emplace_back(program.address());
        clients.back().try_send(i % 2 == 0 ? "bye\n" : "hello\n");
    }
    for (Client& client : clients)
        client.finish_sending();
    for (Client& client : clients)
        program.expect_line_like("(finished|closed|aborted|cancelled|lost) " + client.address() + ": .*");
    program.stop();
    for (Client& client : clients) {
        std::size_t ends = 0;
        for (const std::string& line : program.lines()) {
            const bool end = line.find(' ' + client.address() + ": ") != std::string::npos;
            ends += end && !line.starts_with("reusing ") ? 1u : 0u;
        }
        expect(ends == 1, "one end for " + client.address(), std::to_string(ends));
    }
}

TEST_F(Stage05Disconnect, EveryEndAtTheSameTime) {
    promise("100 clients that end in five ways at the same time are each reported in their own way");
    likely(
        "what one connection decides reaches another, or a connection is destroyed while something is pending on it");
    Program program({"0", "--idle", "600", "--deadline", "600"});
    std::vector<Client> clients;
    for (int i = 0; i < 100; ++i)
        clients.emplace_back(program.address());
    for (Client& client : clients)
        client.send("hello\n");
    for (Client& client : clients)
        client.expect("hello\n");
    for (std::size_t i = 0; i < clients.size(); ++i) {
        switch (i % 5) {
            case 0:
                clients[i].send("bye\n");
                break;
            case 1:
                clients[i].send("abort\n");
                break;
            case 2:
                clients[i].finish_sending();
                break;
            case 3:
                clients[i].reset();
                break;
            default:
                break;  // stays to the end
        }
    }
    for (std::size_t i = 0; i < clients.size(); ++i) {
        const std::string& address = clients[i].address();
        switch (i % 5) {
            case 0:
                clients[i].expect_end(End::finished);
                clients[i].finish_sending();
                program.expect_line("closed " + address + ": the server closed first");
                break;
            case 1:
                program.expect_line("aborted " + address + ": on request");
                break;
            case 2:
                program.expect_line("finished " + address + ": the client closed first");
                break;
            case 3:
                program.expect_line_like("(lost " + address + ": .*|finished " + address + ": .*)");
                break;
            default:
                break;
        }
    }
    program.stop();
    for (std::size_t i = 4; i < clients.size(); i += 5) {
        program.expect_line("cancelled " + clients[i].address() + ": the server stops");
    }
}

TEST_F(Stage05Disconnect, StopsWhateverTheConnectionsAreDoing) {
    promise(
        "at stop, connections that receive, that send and that wait for an end are all ended, and none is left "
        "pending");
    likely("one kind of pending operation is not cancelled, or the count of pending operations never reaches zero");
    Program program({"0", "--deadline", "600"});
    std::vector<Client> clients;
    for (int i = 0; i < 10; ++i) {
        clients.emplace_back(program.address());  // receives
        expect_echo(clients.back(), "hello\n");
        clients.emplace_back(program.address());  // waits for this client's end
        clients.back().send("bye\n");
        clients.back().expect_end(End::finished);
    }
    clients.emplace_back(program.address(), ClientOptions{.receive_buffer = 4096});  // sends
    clients.back().send_until_stuck(64u << 20);
    program.stop();
    for (Client& client : clients)
        program.expect_line("cancelled " + client.address() + ": the server stops");
}

TEST_F(Stage05Disconnect, UrgentBytesKeepTheirPlace) { contract::urgent_bytes_keep_their_place(); }

TEST_F(Stage05Disconnect, SurvivesALackOfMemory) {
    NEEDS_THE_HEADERS();
    contract::survives_a_lack_of_memory(FAILING_NEW_PROGRAM, contract::echoed_or_lost, serve_ten);
}

TEST_F(Stage05Disconnect, ServesOnAfterManyResets) { contract::serves_on_after_many_resets(serve_ten); }
TEST_F(Stage05Disconnect, GivesEveryHandleBack) { contract::gives_every_handle_back(serve_ten); }

TEST_F(Stage05Disconnect, AReusedSocketServesTheNextClient) {
    if (on_wine()) GTEST_SKIP() << "Wine does not reuse sockets: DisconnectEx(TF_REUSE_SOCKET) leaves them deaf";
    promise("a socket that DisconnectEx made as good as new serves other clients, again and again");
    likely("the socket is associated with the port a second time, which fails: the association stays with the socket");
    Program program;
    for (int round = 0; round < 20; ++round) {
        Client client(program.address());
        expect_echo(client, "hello\n");
        client.finish_sending();
        program.expect_line("reusing the socket of " + client.address());
    }
    program.stop();
}

}  // namespace
