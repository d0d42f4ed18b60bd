// Stage 06 from outside: the full server, over loopback.
//
// Most tests end with stop(): exit code 0, as many operations completed as posted, no connection left.
#include "06-full-server/buffer.hpp"
#include "06-full-server/worker.hpp"
#include "tests/support/client.hpp"
#include "tests/support/failure.hpp"
#include "tests/support/program.hpp"
#include "tests/support/windows.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace support;
using Arguments = Program::Arguments;

constexpr std::size_t kibibyte = 1024;
constexpr std::size_t mebibyte = 1024 * kibibyte;

const std::string statistics_pattern =
    "statistics: (\\d+) connections, (\\d+) accepted, (\\d+) refused, (\\d+) dropped, (\\d+) bytes received, "
    "(\\d+) bytes sent, (\\d+) operations posted, (\\d+) completed, (\\d+) pending, (\\d+) WSARecv calls, "
    "(\\d+) WSASend calls, (\\d+) dequeue calls, (\\d+) post calls";

// Port 0, stop at the end of stdin, tell every connection; and what a test adds.
Arguments with(const Arguments& options) {
    Arguments all = {"0", "--stop-on-eof", "--verbose"};
    all.insert(all.end(), options.begin(), options.end());
    return all;
}

// The promises that hold with and without FILE_SKIP_COMPLETION_PORT_ON_SUCCESS are tested both ways.
const std::vector<Arguments> skipping_and_not = {{}, {"--no-skip-on-success"}};

const char serves_nobody[] =
    "a receive or a send that was done inside its call is left alone, and no packet comes for it; or the next receive "
    "is not started";

Arguments operator+(Arguments left, const Arguments& right) {
    left.insert(left.end(), right.begin(), right.end());
    return left;
}

// A number from a statistics line: count(line, "bytes sent").
std::uint64_t count(const std::string& statistics, const std::string& name, Where where = Where::current()) {
    const std::size_t end = statistics.find(" " + name + (name == "post calls" ? "" : ","));
    if (end == std::string::npos)
        fail(Symptom::other, "a statistics line with `N " + name + "`", "`" + statistics + "`", where);
    return std::stoull(statistics.substr(statistics.rfind(' ', end - 1) + 1));
}

// The last statistics line of a program that has ended well; all its accounts must balance.
std::string last_statistics(Program& program, Where where = Where::current()) {
    const unsigned long exit_code = program.wait_for_exit(where);
    if (exit_code != 0) fail(Symptom::wrong_exit_code, "exit code 0", std::to_string(exit_code), where);
    const auto lines = program.lines();
    const std::string last = lines.size() < 2 ? "" : lines[lines.size() - 2];
    expect(last.starts_with("statistics: "), "a statistics line right before the last line", "`" + last + "`", where);
    const std::uint64_t posted = count(last, "operations posted", where);
    if (posted != count(last, "completed", where) || count(last, "pending", where) != 0) {
        fail(Symptom::operations_left, "as many operations completed as posted, and 0 pending", "`" + last + "`",
             where);
    }
    expect(count(last, "connections", where) == 0, "0 connections at the end", "`" + last + "`", where);
    const std::string stopped = "stopped: " + std::to_string(posted) + " operations posted, " + std::to_string(posted) +
                                " completed, 0 pending";
    expect(lines.back() == stopped, "the last line `" + stopped + "`", "`" + lines.back() + "`", where);
    return last;
}

// Ends the program, after its clients, and returns its last statistics line.
std::string stop(Program& program, Where where = Where::current()) {
    program.stop(where);
    return last_statistics(program, where);
}

// Connects, and returns once the server has said that it has this client: from then on it takes part in the chat.
Client join(Program& program, ClientOptions options = {}, Where where = Where::current()) {
    Client client(program.address(), options, where);
    program.expect_line("accepted " + client.address(), where);
    return client;
}

void echo(Client& client, const std::string& bytes, Where where = Where::current()) {
    client.send(bytes, where);
    client.expect(bytes, where);
}

// A connection that streams without a pause, in both directions, on two threads of its own.
class Flood {
public:
    explicit Flood(const Program& program) {
        start_winsock();
        socket_ = ::WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, nullptr, 0, WSA_FLAG_NO_HANDLE_INHERIT);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(program.port());
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return;
        did("started a client that streams without a pause");
        sender_ = std::thread([this] {
            const std::string block(64 * kibibyte, 'f');
            while (!ending_ && ::send(socket_, block.data(), static_cast<int>(block.size()), 0) > 0) {
            }
        });
        receiver_ = std::thread([this] {
            std::vector<char> block(64 * kibibyte);
            for (int n = 0; (n = ::recv(socket_, block.data(), static_cast<int>(block.size()), 0)) > 0;) {
                received_ += static_cast<std::uint64_t>(n);
            }
        });
    }
    ~Flood() { end(); }
    Flood(const Flood&) = delete;
    Flood& operator=(const Flood&) = delete;

    // Waits until so many more bytes have come back.
    void expect_progress(std::uint64_t bytes, Where where = Where::current()) {
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(deadline_ms());
        const std::uint64_t before = received_;
        while (received_ < before + bytes) {
            if (std::chrono::steady_clock::now() > deadline) {
                fail(Symptom::no_bytes,
                     std::to_string(bytes) + " more bytes back from the stream within " + deadline_text(),
                     std::to_string(received_ - before), where);
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    }

    void end() {
        if (socket_ == INVALID_SOCKET) return;
        ending_ = true;
        ::shutdown(socket_, SD_BOTH);
        if (sender_.joinable()) sender_.join();
        if (receiver_.joinable()) receiver_.join();
        ::closesocket(socket_);
        socket_ = INVALID_SOCKET;
    }

private:
    SOCKET socket_ = INVALID_SOCKET;
    std::atomic<bool> ending_{false};
    std::atomic<std::uint64_t> received_{0};
    std::thread sender_;
    std::thread receiver_;
};

// Runs a program that is to end by itself.
struct Outcome {
    unsigned long exit_code;
    std::vector<std::string> lines;
    std::string errors;
};
Outcome run(const Arguments& arguments, Where where = Where::current()) {
    Program program(arguments, Program::not_at_all, where);
    program.close_stdin();  // with --stop-on-eof: one that starts by mistake ends again
    const unsigned long exit_code = program.wait_for_exit(where);
    std::string errors = program.error_output();
    std::erase(errors, '\r');
    return {exit_code, program.lines(), errors};
}

bool has_ipv6() {
    start_winsock();
    const SOCKET socket = ::WSASocketW(AF_INET6, SOCK_STREAM, IPPROTO_TCP, nullptr, 0, WSA_FLAG_NO_HANDLE_INHERIT);
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_addr = in6addr_loopback;
    const bool bound = ::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    ::closesocket(socket);
    return bound;
}

class Stage06FullServer : public StageTest {
protected:
    Stage06FullServer() : StageTest("notes/06-full-server.md", STAGE_PROGRAM) {
        likely_if_seen("error 0 (0)",
                       "its count came to 0 though nothing had ended it: no receive was started, also not when the "
                       "queue had become short again, or an operation was started without being counted");
        likely_when(Symptom::does_not_stop,
                    "somebody's packet is not handled: only the first entry of a batch, or a worker kept the stop "
                    "packets of the others; or a connection's count never comes to 0");
    }
};

// ---- its command line ----

TEST_F(Stage06FullServer, HelpNamesEveryOption) {
    promise("--help explains every option on stdout and ends with exit code 0");
    likely("CLI11's help is a CLI::ParseError like any other: app.exit() prints it and knows the exit code", "Run it");
    const Outcome help = run({"--help"});
    expect(help.exit_code == 0, "exit code 0", std::to_string(help.exit_code));
    std::string text;
    for (const std::string& line : help.lines)
        text += line + "\n";
    for (const char* option :
         {"--app", "--address", "--workers", "--accepts", "--max-connections", "--idle-timeout", "--silent-timeout",
          "--send-queue", "--receive-buffer", "--first-receive", "--gather", "--drain", "--batch", "--inline-bound",
          "--no-skip-on-success", "--stats", "--verbose", "--stop-on-eof", "port"}) {
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
        {"--receive-buffer", {"--receive-buffer", "0"}},
        {"--first-receive", {"--first-receive", "1"}},
        {"--gather", {"--gather", "17"}},
        {"--drain", {"--drain", "-1"}},
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
            const std::string message = numbered_bytes(40 * mebibyte);  // more than the system buffers on the way
            client.send(message);                                       // all of it, and not a byte is read
            const std::string came = client.receive(message.size());
            if (came != message) fail(Symptom::wrong_bytes, "the 40 MiB that were sent", difference(message, came));
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
    promise("two clients that stream without a pause cannot keep the only worker for themselves");
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
            Flood one(program);
            Flood two(program);
            one.expect_progress(mebibyte);
            two.expect_progress(mebibyte);
            Client after(program.address());
            for (int i = 0; i < 20; ++i) {
                echo(before, "may I?");
                echo(after, "me too?");
            }
            one.expect_progress(mebibyte);
            two.expect_progress(mebibyte);
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

// ---- limits and timeouts ----

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

TEST_F(Stage06FullServer, AFullServerRefusesWithALineAndHasRoomAgain) {
    promise("a client over --max-connections is told so and gets FIN; when another leaves there is room again");
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

// ---- chat ----

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

// ---- statistics ----

TEST_F(Stage06FullServer, StatisticsComeEverySoOftenAndAtTheEnd) {
    promise("--stats 1 prints a statistics line every second; one more comes right before the last line");
    likely("the counts of a connection are added only when it ends, or a name is spelt otherwise");
    Program program(with({"--stats", "1"}));
    {
        Client first(program.address());
        Client second(program.address());
        echo(first, std::string(1000, 'a'));
        echo(second, std::string(500, 'b'));
        program.expect_line_like(
            "statistics: 2 connections, 2 accepted, 0 refused, 0 dropped, 1500 bytes received, "
            "1500 bytes sent, .*");
        program.expect_lines(3, "statistics: ");
    }
    const std::string last = stop(program);
    program.expect_line_like(statistics_pattern);
    expect(count(last, "bytes received") == 1500 && count(last, "bytes sent") == 1500, "1500 bytes each way",
           "`" + last + "`");
    expect(count(last, "WSARecv calls") >= 4 && count(last, "WSASend calls") >= 2 && count(last, "dequeue calls") >= 2,
           "2 connections to take at least 4 receives and 2 sends", "`" + last + "`");
}

TEST_F(Stage06FullServer, APacketIsNotFetchedAlone) {
    promise("GetQueuedCompletionStatusEx takes what is there in one call, up to --batch");
    likely("the batch has room for one entry, or only the first of the entries is handled");
    constexpr unsigned many = 100;
    for (const std::string batch : {"1", "64"}) {
        // One worker and no skipped packets: while it handles one, others queue up.
        Program program(with({"--workers", "1", "--no-skip-on-success", "--batch", batch}));
        std::vector<Client> clients;
        for (unsigned i = 0; i < many; ++i)
            clients.emplace_back(program.address());
        for (int round = 0; round < 10; ++round) {
            for (Client& client : clients)
                client.send("hello");
            for (Client& client : clients)
                client.expect("hello");
        }
        clients.clear();
        const std::string last = stop(program);
        const bool more_packets = count(last, "dequeue calls") < count(last, "completed");
        expect(more_packets == (batch != "1"), batch == "1" ? "a call for each packet" : "fewer calls than packets",
               "`" + last + "`");
    }
}

struct NoTurn final : Turn {
    DWORD take_turn() noexcept override { return 0; }
};

TEST_F(Stage06FullServer, TurnsComeInOrder) {
    NEEDS_THE_HEADERS();
    promise("who waits for a turn gets it in the order of asking");
    likely("the last is served first, or one is lost when the queue runs empty");
    CompletionPort port;
    Statistics statistics;
    TurnQueue queue(port, statistics);
    std::array<NoTurn, 3> turns;
    const auto pops = [&](std::size_t number) {
        const Turn* const popped = queue.pop();
        expect(popped == &turns[number], "number " + std::to_string(number),
               popped == nullptr ? "none" : "another one");
    };
    for (int round = 0; round < 3; ++round) {
        queue.push(turns[0]);
        queue.push(turns[1]);
        pops(0);
        queue.push(turns[2]);
        queue.push(turns[0]);
        pops(1);
        pops(2);
        pops(0);
        expect(queue.pop() == nullptr, "none, as nobody waits", "one");
    }
}

// True when a packet without an operation, and with this key, is on the port.
bool takes_packet(const CompletionPort& port, ULONG_PTR expected) {
    DWORD bytes = 0;
    ULONG_PTR key = 0;
    OVERLAPPED* overlapped = nullptr;
    return ::GetQueuedCompletionStatus(port.get(), &bytes, &key, &overlapped, 0) && key == expected;
}

TEST_F(Stage06FullServer, AWorkerThatSleepsIsWokenWhenManyWait) {
    NEEDS_THE_HEADERS();
    promise("when many wait for a turn and a worker sleeps at the port, one packet wakes it; nobody is woken for one");
    likely("the queue is only looked at by the worker that filled it: the others sleep while clients wait");
    CompletionPort port;
    Statistics statistics;
    TurnQueue queue(port, statistics);
    std::array<NoTurn, 100> turns;
    expect(queue.sleep() == INFINITE, "a worker that has nothing to do to wait without a limit", "another limit");
    queue.push(turns[0]);
    expect(statistics.post_calls == 0, "nobody woken for one", std::to_string(statistics.post_calls) + " posts");
    expect(queue.sleep() == 0, "a worker that has something to do not to wait", "another limit");
    for (std::size_t i = 1; i < 50; ++i)
        queue.push(turns[i]);
    expect(statistics.post_calls == 1 && takes_packet(port, TurnQueue::wake_key), "one packet with the wake-up key",
           std::to_string(statistics.post_calls) + " posts");
    queue.woken();
    queue.wake_up();
    for (std::size_t i = 50; i < 100; ++i)
        queue.push(turns[i]);
    expect(statistics.post_calls == 1, "nobody woken when all are awake", std::to_string(statistics.post_calls));
}

TEST_F(Stage06FullServer, AQuietConnectionReturnsToASmallBuffer) {
    NEEDS_THE_HEADERS();
    promise("the buffer of a receive grows when it is filled, and shrinks again when little comes");
    likely("it only grows: a client that once sent much then holds a large buffer for as long as it is silent");
    const BufferPool pool(1000, 60000);
    ReceiveSize size(pool);
    for (const std::size_t expected : {1000, 4000, 16000, 60000, 60000}) {
        expect(size.next() == expected, std::to_string(expected) + " bytes", std::to_string(size.next()));
        size.received(size.next());
    }
    for (int i = 0; i < 15; ++i)
        size.received(15999);
    size.received(16000);
    for (int i = 0; i < 15; ++i)
        size.received(1);
    expect(size.next() == 60000, "the same size while a smaller one does not hold all", std::to_string(size.next()));
    for (int i = 0; i < 100; ++i)
        size.received(1);
    expect(size.next() == 1000, "the smallest size again", std::to_string(size.next()));
}

// ---- the stop ----

TEST_F(Stage06FullServer, StopSendsWhatIsQueuedThenSaysItsEnd) {
    promise("at the stop a client gets everything that the server has taken from it, then FIN");
    likely("the queue is thrown away at the stop: first send it, then shutdown(SD_SEND)");
    for (const Arguments& mode : skipping_and_not) {
        Program program(with(mode + Arguments{"--send-queue", "67108864", "--stats", "1", "--drain", "60"}));
        Client client = join(program, {.receive_buffer = 8192});
        const std::string message = numbered_bytes(24 * mebibyte);
        client.send(message);
        program.expect_line_like("statistics: .*, " + std::to_string(message.size()) + " bytes received, .*");
        program.close_stdin();
        const std::string came = client.receive(message.size());
        if (came != message)
            fail(Symptom::wrong_bytes, "the 24 MiB that the server has taken", difference(message, came));
        client.expect_end(End::finished);
        client.finish_sending();
        program.expect_line("closed " + client.address() + ": the server stops");
        last_statistics(program);
    }
}

TEST_F(Stage06FullServer, StopEndsAllClientsAndTakesNoNewOne) {
    promise("at the stop every client gets FIN, and nobody new is served");
    likely("the listener is still open, or a connection is forgotten in the list of those to be ended");
    for (const Arguments& mode : skipping_and_not) {
        Program program(with(mode + Arguments{"--drain", "60"}));
        std::vector<Client> clients;
        for (int i = 0; i < 200; ++i)
            clients.emplace_back(program.address());
        for (Client& client : clients)
            echo(client, "hello");
        program.close_stdin();
        for (Client& client : clients) {
            client.expect_end(End::finished);
            client.finish_sending();
        }
        clients.clear();
        const std::string last = last_statistics(program);
        expect(count(last, "accepted") == 200 && count(last, "dropped") == 0, "200 accepted, 0 dropped",
               "`" + last + "`");
    }
}

TEST_F(Stage06FullServer, StopWaitsNoLongerThanTheDeadline) {
    promise("clients that never end, that never read, or that stream on cannot hold the server past --drain");
    likely("the stop waits for the client's FIN for ever, or nobody cancels what is pending after the deadline");
    likely_when(Symptom::does_not_stop, "after the deadline CancelIoEx must end every operation of every connection");
    for (const Arguments& mode : skipping_and_not) {
        Program program(with(mode + Arguments{"--drain", "1"}));
        Client quiet = join(program);
        echo(quiet, "hello");
        Client deaf = join(program, {.receive_buffer = 8192});
        deaf.send_until_stuck(96 * mebibyte);
        Flood flood(program);
        flood.expect_progress(mebibyte);
        stop(program);
        program.expect_line("dropped " + quiet.address() + ": no end from the client within 1 s");
        program.expect_line_starting("dropped " + deaf.address() + ": no end from the client within 1 s");
        quiet.expect_any_end();
    }
}

TEST_F(Stage06FullServer, StopWaitsNoLongerForAClientThatHasFinishedAndDoesNotRead) {
    promise(
        "at the stop a client that has sent its end and takes nothing has --drain seconds too, and is then dropped");
    likely("only connections that were open at the stop get a deadline: this one had begun to end by itself");
    for (const Arguments& mode : skipping_and_not) {
        Program program(with(mode + Arguments{"--send-queue", "67108864", "--drain", "1", "--stats", "1"}));
        Client client = join(program, {.receive_buffer = 8192});
        const std::size_t size = 24 * mebibyte;
        client.send(std::string(size, 'x'));
        client.finish_sending();
        program.expect_line_like("statistics: .*, " + std::to_string(size) + " bytes received, .*");
        program.close_stdin();
        program.expect_line("dropped " + client.address() + ": no end from the client within 1 s");
        last_statistics(program);
    }
}

TEST_F(Stage06FullServer, StopWhileClientsComeAndGo) {
    promise("a stop in the middle of connects, echoes and resets loses no operation");
    likely("an operation is started after the list of connections was gone through, or counted after its completion");
    for (const Arguments& mode : skipping_and_not) {
        Program program(with(mode + Arguments{"--drain", "1", "--accepts", "4"}));
        std::atomic<bool> ending{false};
        std::atomic<unsigned> served{0};
        const std::uint16_t port = program.port();
        std::vector<std::thread> threads;
        for (unsigned number = 0; number < 3; ++number) {
            threads.emplace_back([&, number] {
                while (!ending) {
                    const SOCKET socket = ::socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
                    const DWORD patience = 2000;
                    ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, reinterpret_cast<const char*>(&patience),
                                 sizeof patience);
                    sockaddr_in address{};
                    address.sin_family = AF_INET;
                    address.sin_port = htons(port);
                    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
                    if (::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
                        char byte = 'x';
                        ::send(socket, &byte, 1, 0);
                        if (number != 0 && ::recv(socket, &byte, 1, 0) == 1) ++served;
                        const linger at_once{1, 0};
                        if (number != 2) {
                            ::setsockopt(socket, SOL_SOCKET, SO_LINGER, reinterpret_cast<const char*>(&at_once),
                                         sizeof at_once);
                        }
                    }
                    ::closesocket(socket);
                }
            });
        }
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(deadline_ms());
        while (served < 200 && std::chrono::steady_clock::now() < deadline)
            ::Sleep(1);
        const unsigned before_the_stop = served;
        try {
            stop(program);
        } catch (...) {  // already told; the threads must go before the test does
            ending = true;
            for (std::thread& thread : threads)
                thread.join();
            throw;
        }
        ending = true;
        for (std::thread& thread : threads)
            thread.join();
        expect(before_the_stop >= 200, "200 clients served before the stop", std::to_string(before_the_stop));
    }
}

}  // namespace
