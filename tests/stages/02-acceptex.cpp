// Stage 02 from outside: the pool of accepts serves whoever comes, whatever the clients before them did. And from
// inside, what no client can bring about: the system has no socket for the next accept, or AcceptEx refuses the one it
// is given.
#include "01-create-port/workers.hpp"
#include "02-acceptex/connections.hpp"
#include "02-acceptex/listener.hpp"
#include "tests/support/contract.hpp"
#include "tests/support/windows.hpp"

#include <array>
#include <atomic>
#include <memory>
#include <thread>

using namespace support;

namespace {

class Stage02AcceptEx : public StageTest {
protected:
    Stage02AcceptEx() : StageTest("notes/02-acceptex.md", STAGE_PROGRAM) {
        likely_if_seen("exit code 0xC0000005",
                       "a crash: load_extension gave no address, or the memory of a pending accept is gone: its "
                       "OVERLAPPED, its buffer and its socket must live until the packet has come");
    }
};

CONTRACT_TESTS(Stage02AcceptEx)

void serve_ten(Program& program) {
    std::vector<Client> clients;
    for (int i = 0; i < 10; ++i)
        clients.emplace_back(program.address());
    for (Client& client : clients)
        client.finish_sending();
    for (Client& client : clients)
        program.expect_line("finished " + client.address());
}

TEST_F(Stage02AcceptEx, AClientIsAcceptedAndShownWithItsAddress) {
    promise("a client that connects is accepted at once, and shown with the address that it really has");
    likely("GetAcceptExSockaddrs is given other sizes than AcceptEx was, or the local address is printed");
    Program program;
    const Client client(program.address());
    program.expect_line("accepted " + client.address());
    program.stop();
}

TEST_F(Stage02AcceptEx, AClientThatSaysNothingIsAcceptedToo) {
    promise("without --first-data, accepting waits for no data: a silent client does not hold up the next");
    likely(
        "none was accepted: AcceptEx was given a receive length, so it waits for data; only the first was: its accept "
        "was not posted again");
    Program program({"0", "--accepts", "1"});
    const Client silent(program.address());
    const Client another(program.address());
    const Client third(program.address());
    for (const Client* client : {&silent, &another, &third})
        program.expect_line("accepted " + client->address());
    program.stop();
}

TEST_F(Stage02AcceptEx, EveryAcceptIsPostedAgain) {
    promise("--accepts 3 means three at a time, not three in all: 100 clients that stay are all accepted");
    likely("an accept that completed is not posted again");
    Program program({"0", "--accepts", "3"});
    std::vector<Client> clients;
    for (int i = 0; i < 100; ++i)
        clients.emplace_back(program.address());
    program.expect_lines(100, "accepted ");
    for (const Client& client : clients)
        program.expect_line("accepted " + client.address());
    program.stop();
}

TEST_F(Stage02AcceptEx, TheServerSendsNothing) {
    promise("the server never sends a byte, whatever the client sends, and closes when the client has finished");
    likely("the end of the client is not noticed, or its bytes are sent back: that is stage 04");
    Program program;
    Client client(program.address());
    client.send("hello\n" + all_bytes());
    client.finish_sending();
    program.expect_line("finished " + client.address());
    const std::string bytes = client.expect_end(End::finished);
    expect(bytes.empty(), "no bytes", shown(bytes));
    program.stop();
}

TEST_F(Stage02AcceptEx, AClientThatResetsIsNoticed) {
    promise("a client that is lost after it was accepted ends with a line of its own, and the next is served");
    likely("an error of recv on one connection ends the server, or is not looked at");
    Program program;
    Client client(program.address());
    program.expect_line("accepted " + client.address());
    client.reset();
    // This program has no receive pending, so Wine cannot always tell it a reset from an end.
    program.expect_line_like(on_wine() ? "(lost " + client.address() + ": .*|finished " + client.address() + ")"
                                       : "lost " + client.address() + ": WSAE[A-Z]+ \\(\\d+\\)");
    serve_ten(program);
    program.stop();
}

TEST_F(Stage02AcceptEx, StopsWithClientsConnected) {
    promise("at stop every connection is ended and reported, and every accept of the pool completes as cancelled");
    likely("the accepts are not cancelled, or the sockets of accepted clients are forgotten");
    Program program({"0", "--accepts", "20"});
    std::vector<Client> clients;
    for (int i = 0; i < 30; ++i)
        clients.emplace_back(program.address());
    program.expect_lines(30, "accepted ");
    const std::uint64_t posted = program.stop();
    for (Client& client : clients) {
        program.expect_line("cancelled " + client.address() + ": the server stops");
        client.expect_any_end();
    }
    // 30 clients took one each, and 20 more were waiting or about to be posted again.
    expect(posted >= 30 && posted <= 50, "30 to 50 operations posted", std::to_string(posted));
}

TEST_F(Stage02AcceptEx, ABadNumberOfAcceptsIsRefused) {
    promise("--accepts takes a number from 1 on; anything else gives the usage and exit code 2");
    likely("the value is taken by atoi, or a missing value is read past the end", "Run it");
    const std::vector<Program::Arguments> bad = {
        {"0", "--accepts", "0"}, {"0", "--accepts", "many"}, {"0", "--accepts"}};
    for (const Program::Arguments& arguments : bad) {
        Program program(arguments, Program::not_at_all);
        program.close_stdin();
        const unsigned long code = program.wait_for_exit();
        if (code != 2) fail(Symptom::wrong_exit_code, "exit code 2", "exit code " + std::to_string(code));
    }
}

TEST_F(Stage02AcceptEx, FirstDataComesWithTheClient) {
    promise("with --first-data, a client is accepted together with the first bytes that it sends");
    likely("AcceptEx's receive length is 0, or the packet's byte count is not used", "Walk-through");
    Program program({"0", "--first-data"});
    Client client(program.address());
    client.send("hello");
    program.expect_line("accepted " + client.address() + " with 5 bytes: hello");
    program.stop();
}

TEST_F(Stage02AcceptEx, FirstDataMayBeAnyBytes) {
    promise("the first data is shown by its count: NUL does not end it, and what cannot be printed shows as \\xNN");
    likely("the bytes are copied or printed as a string, which ends at the first NUL");
    Program program({"0", "--first-data"});
    Client client(program.address());
    client.send(std::string("ab\0cd\n\xFF", 7));
    program.expect_line("accepted " + client.address() + " with 7 bytes: ab\\x00cd\\x0A\\xFF");
    program.stop();
}

TEST_F(Stage02AcceptEx, AFinishedClientHasNoFirstData) {
    promise("with --first-data, a client that finishes before it sends anything is accepted with 0 bytes");
    likely(
        "zero bytes are taken for an error; or the addresses in AcceptEx's buffer are trusted: Wine leaves there those "
        "of the client before when the first data is a FIN",
        "Windows and Wine");
    Program program({"0", "--first-data", "--accepts", "1"});
    Client before(program.address());
    before.send("x");
    program.expect_line("accepted " + before.address() + " with 1 bytes: x");
    Client client(program.address());
    client.finish_sending();
    program.expect_line("accepted " + client.address() + " with 0 bytes");
    program.expect_line("finished " + client.address());
    client.expect_end(End::finished);
    program.stop();
}

TEST_F(Stage02AcceptEx, ResetBeforeTheFirstDataCostsOneAccept) {
    promise("with --first-data, clients that reset while the accept waits for their data are passed over");
    likely("an accept that failed is not posted again: every such client then takes one away for ever");
    Program program({"0", "--first-data", "--accepts", "2"});
    for (int i = 0; i < 20; ++i)
        Client(program.address()).reset();
    Client client(program.address());
    client.send("me");
    program.expect_line("accepted " + client.address() + " with 2 bytes: me");
    program.stop();
}

TEST_F(Stage02AcceptEx, SilentClientsAreSweptOutOfThePool) {
    promise("with --first-data, silent clients are put out after --silent seconds, so the next one is served");
    likely("nobody asks SO_CONNECT_TIME, or the swept accepts are not posted again: silent clients then hold the pool");
    Program program({"0", "--first-data", "--accepts", "2", "--silent", "1"});
    std::vector<Client> silent;
    for (int i = 0; i < 2; ++i)
        silent.emplace_back(program.address());
    Client speaker(program.address());  // the pool is taken: it waits in the backlog
    speaker.send("hello");
    program.expect_lines(2, "swept a client that stayed silent for 1 s");
    program.expect_line("accepted " + speaker.address() + " with 5 bytes: hello");
    for (Client& client : silent)
        client.expect_any_end();
    program.stop();
    for (const Client& client : silent)
        program.expect_no_line("accepted " + client.address());
    expect(program.error_output().empty(), "nothing on stderr: a swept accept has not failed", program.error_output());
}

TEST_F(Stage02AcceptEx, ASilentClientIsOnlySweptWhenItsTimeIsUp) {
    promise("a client that is slow to send its first bytes, but not too slow, is served");
    likely("SO_CONNECT_TIME is all ones while nobody has connected, and counts seconds, not milliseconds");
    Program program({"0", "--first-data", "--accepts", "1", "--silent", "600"});
    Client slow(program.address());
    Client waiting(program.address());
    waiting.send("waits");
    slow.send("slow");
    program.expect_line("accepted " + slow.address() + " with 4 bytes: slow");
    program.expect_line("accepted " + waiting.address() + " with 5 bytes: waits");
    program.stop();
    program.expect_no_line("swept");
}

TEST_F(Stage02AcceptEx, StopsWithSilentClientsInThePool) {
    promise("with --first-data, clients that hold accepts and say nothing do not hold up the stop");
    likely("the accepts that have a silent client are not cancelled");
    Program program({"0", "--first-data", "--accepts", "4"});
    std::vector<Client> silent;
    for (int i = 0; i < 3; ++i)
        silent.emplace_back(program.address());
    Client speaker(program.address());
    speaker.send("x");
    program.expect_line("accepted " + speaker.address() + " with 1 bytes: x");
    program.stop();
}

TEST_F(Stage02AcceptEx, AnAcceptWithoutAClientIsNotSwept) {
    promise("the sweep closes the sockets of silent clients, and leaves the accepts that still wait for one");
    likely("SO_CONNECT_TIME of a socket without a client is all ones, which was taken for a very long time");
    Program program({"0", "--first-data", "--silent", "1", "--accepts", "4"});
    Client silent(program.address());
    program.expect_line("swept a client that stayed silent for 1 s");
    Client speaker(program.address());
    speaker.send("x");
    program.expect_line("accepted " + speaker.address() + " with 1 bytes: x");
    const auto swept = program.lines_starting("swept ");
    expect(swept.size() == 1, "one line `swept ...`", std::to_string(swept.size()));
    program.stop();
}

TEST_F(Stage02AcceptEx, ServesOnAfterManyResets) { contract::serves_on_after_many_resets(serve_ten); }
TEST_F(Stage02AcceptEx, GivesEveryHandleBack) { contract::gives_every_handle_back(serve_ten); }

TEST_F(Stage02AcceptEx, TheTimerAndTheFirstClientMayMeet) {
    NEEDS_THE_HEADERS();
    promise("the list of connections works on when the first client comes just as the timer goes through it");
    likely(
        "its lock is a std::shared_mutex: of two threads that are its first users, MinGW-w64's lets one in unlocked");
    struct Item {
        explicit Item(std::atomic<bool>& flag) : destroyed_while_visited(flag) {}
        ~Item() {
            if (visited) destroyed_while_visited = true;
        }
        std::atomic<bool> visited{false};
        std::atomic<bool>& destroyed_while_visited;
    };
    struct Lists {
        std::array<Connections<Item>, 20000> fresh;
        std::atomic<bool> disturbed{false};
        std::atomic<std::size_t> arrived{0};
        std::atomic<std::size_t> ended{0};
        const ULONGLONG enough = ::GetTickCount64() + deadline_ms() / 4;  // a busy machine gets through fewer
    };
    const auto lists = std::make_shared<Lists>();  // threads that hang keep them
    const auto spin = [](std::size_t turns) {
        for (std::atomic<std::size_t> i{0}; i < turns;)
            ++i;
    };
    const auto at_each = [lists](auto use) {
        std::thread([=] {
            for (std::size_t i = 0; i < lists->fresh.size() && ::GetTickCount64() < lists->enough; ++i) {
                ++lists->arrived;
                while (lists->arrived < 2 * (i + 1) && ::GetTickCount64() < lists->enough)
                    std::this_thread::yield();  // or a busy machine lets the one that we wait for wait
                use(*lists, lists->fresh[i], i);
            }
            ++lists->ended;
        }).detach();
    };
    at_each([=](Lists&, Connections<Item>& list, std::size_t) {
        for (int i = 0; i < 20; ++i) {
            list.for_each([&](Item& item) {
                item.visited = true;
                spin(50);
                item.visited = false;
            });
        }
    });
    at_each([=](Lists& all, Connections<Item>& list, std::size_t round) {
        spin(round % 64);
        for (int i = 0; i < 20; ++i)
            list.remove(list.add(std::make_shared<Item>(all.disturbed)));
    });
    did("let two threads be the first at one list after another, the second a little behind the first");
    const ULONGLONG end = ::GetTickCount64() + deadline_ms();
    while (lists->ended < 2 && ::GetTickCount64() < end)
        ::Sleep(10);
    expect(lists->ended == 2, "both threads to end within " + deadline_text(),
           "they hang at list " + std::to_string(lists->arrived / 2));
    expect(!lists->disturbed, "what is visited to stay", "an item was destroyed while it was visited");
}

TEST_F(Stage02AcceptEx, AVisitorMayChangeTheList) {
    NEEDS_THE_HEADERS();
    promise("whoever visits the connections may remove any of them, and holds no lock");
    likely("for_each calls the visitor under the lock, or keeps no reference to what it visits");
    struct Item {
        explicit Item(unsigned& count) : destroyed(count) {}
        ~Item() { ++destroyed; }
        unsigned& destroyed;
        unsigned visits = 0;
    };
    struct State {
        unsigned destroyed = 0;
        Connections<Item> list;
        std::vector<std::weak_ptr<Item>> items;
        std::atomic<unsigned> visits{0};
        std::atomic<unsigned> lost{0};  // destroyed under the visitor's eyes
        std::atomic<unsigned> twice{0};
        std::atomic<bool> ended{false};
    };
    const auto state = std::make_shared<State>();  // a thread that hangs keeps it
    for (int i = 0; i < 200; ++i) {
        const auto item = std::make_shared<Item>(state->destroyed);
        state->items.push_back(item);
        state->list.add(item);
    }
    std::thread([state] {
        unsigned number = 0;
        state->list.for_each([&](Item& item) {
            const unsigned before = state->destroyed;
            ++state->visits;
            if (++item.visits > 1) ++state->twice;
            if (++number % 2 == 0) state->list.remove(item);
            if (state->destroyed != before) ++state->lost;
            state->list.size();
        });
        state->list.for_each([&](Item& item) {
            for (const auto& other : state->items) {
                const auto held = other.lock();
                if (held && held.get() != &item) state->list.remove(*held);
            }
        });
        state->ended = true;
    }).detach();
    did("let a visitor of 200 items remove every second one, and then one that removes all but itself");
    const ULONGLONG end = ::GetTickCount64() + deadline_ms();
    while (!state->ended && ::GetTickCount64() < end)
        ::Sleep(1);
    expect(state->ended, "an end within " + deadline_text(), "it hangs after " + std::to_string(state->visits));
    expect(state->visits == 200 && state->twice == 0, "200 visits, one for each",
           std::to_string(state->visits) + " visits, " + std::to_string(state->twice) + " of them for the second time");
    expect(state->lost == 0, "none destroyed while it is visited", std::to_string(state->lost) + " destroyed");
    expect(state->list.size() <= 1, "at most one left", std::to_string(state->list.size()) + " left");
    expect(state->destroyed + state->list.size() == 200, "what is not in the list destroyed",
           std::to_string(state->destroyed) + " of 200 destroyed");
}

// A Listener in this process, whose supply of sockets can fail.
class Accepting final : public Listener::Handler {
public:
    explicit Accepting(unsigned accepts) : listener_(port_, listen_on("127.0.0.1", 0), *this, accepts) {}
    ~Accepting() {
        const ULONGLONG end = ::GetTickCount64() + deadline_ms();
        while (port_.pending() > 0 && ::GetTickCount64() < end) {
            listener_.stop();
            ::Sleep(1);
        }
    }

    void accepted(Socket, const Accepted& client) override {
        if (no_memory) throw std::bad_alloc();
        ++clients;
        while (hold)
            ::Sleep(1);
        if (client.remote == awaited) ++awaited_came;
    }
    void accept_failed(DWORD error) noexcept override {
        last_error = error;
        ++failures;
    }
    void accepts_wait(DWORD error) noexcept override {
        error != 0 ? ++shortages : ++ends_of_shortage;
        if (error != 0) short_of = error;
    }
    Socket accept_socket(int family) override {
        ++asked;
        if (no_sockets) return Socket(static_cast<SOCKET>(0x7FFFFFF0));  // larger than any handle
        if (sockets_left > 0) {
            --sockets_left;
            return make_tcp_socket(family);
        }
        ::WSASetLastError(WSAENOBUFS);
        return Socket();
    }

    Listener& listener() { return listener_; }
    std::uint64_t posted() const { return port_.pending(); }
    std::string address() const { return listener_.address(); }

    void expect_soon(const std::atomic<unsigned>& counter, unsigned value, const char* what) const {
        const ULONGLONG end = ::GetTickCount64() + deadline_ms();
        while (counter != value && ::GetTickCount64() < end)
            ::Sleep(1);
        expect(counter == value, std::to_string(value) + what, std::to_string(counter) + what);
    }

    void expect_posted(std::uint64_t count) const {
        const ULONGLONG end = ::GetTickCount64() + deadline_ms();
        while (posted() != count && ::GetTickCount64() < end)
            ::Sleep(1);
        expect(posted() == count, std::to_string(count) + " accepts posted", std::to_string(posted()) + " posted");
    }

    std::atomic<unsigned> sockets_left{1000};
    std::atomic<bool> no_sockets{false};  // what it supplies is none, and AcceptEx refuses it
    std::atomic<bool> no_memory{false};   // for what is accepted
    std::atomic<bool> hold{false};        // what is accepted takes its time
    std::atomic<unsigned> asked{0};
    std::atomic<unsigned> failures{0};
    std::atomic<DWORD> last_error{0};
    std::atomic<unsigned> shortages{0};
    std::atomic<unsigned> ends_of_shortage{0};
    std::atomic<DWORD> short_of{0};
    std::atomic<unsigned> clients{0};
    std::string awaited;  // a client's address, set while `hold` is
    std::atomic<unsigned> awaited_came{0};

private:
    Winsock winsock_;
    CompletionPort port_;
    Listener listener_;
    Workers workers_{port_, 1, run_worker};
};

TEST_F(Stage02AcceptEx, AFullSystemIsReportedOnceAndDoesNotSpin) {
    NEEDS_THE_HEADERS();
    promise("when no socket can be had for an accept, the listener says so once and waits: it neither dies nor spins");
    likely("the failed accept is tried again at once: WSAEMFILE and WSAENOBUFS last, so that burns a processor");
    Accepting server(8);
    server.sockets_left = 0;
    for (int i = 0; i < 10; ++i)
        server.listener().replenish();
    did("called replenish() 10 times while no socket can be had");
    expect(server.posted() == 0, "no accept posted", std::to_string(server.posted()));
    expect(server.asked <= 80, "at most one try for each accept and call", std::to_string(server.asked) + " tries");
    expect(server.shortages == 1 && server.short_of == WSAENOBUFS, "one shortage reported, WSAENOBUFS",
           std::to_string(server.shortages) + " reported, the last one " + error_name(server.short_of).c_str());
    expect(server.failures == server.asked, "every failure counted",
           std::to_string(server.failures) + " of " + std::to_string(server.asked));
}

TEST_F(Stage02AcceptEx, ThePoolFillsUpAgainAfterAFullSystem) {
    NEEDS_THE_HEADERS();
    promise("once sockets can be had again, all accepts are posted and clients are served");
    likely("an accept that could not be posted is forgotten: the pool shrinks until nobody is served");
    Accepting server(8);
    server.sockets_left = 3;
    server.listener().replenish();
    did("called replenish() with 3 sockets to be had for 8 accepts");
    expect(server.posted() == 3, "3 accepts posted", std::to_string(server.posted()));
    server.sockets_left = 1000;
    server.listener().replenish();
    did("called replenish() again with enough sockets");
    expect(server.posted() == 8, "8 accepts posted", std::to_string(server.posted()));
}

TEST_F(Stage02AcceptEx, AnAcceptThatFailsInItsCallIsNotPosted) {
    NEEDS_THE_HEADERS();
    promise("AcceptEx that fails inside its call counts as never posted; it is reported once and tried again later");
    likely("AcceptEx returns a BOOL: compared with SOCKET_ERROR, its failure looks like pending, and no packet comes");
    Accepting server(8);
    server.no_sockets = true;
    for (int i = 0; i < 3; ++i)
        server.listener().replenish();
    did("called replenish() 3 times with accept sockets that AcceptEx refuses");
    expect(server.asked >= 3, "a try for each call", std::to_string(server.asked) + " tries");
    expect(server.posted() == 0, "no accept posted", std::to_string(server.posted()));
    expect(server.shortages == 1 && server.short_of == WSAENOTSOCK, "one shortage reported, WSAENOTSOCK",
           std::to_string(server.shortages) + " reported, the last one " + error_name(server.short_of).c_str());
    server.no_sockets = false;
    server.listener().replenish();
    did("called replenish() with good ones");
    expect(server.posted() == 8, "8 accepts posted", std::to_string(server.posted()));
    std::vector<Client> clients;
    for (int i = 0; i < 20; ++i)
        clients.emplace_back(server.address());
    server.expect_soon(server.clients, 20, " clients accepted");
}

TEST_F(Stage02AcceptEx, EachCompletionPostsItsAcceptAgain) {
    NEEDS_THE_HEADERS();
    promise("an accept is posted again by its own completion: the pool does not wait for a timer to fill it");
    likely("only the timer's replenish() posts accepts: clients then come in at the pace of the timer");
    Accepting server(2);
    server.listener().replenish();
    did("called replenish() once");
    std::vector<Client> clients;
    for (int i = 0; i < 20; ++i)
        clients.emplace_back(server.address());
    server.expect_soon(server.clients, 20, " clients accepted");
}

TEST_F(Stage02AcceptEx, AnAcceptThatCannotBePostedAgainComesBack) {
    NEEDS_THE_HEADERS();
    promise("an accept that completes while no socket can be had is posted again later, and the others go on");
    likely("only accepts that were never posted are posted again: each client then takes one away for ever");
    Accepting server(3);
    server.sockets_left = 3;
    server.listener().replenish();
    std::vector<Client> clients;
    for (int i = 0; i < 2; ++i)
        clients.emplace_back(server.address());
    server.expect_soon(server.clients, 2, " clients accepted");
    server.sockets_left = 1000;
    server.listener().replenish();
    for (int i = 0; i < 10; ++i)
        clients.emplace_back(server.address());
    server.expect_soon(server.clients, 12, " clients accepted");
    expect(server.failures >= 1 && server.last_error == WSAENOBUFS, "WSAENOBUFS reported",
           std::to_string(server.failures) + " failures reported");
}

TEST_F(Stage02AcceptEx, AnAcceptThatFailsForTheServersReasonWaits) {
    NEEDS_THE_HEADERS();
    promise("an accept that fails for the server's own reason is not posted again before the next replenish()");
    likely("complete() posts it again whatever the error: while memory or handles are short that burns a processor");
    Accepting server(1);
    server.no_memory = true;
    server.listener().replenish();
    const Client lost(server.address());
    server.expect_soon(server.failures, 1, " failures");
    Client waiting(server.address());
    did("let two clients come while there is no memory for them");
    // Had it been posted again, the second client would have failed it too.
    ::Sleep(200);
    expect(server.failures == 1 && server.posted() == 0, "one failure, and nothing posted",
           std::to_string(server.failures) + " failures, " + std::to_string(server.posted()) + " posted");
    expect(server.shortages == 1 && server.short_of == ERROR_NOT_ENOUGH_MEMORY, "a shortage reported",
           std::to_string(server.shortages) + " reported, the last one " + error_name(server.short_of).c_str());
    server.no_memory = false;
    server.listener().replenish();
    did("called replenish() with enough memory");
    server.expect_soon(server.clients, 1, " clients accepted");
}

TEST_F(Stage02AcceptEx, AnAcceptThatFailsForItsClientsReasonGoesOnAtOnce) {
    NEEDS_THE_HEADERS();
    promise("clients that reset in the backlog hold up nobody: the accept that fails on one is posted again at once");
    likely("every failure waits for replenish(), or a client's reason is missing in failed_for_its_client()");
    Accepting server(1);
    server.hold = true;
    server.listener().replenish();
    const Client slow(server.address());
    server.expect_soon(server.clients, 1, " clients accepted");
    for (int i = 0; i < 20; ++i)
        Client(server.address()).reset();
    const Client good(server.address());
    server.awaited = good.address();
    server.hold = false;
    did("let the one accept go on, with 20 clients that have reset and a good one in the backlog");
    server.expect_soon(server.awaited_came, 1, " good client accepted");
    expect(server.shortages == 0, "no shortage reported",
           std::to_string(server.shortages) + " reported, the last one " + error_name(server.short_of).c_str());
}

TEST_F(Stage02AcceptEx, AShortageIsReportedWhenItBeginsAndWhenItIsOver) {
    NEEDS_THE_HEADERS();
    promise("a shortage is reported once when it begins, and once when a client has been accepted and nothing failed");
    likely(
        "every failure begins a shortage, or the first client ends it, though accepts still fail: log lines by the "
        "thousand");
    Accepting server(8);
    const auto expect_reports = [&](unsigned begun, unsigned over) {
        const unsigned begun_now = server.shortages;
        const unsigned over_now = server.ends_of_shortage;
        expect(begun_now == begun && over_now == over,
               std::to_string(begun) + " reported, " + std::to_string(over) + " over",
               std::to_string(begun_now) + " reported, " + std::to_string(over_now) + " over");
    };
    std::vector<Client> clients;
    for (unsigned i = 1; i <= 5; ++i) {
        server.sockets_left = 1;
        server.listener().replenish();
        clients.emplace_back(server.address());
        server.expect_soon(server.clients, i, " clients accepted");
        server.expect_posted(0);  // its accept has ended, and there is no second socket
        expect_reports(1, 0);
    }
    did("served 5 clients with one socket at a time");
    server.sockets_left = 1000;
    server.listener().replenish();
    server.listener().replenish();
    did("called replenish() twice with enough sockets, and no client came");
    expect_reports(1, 0);
    clients.emplace_back(server.address());
    server.expect_soon(server.clients, 6, " clients accepted");
    const ULONGLONG end = ::GetTickCount64() + deadline_ms();
    while (server.ends_of_shortage == 0 && ::GetTickCount64() < end)
        server.listener().replenish();  // its accept may still be in hand
    server.listener().replenish();
    did("let one more client come, and called replenish() until it was over");
    expect_reports(1, 1);
}

// 0, or why a client cannot connect.
DWORD error_of_connect(const std::string& address) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
    to.sin_port = ::htons(static_cast<u_short>(std::stoi(address.substr(address.rfind(':') + 1))));
    const Socket socket = make_tcp_socket(AF_INET);
    return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0
               ? 0
               : static_cast<DWORD>(::WSAGetLastError());
}

TEST_F(Stage02AcceptEx, TheListenerClosesAsSoonAsNoAcceptIsPosted) {
    NEEDS_THE_HEADERS();
    promise("a listener that stops closes its socket once no accept is posted: who comes then is refused");
    likely("the socket stays open until the program ends: the backlog takes clients that nobody will serve");
    Accepting server(8);
    const std::string address = server.address();
    server.hold = true;
    server.listener().replenish();
    const Client slow(address);
    server.expect_soon(server.clients, 1, " clients accepted");
    for (int i = 0; i < 20; ++i) {
        expect(!server.listener().stop(), "an open listener while one accept is being handled", "a closed one");
        ::Sleep(1);
    }
    did("called stop() again and again while a client is being accepted");
    server.hold = false;
    const ULONGLONG end = ::GetTickCount64() + deadline_ms();
    while (!server.listener().stop() && ::GetTickCount64() < end)
        ::Sleep(1);
    did("let it be accepted, and called stop() until it returned true");
    const DWORD error = error_of_connect(address);
    expect(error == WSAECONNREFUSED, "the next client to be refused",
           error == 0 ? "it is connected" : error_name(error).c_str());
    const unsigned asked = server.asked;
    server.listener().replenish();
    server.listener().stop();
    expect(server.asked == asked, "no accept started after the stop", "one was");
}

TEST_F(Stage02AcceptEx, TheStopAndThePostingMayMeet) {
    NEEDS_THE_HEADERS();
    promise("no accept is posted on a listener that is closed, whoever posts at the moment of the stop");
    likely("the flag that ends the posting is looked at outside the accept's mutex");
    for (int round = 0; round < 100; ++round) {
        Accepting server(4);
        const std::string address = server.address();
        std::atomic<bool> over{false};
        std::thread timer([&] {
            while (!over)
                server.listener().replenish();
        });
        for (int i = 0; i < round % 4; ++i)
            error_of_connect(address);
        while (!server.listener().stop())
            ::Sleep(0);
        over = true;
        timer.join();
        expect(server.shortages == 0, "no accept on a closed socket",
               std::to_string(server.shortages) + " failed, with " + error_name(server.short_of).c_str());
    }
}

}  // namespace
