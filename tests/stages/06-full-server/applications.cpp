// Stage 06 from outside: what the seam promises to every application, shown with those of tests/applications.
#include "tests/stages/06-full-server/full_server.hpp"

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace full_server;

class Stage06Applications : public Stage06FullServer {
protected:
    Stage06Applications() : Stage06FullServer(WITH_TEST_APPLICATIONS) {}
    void SetUp() override {
        if (judges_another_program()) GTEST_SKIP() << "IOCP_STAGE_PROGRAM names a program without the tests' sessions";
    }
};

Arguments serving(const std::string& app) { return with({"--app", app}); }

// An event that the program's work waits for.
class NamedEvent {
public:
    NamedEvent() {
        static int number = 0;
        name_ = "iocp-test-" + std::to_string(::GetCurrentProcessId()) + "-" + std::to_string(++number);
        handle_ = ::CreateEventA(nullptr, TRUE, FALSE, name_.c_str());
    }
    ~NamedEvent() {
        set();  // also when the test has failed
        ::CloseHandle(handle_);
    }
    NamedEvent(const NamedEvent&) = delete;
    NamedEvent& operator=(const NamedEvent&) = delete;

    const std::string& name() const { return name_; }
    void set() { ::SetEvent(handle_); }
    void wait() {
        if (::WaitForSingleObject(handle_, deadline_ms()) != WAIT_OBJECT_0)
            fail(Symptom::other, "the session to be in its call within " + deadline_text(), "it is not");
    }

private:
    std::string name_;
    HANDLE handle_;
};

// ---- back-pressure ----

TEST_F(Stage06Applications, AnswersLargerThanTheQueueWaitForTheirReader) {
    promise(
        "a session that answers a MiB for each of many lines serves a slow reader too: all comes, in order, and no "
        "more than --send-queue and one answer are in memory");
    likely("an answer over --send-queue is an end, or the lines that the session has not used are not offered again");
    likely_when(Symptom::no_bytes, "the lines that the session has not used are not offered again");
    constexpr std::size_t lines = 40;
    for (const Arguments& mode : skipping_and_not) {
        Program program(serving("large") + mode + Arguments{"--send-queue", "131072", "--stats", "1"});
        {
            Client other = join(program);
            Client slow = join(program, {.receive_buffer = 8192});
            std::string all;
            for (std::size_t i = 0; i < lines; ++i)
                all += std::to_string(1000 + i) + "\n";
            slow.send(all);
            program.expect_lines(3, "in ");
            other.send("x\n");
            other.expect(std::string(mebibyte, 'x'));
            for (std::size_t i = 0; i < lines; ++i) {
                const std::string line = std::to_string(1000 + i);
                std::string expected;
                for (std::size_t n = 0; n < mebibyte / line.size(); ++n)
                    expected += line;
                slow.expect(expected);
            }
            slow.finish_sending();
            expect(slow.expect_end(End::finished).empty(), "nothing more", "more bytes");
        }
        // The two clients' receives are in buffers too, and what has been sent of a buffer counts until all is.
        constexpr std::size_t bound = 2 * (131072 + mebibyte) + 4 * 65536;
        for (const std::string& line : program.lines_starting("in ")) {
            expect(number_before(line, "bytes queued") <= bound && number_before(line, "in buffers") <= bound,
                   "at most " + std::to_string(bound) + " bytes queued, and in buffers", "`" + line + "`");
        }
        const std::string last = stop(program);
        expect(count(last, "dropped") == 0, "nobody dropped", "`" + last + "`");
    }
}

// ---- handles ----

struct Tick {
    std::uint64_t number;
    long long posted;  // by QueryPerformanceCounter, which is the same for all processes
    long long came;
};

// The next line of the ticker's.
Tick next_tick(Client& client) {
    const std::string line = client.receive_line();
    LARGE_INTEGER now;
    ::QueryPerformanceCounter(&now);
    const std::size_t space = line.rfind(' ');
    expect(line.starts_with("tick ") && space > 5, "`tick NUMBER TIME`", shown(line));
    return {std::stoull(line.substr(5)), std::stoll(line.substr(space + 1)), now.QuadPart};
}

TEST_F(Stage06Applications, WhatAThreadSendsToASleepingServerComesAtOnce) {
    promise("what is sent to a handle while all workers sleep goes out at once, and not with the next tick");
    likely("nobody is woken for a single turn, though the thread that asks for it is no worker and will not serve it");
    for (const Arguments& mode : skipping_and_not) {
        Program program(serving("ticker") + mode);
        {
            Client client = join(program);
            // Ten lines are sent in each second. Were they to wait for the once a second, nine of ten would come
            // after the next one had been sent.
            constexpr int ticks = 30;
            int late = 0;
            Tick before = next_tick(client);
            for (int i = 0; i < ticks; ++i) {
                const Tick tick = next_tick(client);
                if (tick.posted < before.came) ++late;
                before = tick;
            }
            expect(late < ticks / 2, "most lines to come before the next is sent",
                   std::to_string(late) + " of " + std::to_string(ticks) + " came later");
        }
        stop(program);
    }
}

TEST_F(Stage06Applications, WhatAThreadSendsReachesAHundredClientsWhileOthersComeAndGo) {
    promise(
        "a thread that is no worker sends to handles: each client gets every line from its first to its last, and a "
        "handle whose client has gone says so");
    likely("a handle keeps a pointer, not a std::weak_ptr; or a send to a connection that ends is still queued");
    for (const Arguments& mode : skipping_and_not) {
        Program program(serving("ticker") + mode);
        std::size_t left = 0;
        {
            std::vector<Client> clients;
            for (int i = 0; i < 100; ++i)
                clients.emplace_back(program.address());
            std::vector<std::uint64_t> last(clients.size());
            for (std::size_t i = 0; i < clients.size(); ++i)
                last[i] = next_tick(clients[i]).number;
            for (int round = 0; round < 15; ++round) {
                std::vector<Client> passing;
                for (int i = 0; i < 6; ++i)
                    passing.emplace_back(program.address());
                for (std::size_t i = 0; i < clients.size(); ++i) {
                    const std::uint64_t number = next_tick(clients[i]).number;
                    expect(number == ++last[i], "tick " + std::to_string(last[i]), "tick " + std::to_string(number));
                }
                for (std::size_t i = 0; i < passing.size(); ++i) {
                    (void)next_tick(passing[i]);
                    if (i % 3 == 1) passing[i].reset();
                    if (i % 3 == 2) passing[i].finish_sending();
                }
                left += passing.size();
            }
            std::size_t gone = 0;
            Client witness(program.address());
            wait_until(
                [&] {
                    witness.send("gone\n");
                    std::string line;
                    while (!line.starts_with("gone "))
                        line = witness.receive_line();
                    gone = static_cast<std::size_t>(std::stoull(line.substr(5)));
                    return gone >= left;
                },
                std::to_string(left) + " handles to say that their client has gone");
            expect(gone == left, std::to_string(left) + " of them", std::to_string(gone));
        }
        const std::string last = stop(program);
        expect(count(last, "dropped") == 0, "nobody dropped", "`" + last + "`");
    }
}

// ---- blocking work ----

TEST_F(Stage06Applications, WorkThatBlocksDelaysNobodyElse) {
    promise(
        "what blocks is given to Windows' thread pool: with two workers and four such clients the others are served "
        "at once; each answer comes through the handle, and its client's next line after it");
    likely("the work is done in received(), on a worker; or the session is not called again when it has been sent");
    likely_when(Symptom::wrong_bytes, "the line behind the one that waits is used too early");
    for (const Arguments& mode : skipping_and_not) {
        Program program(serving("pool-work") + mode + Arguments{"--workers", "2"});
        {
            NamedEvent event;
            std::vector<Client> slow;
            for (int i = 0; i < 4; ++i) {
                slow.push_back(join(program));
                slow.back().send("first\nwait " + event.name() + "\nthen\n");
                slow.back().expect("first\n");
            }
            std::vector<Client> quick;
            for (int i = 0; i < 10; ++i)
                quick.push_back(join(program));
            for (int round = 0; round < 20; ++round) {
                for (Client& client : quick)
                    echo(client, "round " + std::to_string(round) + "\n");
            }
            for (Client& client : slow)
                client.send("and\n");
            event.set();
            for (Client& client : slow) {
                client.expect("done\nthen\nand\n");
                echo(client, "and it goes on\n");
            }
        }
        const std::string last = stop(program);
        expect(count(last, "dropped") == 0, "nobody dropped", "`" + last + "`");
    }
}

TEST_F(Stage06Applications, AnEmptyTextWakesTheSession) {
    promise("an empty text that is sent to the handle sends nothing, but what waits is offered to the session again");
    likely("the rest is offered only when bytes have been sent to the client");
    for (const Arguments& mode : skipping_and_not) {
        Program program(serving("pool-work") + mode);
        {
            NamedEvent event;
            Client client = join(program);
            client.send("first\nwait quietly " + event.name() + "\nthen\n");
            client.expect("first\n");
            NamedEvent other;
            Client ends = join(program);
            ends.send("wait quietly " + other.name() + "\n");
            ends.finish_sending();
            ends.expect("your end\n");
            event.set();
            client.expect("done\nthen\n");
            other.set();
            const std::string rest = ends.expect_end(End::finished);
            expect(rest == "done\n", "`done` and FIN", shown(rest));
        }
        stop(program);
    }
}

TEST_F(Stage06Applications, WhoGoesBeforeItsAnswerLeavesNothingBehind) {
    promise("a client that goes while work is done for it is lost, and its handle says so to the work");
    likely("the work uses the session or the connection itself, which are gone");
    for (const Arguments& mode : skipping_and_not) {
        Program program(serving("pool-work") + mode);
        {
            NamedEvent event;
            std::vector<std::string> addresses;
            for (int i = 0; i < 4; ++i) {
                Client client = join(program);
                client.send("first\nwait " + event.name() + "\n");
                client.expect("first\n");
                addresses.push_back(client.address());
                client.reset();
            }
            Client other = join(program);
            echo(other, "the others are served\n");
            event.set();
            echo(other, "also then\n");
        }
        stop(program);
    }
}

TEST_F(Stage06Applications, AnAnswerThatIsStillToComeDelaysOurEnd) {
    promise("finished() that returns false: a client that has sent its end still gets the slow answer, then FIN");
    likely("the client's end is taken for all answered, or is not offered again when something has been sent");
    for (const Arguments& mode : skipping_and_not) {
        Program program(serving("pool-work") + mode);
        {
            NamedEvent event;
            Client client = join(program);
            client.send("wait " + event.name() + "\n");
            client.finish_sending();
            client.expect("your end\n");
            event.set();
            const std::string rest = client.expect_end(End::finished);
            expect(rest == "done\n", "`done` and FIN", shown(rest));
            program.expect_line("finished " + client.address() + ": the client closed first");
        }
        stop(program);
    }
}

TEST_F(Stage06Applications, AThreadMayEndAClient) {
    promise("a handle's close(): what was sent to it before still comes, then FIN, and the reason is printed");
    likely("the reason is only kept for what the session itself closes");
    for (const Arguments& mode : skipping_and_not) {
        Program program(serving("pool-work") + mode);
        {
            NamedEvent event;
            Client client = join(program);
            client.send("first\nwait and close " + event.name() + "\nthen\n");
            client.expect("first\n");
            event.set();
            const std::string rest = client.expect_end(End::finished);
            expect(rest == "done\n", "`done` and FIN", shown(rest));
            client.finish_sending();
            program.expect_line("closed " + client.address() + ": as its work asks");
        }
        stop(program);
    }
}

// ---- the stop ----

// Returns once the server has said its end to all who have nothing under way.
void begin_stop(Program& program, Client& idle) {
    program.close_stdin();
    idle.expect_end(End::finished);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));  // some more rounds through the connections
}

TEST_F(Stage06Applications, AStopCutsNoAnswer) {
    promise("a session that is in the middle of a call when the server stops gives all of its answer, then comes FIN");
    likely("the connection is closed while its session is still in a call: what it answers after that is thrown away");
    for (const Arguments& mode : skipping_and_not) {
        Program program(serving("manners") + mode + Arguments{"--drain", "60", "--workers", "3"});
        {
            Client idle(program.address());
            idle.expect("welcome\n");
            NamedEvent in_received, in_timer, out;
            Client speaks(program.address());
            Client waits(program.address());
            for (Client* client : {&speaks, &waits})
                client->expect("welcome\n");
            waits.send("two answers of the timer around " + in_timer.name() + " " + out.name() + "\n");
            in_timer.wait();
            speaks.send("two answers around " + in_received.name() + " " + out.name() + "\n");
            in_received.wait();
            begin_stop(program, idle);
            out.set();
            for (Client* client : {&speaks, &waits}) {
                const std::string rest = client->expect_end(End::finished);
                expect(rest == "one\ntwo\n", "both answers and FIN", shown(rest));
            }
        }
        last_statistics(program);
    }
}

TEST_F(Stage06Applications, AStopWaitsForWorkThatIsDoneElsewhere) {
    promise("at the stop a client whose session waits for work elsewhere gets that answer, and those behind it");
    likely("the session is not asked, or not again, whether all is answered: finished(), and stopping()");
    for (const Arguments& mode : skipping_and_not) {
        Program program(serving("pool-work") + mode + Arguments{"--drain", "60"});
        {
            Client idle = join(program);
            NamedEvent event;
            Client waits = join(program);
            waits.send("first\nwait " + event.name() + "\nthen\n");
            waits.expect("first\n");
            Client only_waits = join(program);
            only_waits.send("first\nwait " + event.name() + "\n");
            only_waits.expect("first\n");
            Client ends = join(program);
            ends.send("wait " + event.name() + "\n");
            ends.finish_sending();
            ends.expect("your end\n");
            begin_stop(program, idle);
            event.set();
            const std::string rest = waits.expect_end(End::finished);
            expect(rest == "done\nthen\n", "both answers and FIN", shown(rest));
            for (Client* client : {&only_waits, &ends}) {
                const std::string last = client->expect_end(End::finished);
                expect(last == "done\n", "`done` and FIN", shown(last));
            }
        }
        const std::string last = last_statistics(program);
        expect(count(last, "dropped") == 0, "nobody dropped", "`" + last + "`");
    }
}

TEST_F(Stage06Applications, AStopEndsWhoHasNothingMoreToAnswer) {
    promise("at the stop, FIN comes as soon as a session has used what it had left, though it answers nothing to it");
    likely("only what is sent makes the server ask the session again: this client then has to wait until --drain");
    for (const Arguments& mode : skipping_and_not) {
        Program program(serving("manners") + mode + Arguments{"--drain", "60"});
        {
            Client client(program.address());
            client.send("here\npause\nnothing\n");
            client.expect("welcome\nhere\n");
            program.close_stdin();
            expect(client.expect_end(End::finished).empty(), "FIN", "more bytes");
        }
        last_statistics(program);
    }
}

// ---- what a session may do ----

TEST_F(Stage06Applications, TheServerMaySpeakFirst) {
    promise("started() comes before anything else: its greeting is the first that a client gets, who says nothing");
    likely("the session is only called when the first bytes have come");
    for (const Arguments& mode : skipping_and_not) {
        Program program(serving("manners") + mode);
        {
            Client silent(program.address());
            silent.expect("welcome\n");
            Client hasty(program.address());
            hasty.send("me first\n");
            hasty.expect("welcome\nme first\n");
        }
        stop(program);
    }
}

TEST_F(Stage06Applications, ATimerComesOnce) {
    promise("timer() comes once for each set_timer(), also to a client that says nothing");
    likely("the time is not taken away when it has come, or nobody looks at it while the client is silent");
    Program program(serving("manners") + Arguments{"--stats", "1"});
    {
        Client client(program.address());
        client.expect("welcome\n");
        for (int i = 0; i < 2; ++i) {
            client.send("timer\n");
            client.expect("timer\n");
            const std::size_t periods = program.lines_starting("in ").size();
            program.expect_lines(periods + 2, "in ");  // two more ticks
            echo(client, "and no second time\n");
        }
    }
    stop(program);
}

TEST_F(Stage06Applications, ATimerCanBeTakenBack) {
    promise("after set_timer(0) timer() does not come, even if its time had come while the session was in a call");
    likely("only the time is taken back, not that it has come");
    Program program(serving("manners") + Arguments{"--stats", "1", "--workers", "2"});
    {
        NamedEvent in;
        NamedEvent out;
        Client client(program.address());
        client.expect("welcome\n");
        client.send("no timer after " + in.name() + " " + out.name() + "\n");
        in.wait();
        program.expect_lines(program.lines_starting("in ").size() + 2, "in ");  // two more ticks
        out.set();
        echo(client, "nothing before this\n");
        program.expect_lines(program.lines_starting("in ").size() + 2, "in ");
        echo(client, "nor after it\n");
    }
    stop(program);
}

TEST_F(Stage06Applications, ASessionMayWaitForItsTimer) {
    promise("what a session has left unused is offered again after its timer: so it may slow down its client");
    likely("the rest is only offered again when something has been sent");
    for (const Arguments& mode : skipping_and_not) {
        Program program(serving("manners") + mode);
        {
            Client client(program.address());
            client.expect("welcome\n");
            echo(client, "before\n");
            client.send("pause\nand after\n");
            client.expect("and after\n");
        }
        stop(program);
    }
}

TEST_F(Stage06Applications, ASessionMayEndItsClient) {
    promise(
        "close() sends all that was answered before, then FIN, and drop() ends at once; the reason is printed, and "
        "nothing that is answered behind it is sent");
    likely("close() cancels what is queued, or the reason is lost on the way");
    for (const Arguments& mode : skipping_and_not) {
        Program program(serving("manners") + mode);
        {
            Client closed(program.address(), {.receive_buffer = 8192});
            closed.send("close\nand more\n");
            const std::string came = closed.expect_end(End::finished);
            expect(came == "welcome\n" + std::string(4 * mebibyte, 'c'), "the greeting, 4 MiB, and FIN",
                   std::to_string(came.size()) + " bytes: " + shown(came));
            closed.finish_sending();
            program.expect_line("closed " + closed.address() + ": as it asked");
            Client dropped(program.address());
            dropped.send("drop\n");
            (void)dropped.expect_any_end();
            program.expect_line("dropped " + dropped.address() + ": as it asked");
        }
        const std::string last = stop(program);
        expect(count(last, "dropped") == 1, "1 dropped", "`" + last + "`");
    }
}

TEST_F(Stage06Applications, WhatIsClosedMayTakeItsTime) {
    promise("--drain begins with our FIN: a client that reads a last answer slowly gets all of it");
    likely("the deadline for the client's end is set by close(), and the answer is still being sent then");
    for (const Arguments& mode : skipping_and_not) {
        Program program(serving("manners") + mode + Arguments{"--drain", "1", "--stats", "1"});
        {
            Client client(program.address(), {.receive_buffer = 8192});
            client.send("close\n");
            program.expect_lines(program.lines_starting("in ").size() + 3, "in ");  // more than a second
            const std::string came = client.expect_end(End::finished);
            expect(came == "welcome\n" + std::string(4 * mebibyte, 'c'), "the greeting, 4 MiB, and FIN",
                   std::to_string(came.size()) + " bytes");
            client.finish_sending();
            program.expect_line("closed " + client.address() + ": as it asked");
        }
        stop(program);
    }
}

TEST_F(Stage06Applications, ASessionThatThrowsLosesItsClientOnly) {
    promise("an exception of a session, whichever, drops that client, with what it says; the others are served on");
    likely("the call is not inside a try block: an exception that leaves a noexcept function ends the program");
    for (const Arguments& mode : skipping_and_not) {
        Program program(serving("manners") + mode);
        {
            Client other(program.address());
            other.expect("welcome\n");
            Client thrown(program.address());
            thrown.send("throw\n");
            (void)thrown.expect_any_end();
            const std::string failed = "the application failed for " + thrown.address() + ": as the client asked";
            wait_until(
                [&] {
                    return !program.lines_starting(failed).empty() ||
                           program.error_output().find(failed) != std::string::npos;
                },
                "the line `" + failed + "`");
            program.expect_line("dropped " + thrown.address() + ": the application failed");
            Client no_memory(program.address());
            no_memory.send("throw bad_alloc\n");
            (void)no_memory.expect_any_end();
            program.expect_line("dropped " + no_memory.address() + ": no memory is left");
            Client at_the_end(program.address());
            at_the_end.send("throw at the end\n");
            at_the_end.finish_sending();
            (void)at_the_end.expect_any_end();
            program.expect_line("dropped " + at_the_end.address() + ": the application failed");
            echo(other, "the others are served\n");
        }
        const std::string last = stop(program);
        expect(count(last, "dropped") == 3, "3 dropped", "`" + last + "`");
    }
}

TEST_F(Stage06Applications, AnApplicationsMistakeLosesThatClientOnly) {
    promise(
        "a make_session() that throws or returns null, a started() that throws, and a received() that says it has used "
        "more than it was given: each loses that client, and the others are served on");
    likely("AcceptEx's completion knows std::bad_alloc only: any other exception leaves a noexcept function");
    Program program(serving("fragile") + Arguments{"--accepts", "2"});
    for (int i = 0; i < 20; ++i) {
        Client client(program.address());
        if (i % 5 == 4) client.try_send("served?\n");
        if (i % 5 == 0) {
            echo(client, "served\n");
        } else {
            (void)client.expect_any_end();
            program.expect_line("dropped " + client.address() + ": the application failed");
        }
    }
    const std::string last = stop(program);
    expect(count(last, "dropped") == 16, "16 dropped", "`" + last + "`");
}

}  // namespace
