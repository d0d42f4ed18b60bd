// Native Linux clients of the full server, which runs under Wine. They see what TCP does, with no Winsock in between: a
// reset is a reset, an end is an end, and the server's memory can be read in /proc.
//
// Every wait has a deadline. A helper that cannot go on throws, and GoogleTest shows its words as the test's failure.
#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <istream>
#include <iterator>
#include <map>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

// The build names the server's .exe, and what runs it.
#ifndef FULL_SERVER
#define FULL_SERVER ""
#endif
#ifndef WINE
#define WINE ""
#endif

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto patience = 60s;  // for one step; a step that works takes milliseconds, also on a busy machine
constexpr std::uint64_t megabyte = 1'000'000;

std::runtime_error failed(const std::string& what) { return std::runtime_error(what + ": " + std::strerror(errno)); }

// IOCP_STAGE_PROGRAM names another server, as for the tests of the stages.
std::string program_path() {
    const char* other = std::getenv("IOCP_STAGE_PROGRAM");
    return other != nullptr ? other : FULL_SERVER;
}

template <class Condition>
bool wait_until(Condition condition, std::chrono::seconds limit = patience) {
    for (const auto deadline = Clock::now() + limit; !condition(); std::this_thread::sleep_for(5ms)) {
        if (Clock::now() >= deadline) return false;
    }
    return true;
}

std::string file_text(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

// What the server said in its last two lines, and its exit code.
struct Ended {
    int exit_code = -1;
    std::map<std::string, std::uint64_t> counts;  // "connections", "operations posted", "pending" …
};

// The server under Wine: a child process with a pipe at either end. The destructor ends it, whatever became of the
// test.
class Server {
public:
    explicit Server(std::vector<std::string> options = {}) {
        const std::string wrapper = WINE;
        std::vector<std::string> words;
        if (!wrapper.empty()) words.push_back(wrapper);
        words.insert(words.end(), {program_path(), "0", "--stop-on-eof"});
        words.insert(words.end(), options.begin(), options.end());
        std::vector<char*> arguments;
        for (std::string& word : words)
            arguments.push_back(word.data());
        arguments.push_back(nullptr);

        std::array<int, 2> in{}, out{};
        if (::pipe2(in.data(), O_CLOEXEC) != 0 || ::pipe2(out.data(), O_CLOEXEC) != 0) throw failed("pipe2");
        child_ = ::fork();
        if (child_ < 0) throw failed("fork");
        if (child_ == 0) {
            ::dup2(in[0], STDIN_FILENO);
            ::dup2(out[1], STDOUT_FILENO);
            ::execvp(arguments[0], arguments.data());
            ::_exit(127);
        }
        ::close(in[0]);
        ::close(out[1]);
        stdin_ = in[1];
        reader_ = std::thread([this, stdout_pipe = out[0]] { read_lines(stdout_pipe); });
        try {
            const std::string line = wait_for_line("listening on ");
            port_ = static_cast<std::uint16_t>(std::stoi(line.substr(line.rfind(':') + 1)));
        } catch (...) {
            end();
            throw;
        }
    }
    ~Server() { end(); }
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    std::uint16_t port() const { return port_; }

    // The first line that holds `part`, whether it is there already or still to come.
    std::string wait_for_line(const std::string& part) {
        std::unique_lock lock(mutex_);
        std::string found;
        const auto look = [&] {
            const auto line =
                std::find_if(lines_.begin(), lines_.end(), [&](const auto& l) { return l.find(part) != l.npos; });
            if (line != lines_.end()) found = *line;
            return !found.empty() || output_ended_;
        };
        if (changed_.wait_for(lock, patience, look) && !found.empty()) return found;
        std::string text = "the server never printed '" + part + "'; its last lines were:";
        for (std::size_t i = lines_.size() > 5 ? lines_.size() - 5 : 0; i < lines_.size(); ++i)
            text += "\n  " + lines_[i];
        throw std::runtime_error(text);
    }
    std::size_t count_lines(const std::string& part) {
        const std::lock_guard lock(mutex_);
        return static_cast<std::size_t>(
            std::count_if(lines_.begin(), lines_.end(), [&](const auto& l) { return l.find(part) != l.npos; }));
    }

    // From here on nobody empties the pipe that the server prints into, until it has ended.
    void stop_reading() {
        const std::lock_guard lock(mutex_);
        reads_ = false;
    }

    bool has_ended() {
        if (child_ > 0 && ::waitpid(child_, &status_, WNOHANG) == child_) child_ = 0;
        return child_ == 0;
    }

    // Ctrl+C, as it reaches a program under Wine: SIGINT to the process that runs the .exe.
    void interrupt() {
        if (::kill(process(), SIGINT) != 0) throw failed("kill -INT");
    }

    // Stopped, it does nothing at all, and finds everything that came meanwhile at once.
    void pause() {
        if (::kill(process(), SIGSTOP) != 0) throw failed("kill -STOP");
    }
    void resume() {
        if (::kill(process(), SIGCONT) != 0) throw failed("kill -CONT");
    }

    // Waits for the server's own end.
    Ended wait_for_end(std::chrono::seconds limit = patience) {
        if (!wait_until([this] { return has_ended(); }, limit)) throw std::runtime_error("the server did not end");
        read_to_the_end();
        Ended ended{.exit_code = WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_), .counts = {}};
        // "statistics: 3 connections, 10 accepted, …" and "stopped: 40 operations posted, …": a number and its name.
        for (const std::string& line : lines_) {
            if (!line.starts_with("statistics: ") && !line.starts_with("stopped: ")) continue;
            std::istringstream parts(line.substr(line.find(' ') + 1));
            for (std::string part; std::getline(parts >> std::ws, part, ',');) {
                const std::size_t space = part.find(' ');
                if (space != part.npos) ended.counts[part.substr(space + 1)] = std::strtoull(part.c_str(), nullptr, 10);
            }
        }
        return ended;
    }
    Ended stop() {
        ::close(std::exchange(stdin_, -1));
        return wait_for_end();
    }

    // The memory that is the server's own (no file's pages), in bytes.
    std::uint64_t memory() {
        const std::string status = file_text("/proc/" + std::to_string(process()) + "/status");
        const std::size_t at = status.find("RssAnon:");
        if (at == status.npos) throw std::runtime_error("the server's memory cannot be read in /proc");
        return std::strtoull(status.c_str() + at + std::strlen("RssAnon:"), nullptr, 10) * 1024;
    }

    // Connections that the system still holds for the server: not the listener, not those in TIME_WAIT. One that the
    // server forgot to close stays here for ever.
    std::size_t open_sockets() const {
        char port[8];
        std::snprintf(port, sizeof port, ":%04X", static_cast<unsigned>(port_));
        std::istringstream table(file_text("/proc/net/tcp"));
        std::size_t count = 0;
        for (std::string line; std::getline(table, line);) {
            std::istringstream fields(line);
            std::string number, local, remote, state;
            fields >> number >> local >> remote >> state;
            count += local.ends_with(port) && state != "0A" && state != "06";
        }
        return count;
    }

private:
    // Our child, or what its wrapper started: the last in the line of children that carries the program's name.
    pid_t process() const {
        const std::string name = std::filesystem::path(program_path()).filename().string();
        pid_t found = child_;
        for (bool deeper = true; std::exchange(deeper, false);) {
            for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
                const std::string status = file_text(entry.path() / "status");
                if (status.find("\nPPid:\t" + std::to_string(found) + "\n") == status.npos) continue;
                if (file_text(entry.path() / "cmdline").find(name) == std::string::npos) continue;
                found = static_cast<pid_t>(std::stoi(entry.path().filename().string()));
                deeper = true;
                break;
            }
        }
        return found;
    }

    void read_lines(int pipe) {
        std::string text;
        std::array<char, 4096> block;
        for (ssize_t n; (n = ::read(pipe, block.data(), block.size())) > 0;) {
            text.append(block.data(), static_cast<std::size_t>(n));
            std::unique_lock lock(mutex_);
            for (std::size_t end; (end = text.find('\n')) != text.npos; text.erase(0, end + 1)) {
                lines_.push_back(text.substr(0, end));
                if (lines_.back().ends_with('\r')) lines_.back().pop_back();
            }
            changed_.notify_all();
            changed_.wait(lock, [this] { return reads_; });
        }
        ::close(pipe);
        const std::lock_guard lock(mutex_);
        output_ended_ = true;
        changed_.notify_all();
    }

    void end() {
        if (stdin_ >= 0) ::close(std::exchange(stdin_, -1));
        if (!has_ended()) {
            const pid_t server = process();
            ::kill(server, SIGKILL);
            if (server != child_ && child_ > 0) ::kill(child_, SIGKILL);
            if (child_ > 0) ::waitpid(std::exchange(child_, 0), &status_, 0);
        }
        read_to_the_end();
    }

    void read_to_the_end() {
        {
            const std::lock_guard lock(mutex_);
            reads_ = true;
        }
        changed_.notify_all();
        if (reader_.joinable()) reader_.join();
    }

    pid_t child_ = 0;  // 0: has ended
    int status_ = 0;
    int stdin_ = -1;
    std::uint16_t port_ = 0;
    std::thread reader_;
    std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    std::vector<std::string> lines_;
    bool output_ended_ = false;
    bool reads_ = true;
};

void expect_clean_end(const Ended& ended) {
    const auto count = [&](const char* name) {
        const auto found = ended.counts.find(name);
        return found != ended.counts.end() ? found->second : ~std::uint64_t{0};
    };
    EXPECT_EQ(ended.exit_code, 0);
    EXPECT_EQ(count("connections"), 0u) << "the last statistics line still counts connections";
    EXPECT_EQ(count("operations posted"), count("completed")) << "an operation never completed, or nobody counted it";
    EXPECT_EQ(count("pending"), 0u);
}

// How a connection ended, seen from outside.
enum class End { fin, reset, none };
std::ostream& operator<<(std::ostream& out, End end) {
    return out << (end == End::fin ? "FIN" : end == End::reset ? "RST" : "no end at all");
}

class Client {
public:
    // `source` makes clients come from several addresses of the loopback net, so that ports do not run out.
    explicit Client(const Server& server, int receive_buffer = 0, unsigned source = 0)
        : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        if (socket_ < 0) throw failed("socket");
        const timeval limit{.tv_sec = std::chrono::seconds(patience).count(), .tv_usec = 0};
        set(SOL_SOCKET, SO_RCVTIMEO, limit);
        set(SOL_SOCKET, SO_SNDTIMEO, limit);
        if (receive_buffer > 0) set(SOL_SOCKET, SO_RCVBUF, receive_buffer);  // before connect: it sets the window
        sockaddr_in address{};
        address.sin_family = AF_INET;
        if (source > 0) {
            set(IPPROTO_IP, 24 /* IP_BIND_ADDRESS_NO_PORT */, 1);
            address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + source);
            if (::bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) throw failed("bind");
        }
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.sin_port = htons(server.port());
        if (::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) throw failed("connect");
    }
    ~Client() { close(); }
    Client(Client&& other) noexcept : socket_(std::exchange(other.socket_, -1)), ahead_(std::move(other.ahead_)) {}
    Client(const Client&) = delete;

    // "127.0.0.1:50000", as the server prints it.
    std::string address() const {
        sockaddr_in name{};
        socklen_t length = sizeof name;
        ::getsockname(socket_, reinterpret_cast<sockaddr*>(&name), &length);
        char text[INET_ADDRSTRLEN];
        ::inet_ntop(AF_INET, &name.sin_addr, text, sizeof text);
        return std::string(text) + ":" + std::to_string(ntohs(name.sin_port));
    }

    void send(std::string_view bytes) {
        while (!bytes.empty()) {
            const ssize_t n = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (n < 0) throw failed("send (EAGAIN: the server took nothing for a minute)");
            bytes.remove_prefix(static_cast<std::size_t>(n));
        }
    }
    // Sends what the system takes within `limit`; 0 when it took nothing.
    std::size_t send_within(std::string_view bytes, std::chrono::milliseconds limit) {
        pollfd wait{.fd = socket_, .events = POLLOUT, .revents = 0};
        if (::poll(&wait, 1, static_cast<int>(limit.count())) <= 0) return 0;
        const ssize_t n = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN) throw failed("send");
        return n < 0 ? 0 : static_cast<std::size_t>(n);
    }
    void finish_sending() { ::shutdown(socket_, SHUT_WR); }

    // Exactly `size` bytes, or fewer if the connection ends before.
    std::string receive(std::size_t size) {
        while (ahead_.size() < size && read_more() == End::none) {
        }
        return take(std::min(size, ahead_.size()));
    }
    std::string receive_line() {
        std::size_t end;
        while ((end = ahead_.find('\n')) == ahead_.npos) {
            if (read_more() != End::none) throw std::runtime_error("the connection ended before a whole line came");
        }
        return take(end + 1);
    }
    // Reads away whatever still comes; `bytes` tells how much that was.
    End wait_for_end(std::uint64_t* bytes = nullptr) {
        for (;;) {
            const End end = read_more();
            if (bytes != nullptr) *bytes += ahead_.size();
            ahead_.clear();
            if (end != End::none) return end;
        }
    }

    void close() {
        if (socket_ >= 0) ::close(std::exchange(socket_, -1));
    }
    // Ends the connection with RST instead of FIN.
    void reset() {
        set(SOL_SOCKET, SO_LINGER, linger{.l_onoff = 1, .l_linger = 0});
        close();
    }

private:
    template <class Value>
    void set(int level, int option, Value value) {
        if (::setsockopt(socket_, level, option, &value, sizeof value) != 0) throw failed("setsockopt");
    }
    End read_more() {
        std::array<char, 65536> block;
        const ssize_t n = ::recv(socket_, block.data(), block.size(), 0);
        if (n < 0 && errno != ECONNRESET) throw failed("recv (EAGAIN: nothing came for a minute)");
        if (n > 0) ahead_.append(block.data(), static_cast<std::size_t>(n));
        return n > 0 ? End::none : n == 0 ? End::fin : End::reset;
    }
    std::string take(std::size_t size) {
        std::string result = ahead_.substr(0, size);
        ahead_.erase(0, size);
        return result;
    }

    int socket_;
    std::string ahead_;  // received, not asked for yet
};

// `size` bytes of an endless stream, from `offset` (a multiple of 8) on; another seed, another stream.
std::string stream_part(std::uint64_t seed, std::uint64_t offset, std::size_t size) {
    std::string bytes((size + 7) / 8 * 8, '\0');
    for (std::size_t i = 0; i < bytes.size(); i += 8) {
        std::uint64_t x = (seed << 40) + offset + i + 0x9e3779b97f4a7c15;  // SplitMix64
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
        x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
        x ^= x >> 31;
        std::memcpy(bytes.data() + i, &x, 8);
    }
    bytes.resize(size);
    return bytes;
}

// "" when the client reads exactly bytes 0 to `size` of the stream; else what is wrong, and where.
std::string compare_stream(Client& client, std::uint64_t seed, std::uint64_t size) {
    for (std::uint64_t offset = 0; offset < size; offset += 65536) {
        const std::string expected = stream_part(seed, offset, std::min<std::uint64_t>(65536, size - offset));
        const std::string seen = client.receive(expected.size());
        if (seen == expected) continue;
        const auto [at, _] = std::mismatch(seen.begin(), seen.end(), expected.begin());
        const std::string place = std::to_string(offset + static_cast<std::uint64_t>(at - seen.begin()));
        return at == seen.end() ? "the stream ends after " + place + " bytes"
                                : "byte " + place + " is the first wrong one";
    }
    return "";
}

// False: this system does not let a program have so many.
bool allow_sockets(rlim_t count) {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur >= count + 100;
}

TEST(NativeClients, ManyMegabytesComeBackUnchanged) {
    constexpr std::uint64_t size = 200 * megabyte;
    Server server;
    Client client(server);
    std::string sending_failed;
    std::thread sender([&] {
        try {
            for (std::uint64_t sent = 0; sent < size; sent += 65536) {
                client.send(stream_part(1, sent, std::min<std::uint64_t>(65536, size - sent)));
            }
            client.finish_sending();
        } catch (const std::exception& error) {
            sending_failed = error.what();
        }
    });
    std::string wrong;
    try {
        wrong = compare_stream(client, 1, size);
    } catch (const std::exception& error) {
        wrong = error.what();
    }
    if (!wrong.empty()) client.finish_sending();  // lets the sender go
    sender.join();
    EXPECT_EQ(sending_failed, "");
    ASSERT_EQ(wrong, "");
    EXPECT_EQ(client.wait_for_end(), End::fin) << "after the last byte";
    const Ended ended = server.stop();
    expect_clean_end(ended);
    EXPECT_EQ(ended.counts.at("bytes received"), size);
    EXPECT_EQ(ended.counts.at("bytes sent"), size);
}

TEST(NativeClients, TwoThousandAtOnceEachGetTheirOwnBytes) {
    constexpr unsigned many = 2000;
    constexpr std::size_t part = 2048;
    if (!allow_sockets(many)) GTEST_SKIP() << "this system allows too few open files";
    Server server;
    std::vector<Client> clients;
    for (unsigned i = 0; i < many; ++i)
        clients.emplace_back(server);
    for (std::uint64_t round = 0; round < 3; ++round) {
        for (unsigned i = 0; i < many; ++i)
            clients[i].send(stream_part(i + 1, round * part, part));
    }
    for (unsigned i = 0; i < many; ++i)
        clients[i].finish_sending();
    for (unsigned i = 0; i < many; ++i) {
        ASSERT_EQ(compare_stream(clients[i], i + 1, 3 * part), "") << "for client " << i;
        ASSERT_EQ(clients[i].wait_for_end(), End::fin) << "for client " << i;
    }
    clients.clear();
    const Ended ended = server.stop();
    expect_clean_end(ended);
    EXPECT_EQ(ended.counts.at("accepted"), many);
}

TEST(NativeClients, TwentyThousandCyclesLeaveNothingBehind) {
    constexpr unsigned cycles = 20'000, together = 10;
    Server server;
    std::uint64_t early = 0;
    for (unsigned cycle = 0; cycle < cycles; cycle += together) {
        std::vector<Client> clients;
        for (unsigned i = 0; i < together; ++i)
            clients.emplace_back(server, 0, 1 + cycle / together % 20);
        for (unsigned i = 0; i < together; ++i)
            clients[i].send(stream_part(cycle + i, 0, 512));
        for (unsigned i = 0; i < together; ++i) {
            ASSERT_EQ(compare_stream(clients[i], cycle + i, 512), "") << "in cycle " << cycle + i;
            if ((cycle + i) % 3 == 0) clients[i].reset();
        }
        if (cycle + together != 1000 && cycle + together != cycles) continue;
        clients.clear();
        ASSERT_TRUE(wait_until([&] { return server.open_sockets() == 0; }))
            << server.open_sockets() << " connections stay open after their clients have gone";
        if (early == 0) early = server.memory();
    }
    const std::uint64_t late = server.memory();
    std::printf("memory after 1,000 cycles: %llu KiB, after 20,000: %llu KiB\n",
                static_cast<unsigned long long>(early / 1024), static_cast<unsigned long long>(late / 1024));
    EXPECT_LE(late, early + early / 20) << "bytes of memory: it grows with the number of connections that have been";
    const Ended ended = server.stop();
    expect_clean_end(ended);
    EXPECT_EQ(ended.counts.at("accepted"), cycles);
}

// All send, then all receive, so that there is always something for the server to do: what it then needs is what its
// design costs, whatever the speed of the machine. Without skip-on-success an echo to a single client takes about four
// calls; with one packet for each dequeue as well, every echo.
TEST(NativeClients, AnEchoTakesFewCalls) {
    struct Case {
        unsigned clients, rounds;
        double bound;
    };
    for (const auto& [clients, rounds, bound] : {Case{1, 2000, 3.1}, Case{64, 100, 2.2}, Case{1000, 10, 2.2}}) {
        if (!allow_sockets(clients)) GTEST_SKIP() << "this system allows too few open files";
        Server server;
        std::vector<Client> all;
        for (unsigned i = 0; i < clients; ++i)
            all.emplace_back(server);
        for (unsigned round = 0; round < rounds; ++round) {
            for (unsigned i = 0; i < clients; ++i)
                all[i].send(stream_part(i, round * 64, 64));
            for (unsigned i = 0; i < clients; ++i)
                ASSERT_EQ(all[i].receive(64), stream_part(i, round * 64, 64)) << "for client " << i;
        }
        all.clear();
        const Ended ended = server.stop();
        expect_clean_end(ended);
        std::uint64_t calls = 0;
        for (const char* kind : {"WSARecv calls", "WSASend calls", "dequeue calls", "post calls"})
            calls += ended.counts.at(kind);
        // Not the one receive for each client's end.
        const double each = static_cast<double>(calls - clients) / (clients * rounds);
        std::printf("%u clients: %.3f calls for each echo\n", clients, each);
        EXPECT_LE(each, bound) << "calls for each echo with " << clients << " clients";
    }
}

// Pieces so large that the worker looks at the port after each, as far as the bound goes. There is nothing at the port,
// though: all of it is in the sockets before the server looks, and it is little enough for each echo to finish inline.
TEST(NativeClients, ABacklogTakesFewLooksAtThePort) {
    constexpr unsigned clients = 256, pieces = 16, piece = 4096;
    Server server({"--workers", "1", "--receive-buffer", "4096", "--first-receive", "4096", "--inline-bound", "4"});
    std::vector<Client> all;
    for (unsigned i = 0; i < clients; ++i) {
        all.emplace_back(server);
        all[i].send("a");
        ASSERT_EQ(all[i].receive(1), "a");
    }
    server.pause();
    for (unsigned i = 0; i < clients; ++i)
        all[i].send(stream_part(i, 0, pieces * piece));
    server.resume();
    for (unsigned i = 0; i < clients; ++i)
        ASSERT_EQ(all[i].receive(pieces * piece), stream_part(i, 0, pieces * piece)) << "for client " << i;
    all.clear();
    const Ended ended = server.stop();
    expect_clean_end(ended);
    // Not those for the packets of each client: accepted, first byte, first piece, end.
    const std::uint64_t looks = ended.counts.at("dequeue calls"), others = 4 * clients;
    std::printf("%llu dequeue calls for %u pieces\n", static_cast<unsigned long long>(looks), clients * pieces);
    EXPECT_LE(looks, others + clients * pieces / 2) << "dequeue calls for " << clients * pieces << " pieces";
}

// A line is not sent as it comes, but when it is the receiver's turn, with all other lines that came until then.
TEST(NativeClients, LinesOfManySendersShareASend) {
    constexpr unsigned clients = 64, senders = 16;
    Server server({"--app", "chat", "--workers", "1", "--verbose"});
    std::vector<Client> all;
    for (unsigned i = 0; i < clients; ++i) {
        all.emplace_back(server);
        server.wait_for_line("accepted " + all[i].address());
    }
    const auto line = [](unsigned sender) { return "line of sender " + std::to_string(10 + sender) + "\n"; };
    server.pause();
    for (unsigned i = 0; i < senders; ++i)
        all[i].send(line(i));
    server.resume();
    for (unsigned i = 0; i < clients; ++i) {
        std::vector<std::string> expected, seen;
        for (unsigned sender = 0; sender < senders; ++sender) {
            if (sender == i) continue;
            expected.push_back(line(sender));
            seen.push_back(all[i].receive_line());
        }
        std::sort(seen.begin(), seen.end());
        ASSERT_EQ(seen, expected) << "for client " << i;
    }
    all.clear();
    const Ended ended = server.stop();
    expect_clean_end(ended);
    const std::uint64_t sends = ended.counts.at("WSASend calls"), lines = clients * senders;
    std::printf("%llu WSASend calls for %llu lines\n", static_cast<unsigned long long>(sends),
                static_cast<unsigned long long>(lines));
    EXPECT_LE(sends, lines / 2) << "WSASend calls for " << lines << " lines";
}

TEST(NativeClients, ASlowChatClientDelaysNobody) {
    Server server({"--app", "chat", "--verbose"});
    Client slow(server, 4096), first(server), second(server);
    const std::string slow_address = slow.address();
    for (const Client* client : {&slow, &first, &second})
        server.wait_for_line("accepted " + client->address());

    // 24 MB pass by the slow one, who reads nothing: more than the system buffers for it. The others take turns, so
    // that a burst always finds room in the other's queue.
    std::string filler(1000, 'x');
    for (int burst = 0; burst < 400; ++burst) {
        for (const auto& [from, to] : {std::pair{&first, &second}, std::pair{&second, &first}}) {
            const auto line = [&, from = from](int i) {
                return (from == &first ? "first " : "second ") + std::to_string(burst * 30 + i) + " " + filler + "\n";
            };
            std::string block;
            for (int i = 0; i < 30; ++i)
                block += line(i);
            from->send(block);
            for (int i = 0; i < 30; ++i)
                ASSERT_EQ(to->receive_line(), line(i)) << "in burst " << burst;
        }
    }
    server.wait_for_line("dropped " + slow_address + ": too slow, more than ");
    EXPECT_EQ(server.count_lines("dropped "), 1u) << "only the slow client may be dropped";
    std::uint64_t seen = 0;
    EXPECT_EQ(slow.wait_for_end(&seen), End::reset)
        << "a FIN would say that these " << seen << " bytes are all that there was";
    first.send("still here\n");
    EXPECT_EQ(second.receive_line(), "still here\n");
    first.close();
    second.close();
    const Ended ended = server.stop();
    expect_clean_end(ended);
    EXPECT_EQ(ended.counts.at("dropped"), 1u);
}

TEST(NativeClients, InterruptEndsFiveHundredClients) {
    constexpr unsigned many = 500;
    if (!allow_sockets(many)) GTEST_SKIP() << "this system allows too few open files";
    Server server({"--drain", "5"});
    std::vector<Client> clients;
    for (unsigned i = 0; i < many; ++i) {
        clients.emplace_back(server);
        clients.back().send("here");
    }
    for (unsigned i = 0; i < many; ++i)
        ASSERT_EQ(clients[i].receive(4), "here") << "for client " << i;
    server.interrupt();
    for (unsigned i = 0; i < many; ++i) {
        ASSERT_EQ(clients[i].wait_for_end(), End::fin) << "for client " << i;
        clients[i].close();
    }
    const Ended ended = server.wait_for_end();
    expect_clean_end(ended);
    EXPECT_EQ(ended.counts.at("accepted"), many);
}

TEST(NativeClients, InterruptEndsClientsThatNeverCloseOnceTheDeadlineHasPassed) {
    Server server({"--drain", "1"});
    std::vector<Client> clients;
    for (unsigned i = 0; i < 20; ++i) {
        clients.emplace_back(server);
        clients.back().send("here");
        ASSERT_EQ(clients.back().receive(4), "here");
    }
    server.interrupt();
    expect_clean_end(server.wait_for_end());
    for (Client& client : clients)
        EXPECT_NE(client.wait_for_end(), End::none);
}

TEST(NativeClients, SecondInterruptEndsAtOnce) {
    Server server({"--drain", "600"});
    Client client(server);
    client.send("here");
    ASSERT_EQ(client.receive(4), "here");
    server.interrupt();
    ASSERT_EQ(client.wait_for_end(), End::fin) << "the first Ctrl+C says the server's end to every client";
    ASSERT_FALSE(server.has_ended()) << "it waits for the clients' own end, up to 600 s";
    server.interrupt();
    EXPECT_NO_THROW(server.wait_for_end()) << "after the second Ctrl+C";
}

TEST(NativeClients, TheFirstInterruptSaysWhatItWaitsFor) {
    Server server({"--drain", "600"});
    Client client(server);
    client.send("here");
    ASSERT_EQ(client.receive(4), "here");
    server.interrupt();
    server.wait_for_line("stopping: clients have 600 s to finish; a second Ctrl+C ends it at once");
    client.finish_sending();
    EXPECT_EQ(client.wait_for_end(), End::fin);
    expect_clean_end(server.wait_for_end());
}

// A line for each client that comes and goes is four times what the pipe holds, and it holds what a console does while
// text is selected: nothing.
TEST(NativeClients, NobodyWaitsForWhoReadsTheOutput) {
    constexpr unsigned many = 3000, together = 100;
    Server server({"--verbose", "--stats", "1"});
    server.stop_reading();
    for (unsigned i = 0; i < many; i += together) {
        std::vector<Client> clients;
        for (unsigned n = 0; n < together; ++n)
            clients.emplace_back(server, 0, 1 + i / together);
        for (Client& client : clients)
            client.send("here");
        for (unsigned n = 0; n < together; ++n)
            ASSERT_EQ(clients[n].receive(4), "here") << "for client " << i + n;
    }
    server.interrupt();
    EXPECT_EQ(server.wait_for_end().exit_code, 0);
}

TEST(NativeClients, AResetIsSeenAsAReset) {
    Server server({"--verbose", "--workers", "1"});
    Client other(server), client(server);
    const std::string address = client.address();
    // Once the only worker has gone on to another client, the next receive of this one is pending; to Wine 8.0 a reset
    // that comes before it looks like a clean end.
    for (Client* speaker : {&client, &other}) {
        speaker->send("here");
        ASSERT_EQ(speaker->receive(4), "here");
    }
    client.reset();
    server.wait_for_line("lost " + address + ": WSAECONNRESET (10054)");
    other.close();
    expect_clean_end(server.stop());
}

TEST(NativeClients, HalfCloseWorksInBothDirections) {
    Server server({"--verbose"});
    {
        // The client ends first: what it sent before still comes back, then the server's own end.
        Client client(server);
        const std::string bytes = stream_part(7, 0, 300'000);
        client.send(bytes);
        client.finish_sending();
        EXPECT_EQ(compare_stream(client, 7, bytes.size()), "");
        EXPECT_EQ(client.wait_for_end(), End::fin);
        server.wait_for_line("finished " + client.address() + ": the client closed first");
    }
    // The server ends first, at its stop: it then waits for the client's end.
    Client client(server);
    client.send("here");
    ASSERT_EQ(client.receive(4), "here");
    server.interrupt();
    EXPECT_EQ(client.wait_for_end(), End::fin);
    client.send("too late");  // still a whole connection from here to there: no reset answers it
    client.finish_sending();
    EXPECT_EQ(client.wait_for_end(), End::fin);
    const std::string address = client.address();
    client.close();
    expect_clean_end(server.wait_for_end());
    EXPECT_EQ(server.count_lines("closed " + address + ": the server stops"), 1u);
}

TEST(NativeClients, AnIdleClientSeesTheEnd) {
    Server server({"--idle-timeout", "1"});
    Client client(server);
    client.send("here");
    ASSERT_EQ(client.receive(4), "here");
    EXPECT_NE(client.wait_for_end(), End::none);
    server.wait_for_line("dropped " + client.address() + ": idle for 1 s");
    client.close();
    expect_clean_end(server.stop());
}

TEST(NativeClients, SlowReaderPausesTheEcho) {
    constexpr std::uint64_t too_much = 256 * megabyte;
    Server server;
    Client client(server);
    client.send(stream_part(3, 0, 65536));
    ASSERT_EQ(client.receive(65536), stream_part(3, 0, 65536));
    const std::uint64_t before = server.memory();
    // Writes and reads nothing, until the system takes no more: then the server has stopped reading.
    std::uint64_t sent = 0;
    for (;;) {
        const std::string part = stream_part(4, sent / 8 * 8, 65536).substr(sent % 8);
        const std::size_t taken = client.send_within(part, 2000ms);
        sent += taken;
        if (taken == 0) break;
        ASSERT_LT(sent, too_much) << "the server goes on reading from a client that reads nothing";
    }
    const std::uint64_t after = server.memory();
    std::printf("the server paused after %llu KiB; its memory: %llu KiB, then %llu KiB\n",
                static_cast<unsigned long long>(sent / 1024), static_cast<unsigned long long>(before / 1024),
                static_cast<unsigned long long>(after / 1024));
    EXPECT_LT(after, before + 4 * megabyte) << "bytes of memory, with a send queue of 256 KiB";
    client.finish_sending();
    EXPECT_EQ(compare_stream(client, 4, sent), "") << "after the client has begun to read";
    EXPECT_EQ(client.wait_for_end(), End::fin);
    client.close();
    expect_clean_end(server.stop());
}

}  // namespace
