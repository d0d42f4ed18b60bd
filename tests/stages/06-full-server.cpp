// Stage 06 from outside: the full server, over loopback. Its further tests are in the folder of the same name.
//
// Most tests end with stop(): exit code 0, as many operations completed as posted, no connection left.
#include "tests/stages/06-full-server/full_server.hpp"
#include "tests/support/contract.hpp"

#include <list>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace full_server;

// ---- its command line ----

TEST_F(Stage06FullServer, HelpNamesEveryOption) {
    promise("--help explains every option on stdout and ends with exit code 0");
    likely("CLI11's help is a CLI::ParseError like any other: app.exit() prints it and knows the exit code", "Run it");
    const Outcome help = run({"--help"});
    expect(help.exit_code == 0, "exit code 0", std::to_string(help.exit_code));
    std::string text;
    for (const std::string& line : help.lines)
        text += line + "\n";
    for (const char* option : {"--app",
                               "--address",
                               "--workers",
                               "--accepts",
                               "--max-connections",
                               "--idle-timeout",
                               "--silent-timeout",
                               "--send-queue",
                               "--buffer-memory",
                               "--receive-buffer",
                               "--first-receive",
                               "--gather",
                               "--drain",
                               "--batch",
                               "--inline-bound",
                               "--no-skip-on-success",
                               "--stats",
                               "--verbose",
                               "--log-times",
                               "--stop-on-eof",
                               "port"}) {
        expect(text.find(option) != std::string::npos, std::string("a line about ") + option, "a help without it");
    }
}

TEST_F(Stage06FullServer, ABadArgumentIsNamedAndEndsWithExitCodeTwo) {
    promise("a bad argument gives one clear line and the usage on stderr, nothing on stdout, and exit code 2");
    likely("the value is not checked against its range, or the error is left to CLI11's own exit code", "Run it");
    const std::vector<std::pair<std::string, Arguments>> cases = {
        {"--app", {"--app", "pigeons"}},
        {"--address", {"--address", "nowhere"}},
        {"--workers", {"--workers", "-1"}},
        {"--workers", {"--workers", "many"}},
        {"--accepts", {"--accepts", "0"}},
        {"--max-connections", {"--max-connections", "0"}},
        {"--idle-timeout", {"--idle-timeout", "-1"}},
        {"--silent-timeout", {"--silent-timeout", "soon"}},
        {"--send-queue", {"--send-queue", "-5"}},
        {"--buffer-memory", {"--buffer-memory", "1000"}},
        {"--receive-buffer", {"--receive-buffer", "0"}},
        {"--first-receive", {"--first-receive", "1"}},
        {"--gather", {"--gather", "17"}},
        {"--drain", {"--drain", "-1"}},
        {"--drain", {"--drain", "nan"}},
        {"--batch", {"--batch", "0"}},
        {"--inline-bound", {"--inline-bound", "-1"}},
        {"--stats", {"--stats", "often"}},
        {"--workers", {"--workers"}},
        {"70000", {"70000"}},
        {"x", {"x"}},
        {"--frobnicate", {"--frobnicate"}},
        {"1", {"0", "1"}},
    };
    for (const auto& [named, arguments] : cases) {
        const Outcome bad = run(arguments + Arguments{"--stop-on-eof"});
        const std::string saw = "exit code " + std::to_string(bad.exit_code) + " and on stderr " + shown(bad.errors);
        expect(bad.exit_code == 2, "exit code 2", saw);
        expect(bad.lines.empty(), "nothing on stdout", bad.lines.empty() ? "" : "`" + bad.lines[0] + "`");
        const std::size_t end = bad.errors.find('\n');
        const std::string line = bad.errors.substr(0, end);
        expect(line.starts_with("06-full-server: ") && line.find(named) != std::string::npos,
               "a first line `06-full-server: …` that names " + named, saw);
        expect(end != std::string::npos && bad.errors.substr(end + 1).starts_with("usage: 06-full-server [port]"),
               "a second line `usage: 06-full-server [port] …`", saw);
    }
}

TEST_F(Stage06FullServer, APortInUseIsAFailedStart) {
    promise("a port that somebody else listens on: one line with the address, the call and the error, and exit code 1");
    likely("SO_EXCLUSIVEADDRUSE is missing, or the error is not taken right after bind()", "Run it");
    likely_when(Symptom::no_bytes, serves_nobody);
    Program first(with({}));
    const Outcome second = run({std::to_string(first.port()), "--stop-on-eof"});
    const std::string saw = "exit code " + std::to_string(second.exit_code) + " and on stderr " + shown(second.errors);
    expect(second.exit_code == 1, "exit code 1", saw);
    expect(second.lines.empty(), "nothing on stdout", second.lines.empty() ? "" : "`" + second.lines[0] + "`");
    for (const std::string& part : {first.address(), std::string("bind"), std::string("WSAEADDRINUSE (10048)")}) {
        expect(second.errors.find(part) != std::string::npos, "a line on stderr with `" + part + "`", saw);
    }
    expect(second.errors.find('\n') == second.errors.size() - 1, "one line on stderr", saw);
    Client client(first.address());
    echo(client, "the first one still serves");
}

// ---- echo ----

TEST_F(Stage06FullServer, EveryByteValueComesBack) {
    promise("echo gives back every byte as it came, NUL too");
    likely("bytes are treated as a string: copy by count, never up to a NUL");
    likely_when(Symptom::no_bytes, serves_nobody);
    likely_when(Symptom::wrong_bytes,
                "bytes of before come again: what has been sent stays in the queue, also when the send was done inside "
                "its call; else bytes are treated as a string");
    for (const Arguments& mode : skipping_and_not) {
        Program program(with(mode));
        {
            Client client(program.address());
            echo(client, all_bytes());
            echo(client, all_bytes(5000));
            echo(client, std::string(3, '\0'));
        }
        stop(program);
    }
}

TEST_F(Stage06FullServer, AMessageInSingleBytesComesBackWhole) {
    promise("it does not matter how the stream is cut into pieces");
    likely("a completed receive is taken for a whole message, or the next receive is not posted");
    for (const Arguments& mode : skipping_and_not) {
        Program program(with(mode));
        {
            Client client(program.address());
            const std::string message = numbered_bytes(200);
            for (const char byte : message)
                client.send(std::string(1, byte));
            client.expect(message);
            for (const char byte : message)
                echo(client, std::string(1, byte));
        }
        stop(program);
    }
}

TEST_F(Stage06FullServer, UrgentBytesKeepTheirPlace) { contract::urgent_bytes_keep_their_place(with({})); }

TEST_F(Stage06FullServer, SeveralMebibytesComeBackInOrder) {
    promise("a long stream comes back complete and in order");
    likely(
        "two sends are in flight on one connection, or a buffer is received into again before its send has completed");
    for (const Arguments& mode : skipping_and_not) {
        Program program(with(mode));
        std::uint64_t sent = 0;
        {
            Client client(program.address());
            const std::string message = numbered_bytes(8 * mebibyte);
            const std::string came = client.exchange(message, message.size());
            if (came != message) fail(Symptom::wrong_bytes, "the 8 MiB that were sent", difference(message, came));
            sent = message.size();
        }
        const std::string last = stop(program);
        expect(count(last, "bytes received") == sent && count(last, "bytes sent") == sent,
               std::to_string(sent) + " bytes received and sent", "`" + last + "`");
    }
}

TEST_F(Stage06FullServer, ManyClientsAtOnceEachGetTheirOwnBytes) {
    promise("200 clients are served at the same time, and none gets a byte of another");
    likely("state that belongs to one connection is shared, or is used by two workers at once without a lock");
    constexpr unsigned many = 200;
    for (const Arguments& mode : skipping_and_not) {
        Program program(with(mode + Arguments{"--workers", "8"}));
        std::vector<Client> clients;
        for (unsigned i = 0; i < many; ++i)
            clients.emplace_back(program.address());
        const auto message = [](unsigned round, unsigned i) {
            const std::string name = "client " + std::to_string(i) + " round " + std::to_string(round) + " ";
            return name + numbered_bytes(700 + i);
        };
        for (unsigned round = 0; round < 5; ++round) {
            for (unsigned i = 0; i < many; ++i)
                clients[i].send(message(round, i));
            for (unsigned i = 0; i < many; ++i)
                clients[i].expect(message(round, i));
        }
        clients.clear();
        const std::string last = stop(program);
        expect(count(last, "accepted") == many, "200 accepted", "`" + last + "`");
    }
}

TEST_F(Stage06FullServer, TheSmallestSettingsKeepThePromise) {
    promise("buffers, queues, batches and pools of any size change the speed, never the bytes");
    likely("a limit is compared in the wrong place, so that at 1 nothing moves any more");
    const std::vector<Arguments> settings = {
        {"--workers", "1", "--accepts", "1", "--batch", "1", "--inline-bound", "1", "--receive-buffer", "1024"},
        {"--send-queue", "1024", "--receive-buffer", "4096", "--first-receive", "64", "--gather", "1"},
        {"--workers", "16", "--accepts", "64", "--batch", "256", "--receive-buffer", "262144"},
    };
    for (const Arguments& setting : settings) {
        for (const Arguments& mode : skipping_and_not) {
            Program program(with(setting + mode));
            {
                Client first(program.address());
                Client second(program.address());
                const std::string message = numbered_bytes(300 * kibibyte);
                for (Client* client : {&first, &second}) {
                    const std::string came = client->exchange(message, message.size());
                    if (came != message) fail(Symptom::wrong_bytes, "what was sent", difference(message, came));
                }
            }
            stop(program);
        }
    }
}

// ---- addresses ----

TEST_F(Stage06FullServer, ListensOnIpv6WhenAsked) {
    promise("--address ::1 serves IPv6 clients");
    likely("the accept socket is made for AF_INET: its family must be the listener's");
    if (!has_ipv6()) GTEST_SKIP() << "this machine has no IPv6";
    Program program(with({"--address", "::1"}));
    expect(program.address().starts_with("[::1]:"), "`listening on [::1]:PORT`", program.address());
    {
        Client client = join(program);
        expect(client.address().starts_with("[::1]:"), "a client on ::1", client.address());
        echo(client, "hello over IPv6");
    }
    stop(program);
}

TEST_F(Stage06FullServer, TheWildcardOfIpv6TakesBothKinds) {
    promise("--address :: serves IPv4 and IPv6 clients on one port");
    likely("IPV6_V6ONLY is on by default on Windows: it must be set to 0 before bind()");
    if (!has_ipv6()) GTEST_SKIP() << "this machine has no IPv6";
    Program program(with({"--address", "::"}));
    expect(program.address().starts_with("[::]:"), "`listening on [::]:PORT`", program.address());
    {
        Client six("[::1]:" + std::to_string(program.port()));
        echo(six, "hello over IPv6");
        Client four("127.0.0.1:" + std::to_string(program.port()));
        echo(four, "hello over IPv4");
        program.expect_line("accepted " + six.address());
        program.expect_line("accepted [::ffff:127.0.0.1]" + four.address().substr(four.address().rfind(':')));
    }
    stop(program);
}

TEST_F(Stage06FullServer, AnAddressMayHaveAScope) {
    promise("--address takes what getaddrinfo takes: a link-local address needs its scope, as in fe80::1%3");
    likely("the address is read by inet_pton, which knows no scopes");
    if (!has_ipv6()) GTEST_SKIP() << "this machine has no IPv6";
    Program program(with({"--address", "::1%1"}));
    {
        Client client("[::1]:" + std::to_string(program.port()));
        echo(client, "hello over IPv6");
    }
    stop(program);
}

// ---- full duplex and flow control ----

TEST_F(Stage06FullServer, ItReceivesWhileItsSendWaits) {
    promise(
        "a send that waits for the client does not stop the receives; what is queued is sent in order, many "
        "buffers in one call");
    likely("the next receive is only posted when the send has completed: that is half duplex");
    likely_when(Symptom::no_bytes, "the next receive is only posted when the send has completed: that is half duplex");
    for (const Arguments& mode : skipping_and_not) {
        Program program(with(mode + Arguments{"--send-queue", "67108864", "--receive-buffer", "4096"}));
        {
            Client client(program.address(), {.receive_buffer = 8192});
            const std::string message = numbered_bytes(24 * mebibyte);  // more than the system buffers on the way
            client.send(message);                                       // all of it, and not a byte is read
            const std::string came = client.receive(message.size());
            if (came != message) fail(Symptom::wrong_bytes, "the 24 MiB that were sent", difference(message, came));
        }
        const std::string last = stop(program);
        likely("each queued buffer is sent by a call of its own: WSASend takes an array of them");
        expect(count(last, "WSASend calls") < count(last, "WSARecv calls") / 2,
               "far fewer WSASend than WSARecv calls, as the queue was long", "`" + last + "`");
    }
}

TEST_F(Stage06FullServer, OneCallSendsManyBuffers) {
    promise("what has been queued while a send was under way is sent up to --gather buffers in one call");
    likely("each queued buffer is sent by a call of its own: WSASend takes an array of them");
    std::map<std::string, std::uint64_t> calls;
    for (const std::string gather : {"1", "16"}) {
        Program program(with({"--send-queue", "67108864", "--receive-buffer", "4096", "--gather", gather}));
        {
            Client client(program.address(), {.receive_buffer = 8192});
            const std::string message = numbered_bytes(24 * mebibyte);  // more than the system buffers on the way
            client.send(message);                                       // all of it, and not a byte is read
            const std::string came = client.receive(message.size());
            if (came != message) fail(Symptom::wrong_bytes, "the 24 MiB that were sent", difference(message, came));
        }
        calls[gather] = count(stop(program), "WSASend calls");
    }
    expect(calls["16"] * 2 < calls["1"], "with --gather 16 fewer than half of the calls that --gather 1 needs",
           std::to_string(calls["16"]) + " and " + std::to_string(calls["1"]));
}

TEST_F(Stage06FullServer, AReceiveGrowsWithWhatComes) {
    promise("a client that sends much is soon received from in large pieces, up to --receive-buffer");
    likely("the size of the next receive stays what it was at first, however often it was filled");
    const std::string message = numbered_bytes(16 * mebibyte);
    std::map<std::string, std::uint64_t> calls;
    for (const std::string most : {"1024", "65536"}) {
        Program program(with({"--receive-buffer", most}));
        {
            Client client(program.address());
            const std::string came = client.exchange(message, message.size());
            if (came != message) fail(Symptom::wrong_bytes, "what was sent", difference(message, came));
        }
        calls[most] = count(stop(program), "WSARecv calls");
    }
    expect(calls["1024"] >= 16 * 1024, "at most 1024 bytes a call: 16384 or more of them for 16 MiB",
           std::to_string(calls["1024"]));
    expect(calls["65536"] * 4 < calls["1024"], "with up to 65536 bytes a call, fewer than a quarter of that",
           std::to_string(calls["65536"]));
}

TEST_F(Stage06FullServer, AClientThatReadsNothingIsReadFromNoMoreUntilItReads) {
    promise(
        "echo stops receiving from a client that does not read, goes on when it does, and loses nothing; the "
        "others are served meanwhile");
    likely("the send queue has no bound, or nothing posts the receive again when the queue has become short");
    for (const Arguments& mode : skipping_and_not) {
        Program program(with(mode));
        {
            constexpr std::size_t too_much = 96 * mebibyte;
            Client deaf(program.address(), {.receive_buffer = 8192});
            Client other(program.address());
            const std::size_t taken = deaf.send_until_stuck(too_much);
            expect(taken < too_much, "the server to stop reading long before 96 MiB", "it took all of them");
            echo(other, "the others are served");
            const std::string came = deaf.receive(taken);
            expect(came == std::string(taken, 'x'), "all that was sent", "other bytes");
            echo(deaf, "and it goes on");
        }
        stop(program);
    }
}

TEST_F(Stage06FullServer, ABusyConnectionDoesNotStarveTheOthers) {
    promise("clients that stream without a pause cannot keep the only worker for themselves");
    likely(
        "operations that are done at once are handled in a loop without a bound: after a few, the connection must "
        "queue behind the others");
    likely_when(Symptom::no_bytes,
                "operations that are done at once are handled in a loop without a bound: after a few, "
                "the connection must queue behind the others");
    for (const Arguments& mode : skipping_and_not) {
        Program program(with(mode + Arguments{"--workers", "1"}));
        Client before = join(program);
        {
            std::list<Flood> floods;  // so many that never all of them are late at once
            for (int i = 0; i < 6; ++i)
                floods.emplace_back(program);
            for (Flood& flood : floods)
                flood.expect_progress(mebibyte);
            Client after(program.address());
            for (int i = 0; i < 20; ++i) {
                echo(before, "may I?");
                echo(after, "me too?");
            }
            for (Flood& flood : floods)
                flood.expect_progress(mebibyte);
        }
        { const Client gone = std::move(before); }
        stop(program);
    }
}

// ---- the ends of a connection ----

TEST_F(Stage06FullServer, AfterTheClientsEndItGetsTheRestThenTheServersEnd) {
    promise("a client that has finished sending still gets all its bytes, then FIN");
    likely("0 bytes is taken for an abort: send what is queued, then shutdown(SD_SEND)");
    for (const Arguments& mode : skipping_and_not) {
        Program program(with(mode + Arguments{"--send-queue", "67108864"}));
        const std::string message = numbered_bytes(24 * mebibyte);
        std::string came;
        {
            Client client(program.address(), {.receive_buffer = 8192});
            client.send(message);  // reads nothing meanwhile, so most of it is queued when the end comes
            client.finish_sending();
            came = client.expect_end(End::finished);
            program.expect_line("finished " + client.address() + ": the client closed first");
        }
        const std::string last = stop(program);
        if (came != message) {
            fail(Symptom::wrong_bytes, "the 24 MiB that were sent before the end",
                 difference(message, came) + "; `" + last + "`");
        }
    }
}

TEST_F(Stage06FullServer, AnEndWithoutAByteIsAnsweredWithAnEnd) {
    promise("a client that connects and finishes gets the server's end at once");
    likely("zero bytes from the first receive are not looked at");
    Program program(with({}));
    Client client(program.address());
    client.finish_sending();
    expect(client.expect_end(End::finished).empty(), "no bytes", "some");
    program.expect_line("finished " + client.address() + ": the client closed first");
    stop(program);
}

TEST_F(Stage06FullServer, AResetWhileReceivingEndsOnlyThatConnection) {
    promise("a reset during a receive loses that connection and names the error; the others go on");
    likely("a failed packet is skipped, so the connection leaks; or its error ends the loop");
    for (const Arguments& mode : skipping_and_not) {
        Program program(with(mode + Arguments{"--workers", "1"}));
        {
            Client other(program.address());
            Client client = join(program);
            echo(client, "hello");
            // The only worker has gone on to another client: so the next receive is pending. Wine 8.0 shows a reset
            // that comes before it as a clean end.
            echo(other, "hello");
            client.reset();
            program.expect_line("lost " + client.address() + ": WSAECONNRESET (10054)");
            echo(other, "the others are served");
        }
        stop(program);
    }
}

TEST_F(Stage06FullServer, AResetWhileSendingEndsOnlyThatConnection) {
    promise("a reset while a send waits loses that connection, releases its queue, and leaves the others alone");
    likely("the failed send is not counted, or the connection is freed while its other operation is still pending");
    for (const Arguments& mode : skipping_and_not) {
        Program program(with(mode));
        {
            Client other(program.address());
            Client deaf(program.address(), {.receive_buffer = 8192});
            deaf.send_until_stuck(96 * mebibyte);
            deaf.reset();
            program.expect_line_starting("lost " + deaf.address() + ": ");
            echo(other, "the others are served");
        }
        stop(program);
    }
}

TEST_F(Stage06FullServer, ResetsBeforeTheAcceptNeitherEmptyThePoolNorMakeItSpin) {
    promise("an accept that fails is posted again, and does not keep a worker busy");
    likely("a failed accept ends the listener or is not posted again, or is posted again in a tight loop");
    Program program(with({"--accepts", "2", "--stats", "1"}));
    for (int i = 0; i < 200; ++i) {
        Client client(program.address());
        client.reset();
    }
    {
        std::vector<Client> clients;
        for (int i = 0; i < 20; ++i)
            clients.emplace_back(program.address());
        for (Client& client : clients)
            echo(client, "still here");
    }
    // All have gone. What the server does from one quiet statistics line to another is what it does for nothing.
    const std::size_t so_far = program.lines_starting("statistics: ").size();
    const auto lines = program.expect_lines(so_far + 4, "statistics: ");
    const std::string& early = lines[so_far + 1];
    const std::string& late = lines[so_far + 3];
    expect(count(late, "dequeue calls") < count(early, "dequeue calls") + 1000, "a server without clients to rest",
           "`" + early + "` and 2 s later `" + late + "`");
    stop(program);
}

TEST_F(Stage06FullServer, ASmallPoolOfAcceptsServesAHundredClients) {
    promise("completed accepts are posted again, however few there are");
    likely("AcceptEx is not called again after an accept has completed");
    for (const char* accepts : {"1", "2"}) {
        Program program(with({"--accepts", accepts}));
        std::vector<Client> clients;
        for (int i = 0; i < 100; ++i)
            clients.emplace_back(program.address());
        for (Client& client : clients)
            echo(client, "hello");
        clients.clear();
        const std::string last = stop(program);
        expect(count(last, "accepted") == 100, "100 accepted", "`" + last + "`");
    }
}

TEST_F(Stage06FullServer, SurvivesALackOfMemory) {
    NEEDS_THE_HEADERS();
    const auto serve_ten = [](Program& program) {
        std::vector<Client> clients;
        for (int i = 0; i < 10; ++i)
            clients.emplace_back(program.address());
        for (Client& client : clients)
            echo(client, "hello");
    };
    contract::survives_a_lack_of_memory(FAILING_NEW_PROGRAM, contract::echoed_or_lost, serve_ten, with({}));
}

TEST_F(Stage06FullServer, ClientsThatHaveGoneLeaveNoHandle) {
    promise("after its clients have gone the server holds as many handles as before");
    likely("a socket is not closed on one of the ways in which a connection ends");
    Program program(with({"--stats", "1"}));
    const auto come_and_go = [&](int times) {
        for (int i = 0; i < times; ++i) {
            Client client(program.address());
            echo(client, "hello");
            if (i % 3 == 0) client.reset();
            if (i % 3 == 1) {
                client.finish_sending();
                client.expect_end(End::finished);
            }
        }
        const std::size_t so_far = program.lines_starting("statistics: ").size();
        for (std::size_t more = 2;;
             ++more) {  // bounded by the deadline of the next line and by the connections' own end
            const auto lines = program.expect_lines(so_far + more, "statistics: ");
            if (count(lines.back(), "connections") == 0) break;
            expect(more < 20, "no connection, as all clients have gone", "`" + lines.back() + "`");
        }
        return program.handle_count();
    };
    const unsigned long early = come_and_go(100);
    const unsigned long late = come_and_go(300);
    expect(late <= early + 20, "about " + std::to_string(early) + " handles, as after the first 100 clients",
           std::to_string(late) + " after 300 more");
    stop(program);
}

}  // namespace
