// Stage 06 from outside: the chat.
#include "tests/stages/06-full-server/full_server.hpp"

#include <string>
#include <vector>

namespace {

using namespace full_server;

TEST_F(Stage06FullServer, ALineGoesToEveryOtherClientAndNotBack) {
    promise("chat: a line goes, as it is, to all clients but its sender");
    likely("the sender is not left out, or the list of clients is copied before the newest has joined");
    for (const Arguments& mode : skipping_and_not) {
        Program program(with(mode + Arguments{"--app", "chat"}));
        {
            Client anna = join(program);
            Client bert = join(program);
            Client cleo = join(program);
            anna.send("hello from anna\n");
            bert.expect("hello from anna\n");
            cleo.expect("hello from anna\n");
            bert.send("hello from bert\r\n");
            anna.expect("hello from bert\r\n");  // had anna got her own line, it would have come first
            cleo.expect("hello from bert\r\n");
            cleo.send(std::string("\0\xFF\n", 3));
            anna.expect(std::string("\0\xFF\n", 3));
            bert.expect(std::string("\0\xFF\n", 3));
        }
        stop(program);
    }
}

TEST_F(Stage06FullServer, ChatGoesOnWhileOthersHoldTheBuffers) {
    promise("chat: silent clients that hold all of --buffer-memory have nobody dropped who talks in short lines");
    likely("while memory is short, a client counts as full as soon as one byte waits, for it or for its line's end");
    // One worker: it takes the packets of both from the port before it has sent to anyone.
    Program program(with(
        {"--app", "chat", "--workers", "1", "--first-receive", "65536", "--buffer-memory", "1048576", "--stats", "1"}));
    {
        Client anna = join(program);
        Client bert = join(program);
        std::vector<Client> silent;  // each holds 64 KiB for its receive
        for (int i = 0; i < 20; ++i)
            silent.push_back(join(program));
        const auto held = [&] {
            const std::vector<std::string> periods = program.lines_starting("in ");
            return !periods.empty() && number_before(periods.back(), "in buffers") > mebibyte;
        };
        wait_until(held, "all buffers to be held");
        for (int i = 0; i < 500; ++i) {
            anna.send("hel");
            anna.send("lo\nand again\n");
            bert.send("good ");
            bert.send("morning\n");
        }
        for (int i = 0; i < 500; ++i) {
            bert.expect("hello\nand again\n");
            anna.expect("good morning\n");
        }
    }
    const std::string last = stop(program);
    expect(count(last, "dropped") == 0, "nobody dropped", "`" + last + "`");
}

TEST_F(Stage06FullServer, ChatCutsTheStreamIntoLines) {
    promise("chat: several lines in one block, and one line in several blocks, arrive as the lines that they are");
    likely("a received block is taken for one line: keep what follows the last line end until its own comes");
    Program program(with({"--app", "chat"}));
    {
        Client anna = join(program);
        Client bert = join(program);
        Client cleo = join(program);
        anna.send("one\ntwo\n\nthr");
        bert.expect("one\ntwo\n\n");
        cleo.expect("one\ntwo\n\n");
        bert.send("between\n");  // were anna's half line already with cleo, this would be glued to it
        cleo.expect("between\n");
        anna.expect("between\n");
        for (const char byte : std::string("ee\n"))
            anna.send(std::string(1, byte));
        bert.expect("three\n");
        cleo.expect("three\n");
        const std::string longest = std::string(60'000, 'x') + "\n";
        anna.send(longest);
        bert.expect(longest);
        cleo.expect(longest);
    }
    stop(program);
}

TEST_F(Stage06FullServer, LinesOfOneSenderStayInOrder) {
    promise("chat: every client sees the lines of each sender whole and in the order in which they were sent");
    likely("two workers handle blocks of one sender at once, or two sends to one client are in flight");
    constexpr int senders = 8;
    constexpr int lines = 200;
    for (const Arguments& mode : skipping_and_not) {
        Program program(with(mode + Arguments{"--app", "chat", "--workers", "8"}));
        {
            Client listener = join(program);
            std::vector<Client> clients;
            for (int i = 0; i < senders; ++i)
                clients.push_back(join(program));
            std::size_t expected = 0;
            for (int n = 0; n < lines; ++n) {
                for (int i = 0; i < senders; ++i) {
                    const std::string line = std::to_string(i) + ":" + std::to_string(n) + "\n";
                    expected += line.size();
                    clients[static_cast<std::size_t>(i)].send(line);
                }
            }
            std::string came = listener.receive(expected);
            std::vector<int> next(senders, 0);
            for (std::size_t end; (end = came.find('\n')) != std::string::npos; came.erase(0, end + 1)) {
                const auto sender = static_cast<std::size_t>(came[0] - '0');
                expect(sender < senders, "a line of one of the senders", shown(came.substr(0, end)));
                const std::string line = std::to_string(sender) + ":" + std::to_string(next[sender]++);
                expect(came.substr(0, end) == line, shown(line), shown(came.substr(0, end)));
            }
        }
        stop(program);
    }
}

TEST_F(Stage06FullServer, NewcomersHearWhatIsSaidAfterwardsAndLeaversLeaveTheRestAlone) {
    promise("chat: who joins hears the lines from then on; who leaves, well or with a reset, disturbs nobody");
    likely("a client that has gone stays in the list, or its removal removes another");
    Program program(with({"--app", "chat", "--workers", "1"}));  // one: see AResetWhileReceivingEndsOnlyThatConnection
    {
        Client anna = join(program);
        Client bert = join(program);
        anna.send("before\n");
        bert.expect("before\n");
        Client cleo = join(program);
        anna.send("after\n");
        bert.expect("after\n");
        cleo.expect("after\n");
        Client dora = join(program);
        bert.finish_sending();
        bert.expect_end(End::finished);
        program.expect_line("finished " + bert.address() + ": the client closed first");
        dora.reset();
        program.expect_line("lost " + dora.address() + ": WSAECONNRESET (10054)");
        anna.send("still here?\n");
        cleo.expect("still here?\n");
        cleo.send("yes\n");
        anna.expect("yes\n");
    }
    stop(program);
}

TEST_F(Stage06FullServer, ALineThatNeverEndsIsDropped) {
    promise("chat: a line longer than 64 KiB ends that connection, with the reason; the others stay");
    likely("the unfinished line is kept without a bound");
    Program program(with({"--app", "chat"}));
    {
        Client anna = join(program);
        Client bert = join(program);
        Client endless = join(program);
        (void)endless.try_send(std::string(200'000, 'x'));
        program.expect_line("dropped " + endless.address() + ": a line longer than 65536 bytes");
        endless.expect_any_end();
        anna.send("hello\n");
        bert.expect("hello\n");
    }
    const std::string last = stop(program);
    expect(count(last, "dropped") == 1, "1 dropped", "`" + last + "`");
}

TEST_F(Stage06FullServer, TheLimitOfALineDoesNotDependOnHowTcpCuts) {
    promise(
        "chat: 65536 bytes in a line are passed on and more are not, whether the line comes in one go behind a short "
        "one, or in pieces");
    likely("only what is left over of a block is measured, not a line that begins and ends inside of it");
    for (const bool in_one_go : {true, false}) {
        Program program(with({"--app", "chat", "--receive-buffer", "1048576", "--first-receive", "1048576"}));
        {
            Client listener = join(program);
            const auto say = [&](Client& speaker, const std::string& text) {
                if (in_one_go) return (void)speaker.try_send("short\n" + text);
                speaker.send("short\n");
                listener.expect("short\n");  // it has been taken by itself
                for (std::size_t i = 0; i < text.size(); i += 1000) {
                    if (!speaker.try_send(text.substr(i, 1000))) return;
                }
            };
            Client speaker = join(program);
            const std::string longest = std::string(65536, 'x') + "\n";
            say(speaker, longest);
            if (in_one_go) listener.expect("short\n");
            listener.expect(longest);
            Client endless = join(program);
            say(endless, std::string(70'000, 'x') + "\n");
            program.expect_line("dropped " + endless.address() + ": a line longer than 65536 bytes");
            if (in_one_go) listener.expect("short\n");
            speaker.send("next\n");
            listener.expect("next\n");
        }
        const std::string last = stop(program);
        expect(count(last, "dropped") == 1, "1 dropped", "`" + last + "`");
    }
}

TEST_F(Stage06FullServer, TheLastLineNeedsNoEnd) {
    promise("chat: what a client says right before its end is passed on, with the line's end that was left out");
    likely("a line without its end is thrown away when the client has finished");
    for (const Arguments& mode : skipping_and_not) {
        Program program(with(mode + Arguments{"--app", "chat"}));
        {
            Client listener = join(program);
            Client speaker = join(program);
            speaker.send("one\nbye all");
            speaker.finish_sending();
            speaker.expect_end(End::finished);
            listener.expect("one\nbye all\n");
            Client ends_well = join(program);
            ends_well.send("two\n");
            ends_well.finish_sending();
            ends_well.expect_end(End::finished);
            Client last = join(program);
            last.send("three\n");
            listener.expect("two\nthree\n");  // and no empty line between
        }
        stop(program);
    }
}

TEST_F(Stage06FullServer, ASlowChatClientIsDroppedAndDelaysNobody) {
    promise("chat: a client that does not read is dropped when its queue is full; the others get every line in order");
    likely("a send to the slow client is waited for, or its queue has no bound");
    for (const Arguments& mode : skipping_and_not) {
        Program program(with(mode + Arguments{"--app", "chat", "--send-queue", "131072"}));
        {
            Client anna = join(program);
            Client bert = join(program);
            Client slow = join(program, {.receive_buffer = 8192});
            const std::string filler(2000, 'x');
            for (int burst = 0; program.lines_starting("dropped ").empty(); ++burst) {
                std::string block;
                for (int i = 0; i < 16; ++i)
                    block += std::to_string(burst) + "." + std::to_string(i) + " " + filler + "\n";
                // One burst at a time: less than a queue holds, so nobody who reads can be too slow.
                Client& from = burst % 2 == 0 ? anna : bert;
                Client& to = burst % 2 == 0 ? bert : anna;
                from.send(block);
                to.expect(block);
                expect(burst < 3000, "the slow client to be dropped before 96 MB wait for it", "it is still there");
            }
            program.expect_line("dropped " + slow.address() + ": too slow, more than 131072 bytes wait for it");
            slow.expect_any_end();
            anna.send("only we two\n");
            bert.expect("only we two\n");
        }
        const std::string last = stop(program);
        expect(count(last, "dropped") == 1, "1 dropped", "`" + last + "`");
    }
}

}  // namespace
