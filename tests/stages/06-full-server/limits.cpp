// Stage 06 from outside: how many clients, how long, how much.
#include "tests/stages/06-full-server/full_server.hpp"

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace full_server;

TEST_F(Stage06FullServer, AnIdleClientIsDropped) {
    promise("--idle-timeout ends a connection on which nothing moves, and no other");
    likely("SO_RCVTIMEO has no effect on overlapped receives: a timer must cancel them");
    Program program(with({"--idle-timeout", "2"}));
    {
        Client idle = join(program);
        echo(idle, "hello");
        Client busy(program.address());
        while (program.lines_starting("dropped ").empty()) {
            echo(busy, "tick");
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            expect(program.running(), "the server to run", "it has ended");
        }
        program.expect_line("dropped " + idle.address() + ": idle for 2 s");
        idle.expect_any_end();
        echo(busy, "the busy one stays");
    }
    const std::string last = stop(program);
    expect(count(last, "dropped") == 1, "1 dropped", "`" + last + "`");
}

TEST_F(Stage06FullServer, WhoOnlyListensIsNotIdle) {
    promise("chat: a client that never speaks, but gets what the others say, is not idle");
    likely("only what is received is noted as activity: bytes that go out to the client count too");
    struct Chat {
        explicit Chat(const Arguments& mode)
            : program(with(mode + Arguments{"--app", "chat", "--idle-timeout", "3"})) {}
        void say(const std::string& line) {
            talker.send(line);
            listener.expect(line);
        }
        Program program;
        Client listener = join(program);
        Client talker = join(program);
    };
    Chat chats[] = {Chat(skipping_and_not[0]), Chat(skipping_and_not[1])};
    Program clock(with({"--idle-timeout", "3"}));  // in a chat everybody hears the lines, so nobody there is idle
    // Two silent clients, one after the other, measure the time: the listeners then are older than 3 s for sure.
    for (std::size_t i = 0; i < 2; ++i) {
        const Client silent = join(clock);
        while (clock.lines_starting("dropped ").size() == i) {
            for (Chat& chat : chats)
                chat.say("still here\n");
            std::this_thread::sleep_for(std::chrono::milliseconds(20));  // only so as not to flood them
            expect(clock.running(), "the server without a chat to run", "it has ended");
        }
    }
    for (Chat& chat : chats) {
        chat.say("and still\n");
        chat.program.expect_no_line("dropped ");
        { const Client gone = std::move(chat.listener), gone_too = std::move(chat.talker); }
        stop(chat.program);
    }
    stop(clock);
}

TEST_F(Stage06FullServer, AClientThatNeverSpeaksIsDropped) {
    promise("--silent-timeout ends a connection that has never sent a byte, and no other");
    likely("the time of the connection is not looked at, or the first bytes are not noted");
    Program program(with({"--silent-timeout", "2", "--idle-timeout", "0"}));
    {
        Client speaker = join(program);
        echo(speaker, "I have spoken");
        Client silent = join(program);
        program.expect_line("dropped " + silent.address() + ": silent for 2 s");
        silent.expect_any_end();
        echo(speaker, "and may be silent now");
    }
    const std::string last = stop(program);
    expect(count(last, "dropped") == 1, "1 dropped", "`" + last + "`");
}

TEST_F(Stage06FullServer, WhoReadsSlowlyIsNotIdle) {
    promise("--idle-timeout: a client that reads, however slowly, is not idle, though a lot waits for it");
    likely("progress is noticed only at the end of a send, and one send is given so much that this takes minutes");
    Program program(with({"--idle-timeout", "3", "--send-queue", "67108864", "--receive-buffer", "1048576"}));
    {
        const std::string message = numbered_bytes(40 * mebibyte);
        Client slow = join(program, {.receive_buffer = 8192});
        slow.send(message);
        // 2 MiB a second: sixteen buffers of 1 MiB would take 8 s. Two silent clients, one after the other, measure the
        // time.
        std::string came;
        for (std::size_t silent = 0; silent < 2; ++silent) {
            const Client measure = join(program);
            while (program.lines_starting("dropped ").size() == silent) {
                came += slow.receive(64 * kibibyte);
                std::this_thread::sleep_for(std::chrono::milliseconds(32));
                expect(program.running(), "the server to run", "it has ended");
            }
            program.expect_line("dropped " + measure.address() + ": idle for 3 s");
        }
        came += slow.receive(message.size() - came.size());
        if (came != message) fail(Symptom::wrong_bytes, "the 40 MiB that were sent", difference(message, came));
    }
    const std::string last = stop(program);
    expect(count(last, "dropped") == 2, "2 dropped", "`" + last + "`");
}

TEST_F(Stage06FullServer, AFullServerRefusesWithALineAndHasRoomAgain) {
    promise(
        "a client over --max-connections gets a line that says so, and FIN; when another leaves there is room again");
    likely("the refused connection is closed without a word, or is counted as one of the open ones for ever");
    const std::string full = "server full: 2 connections are open, try again later\n";
    Program program(with({"--max-connections", "2"}));
    {
        Client first = join(program);
        Client second = join(program);
        for (int i = 0; i < 5; ++i) {
            Client third(program.address());
            const std::string said = third.expect_end(End::finished);
            expect(said == full, shown(full), shown(said));
            third.finish_sending();
            program.expect_line("refused " + third.address() + ": 2 connections are open");
        }
        echo(first, "the first is served");
        echo(second, "the second is served");
        second.finish_sending();
        second.expect_end(End::finished);
        program.expect_line("finished " + second.address() + ": the client closed first");
        Client fourth(program.address());
        echo(fourth, "and there is room again");
    }
    const std::string last = stop(program);
    expect(count(last, "refused") == 5 && count(last, "accepted") >= 3, "5 refused", "`" + last + "`");
}

TEST_F(Stage06FullServer, TheRefusedTakeNobodysPlace) {
    promise("a refused client that does not go takes no place: when one that was served leaves, the next is served");
    likely("the size of the list is compared with --max-connections, and the refused are in that list too");
    Program program(with({"--max-connections", "1", "--drain", "60"}));
    {
        Client served = join(program);
        echo(served, "served");
        std::vector<Client> refused;
        for (int i = 0; i < 5; ++i) {
            refused.emplace_back(program.address());
            const std::string said = refused.back().expect_end(End::finished);
            expect(said.starts_with("server full: 1 "), "`server full: 1 ...`", shown(said));
        }
        served.finish_sending();
        served.expect_end(End::finished);
        program.expect_line("finished " + served.address() + ": the client closed first");
        Client next(program.address());
        echo(next, "there is room");
    }
    const std::string last = stop(program);
    expect(count(last, "refused") == 5, "5 refused", "`" + last + "`");
}

TEST_F(Stage06FullServer, TheRefusedHearOnlyWhy) {
    promise("a refused client gets the line that says why and FIN, and nothing of what the others are sent meanwhile");
    likely("it is open, as any other client, until its turn comes: what is sent to all until then goes to it too");
    for (const Arguments& mode : skipping_and_not) {
        Program program(with(mode + Arguments{"--app", "chat", "--max-connections", "1"}));
        {
            Client talker = join(program);
            const std::jthread talking([&](const std::stop_token& ending) {
                while (!ending.stop_requested())
                    talker.send_what_fits("not for you\n");
            });
            for (int i = 0; i < 200; ++i) {
                Client refused(program.address());
                const std::string said = refused.expect_end(End::finished);
                expect(said == "server full: 1 connections are open, try again later\n", "the line that says why",
                       shown(said));
                refused.finish_sending();
                program.expect_line("refused " + refused.address() + ": 1 connections are open");
            }
        }
        stop(program);
    }
}

TEST_F(Stage06FullServer, NoMoreAreServedThanTheLimitThoughManyComeAtOnce) {
    promise("--max-connections: of many that come at the same moment so many are served, and not one more");
    likely("first the number is compared, then the new one is counted: two workers can both take the last place");
    constexpr std::size_t limit = 5;
    for (int round = 0; round < 3; ++round) {
        Program program(with({"--max-connections", std::to_string(limit), "--workers", "8"}));
        {
            std::vector<Client> clients;
            for (int i = 0; i < 60; ++i)
                clients.emplace_back(program.address());
            for (Client& client : clients)
                (void)client.try_send("x");
            // Who is served gets its byte and no end; the others a line, or only an end, as there are many of them.
            std::size_t served = 0;
            for (Client& client : clients)
                served += client.receive_some() == "x" ? 1 : 0;
            expect(served == limit, std::to_string(limit) + " served", std::to_string(served));
        }
        const std::string last = stop(program);
        expect(count(last, "refused") == 60 - limit, "all others refused", "`" + last + "`");
    }
}

TEST_F(Stage06FullServer, AllBuffersTogetherHaveALimit) {
    promise(
        "--buffer-memory bounds what many clients that do not read take together, and a client that reads is served "
        "meanwhile");
    likely("each client's queue has a bound, but nobody adds them up");
    constexpr std::size_t clients = 40;
    constexpr std::size_t limit = mebibyte;
    Program program(with({"--buffer-memory", std::to_string(limit), "--stats", "1", "--workers", "4"}));
    {
        Client before = join(program);
        std::vector<Client> deaf;
        for (std::size_t i = 0; i < clients; ++i)
            deaf.emplace_back(program.address(), ClientOptions{.receive_buffer = 8192});
        const std::string block(256 * kibibyte, 'x');
        std::vector<std::size_t> taken(clients);
        for (bool moves = true; moves;) {
            moves = false;
            for (std::size_t i = 0; i < clients; ++i) {
                const std::size_t more = deaf[i].send_what_fits(block);
                taken[i] += more;
                moves = moves || more > 0;
            }
        }
        const std::size_t periods = program.lines_starting("in ").size();
        program.expect_lines(periods + 2, "in ");
        Client after(program.address());
        for (int i = 0; i < 20; ++i) {
            echo(before, "still served");
            echo(after, "served too");
        }
        for (std::size_t i = 0; i < 4; ++i)
            expect(deaf[i].receive(taken[i]) == std::string(taken[i], 'x'), "all that was sent", "other bytes");
    }
    std::uint64_t most = 0;
    for (const std::string& line : program.lines_starting("in "))
        most = std::max(most, number_before(line, "in buffers"));
    // Some workers may each have taken a buffer more; with no limit for all together it would be 10 MiB.
    expect(most > limit / 2 && most < 2 * limit, "about " + std::to_string(limit) + " in buffers",
           std::to_string(most));
    const std::string last = stop(program);
    expect(count(last, "dropped") == 0, "nobody dropped", "`" + last + "`");
}

}  // namespace
