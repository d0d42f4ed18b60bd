// What the tests of stage 06 share.
#pragma once

#include "tests/support/client.hpp"
#include "tests/support/failure.hpp"
#include "tests/support/program.hpp"
#include "tests/support/windows.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

namespace full_server {

using namespace support;
using Arguments = Program::Arguments;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kibibyte = 1024;
constexpr std::size_t mebibyte = 1024 * kibibyte;

inline const std::string statistics_pattern =
    "statistics: (\\d+) connections, (\\d+) accepted, (\\d+) refused, (\\d+) dropped, (\\d+) bytes received, "
    "(\\d+) bytes sent, (\\d+) operations posted, (\\d+) completed, (\\d+) pending, (\\d+) WSARecv calls, "
    "(\\d+) WSASend calls, (\\d+) dequeue calls, (\\d+) post calls";

inline Arguments operator+(Arguments left, const Arguments& right) {
    left.insert(left.end(), right.begin(), right.end());
    return left;
}

// Port 0, stop at the end of stdin, tell every connection; and what a test adds.
inline Arguments with(const Arguments& options) { return Arguments{"0", "--stop-on-eof", "--verbose"} + options; }

// The promises that hold with and without FILE_SKIP_COMPLETION_PORT_ON_SUCCESS are tested both ways.
inline const std::vector<Arguments> skipping_and_not = {{}, {"--no-skip-on-success"}};

inline const char serves_nobody[] =
    "a receive or a send that was done inside its call is left alone, and no packet comes for it; or the next receive "
    "is not started";

// A number from a statistics line: count(line, "bytes sent").
std::uint64_t count(const std::string& statistics, const std::string& name, Where where = Where::current());
// A number from the line that --stats prints each period: number_before(line, "bytes queued").
std::uint64_t number_before(const std::string& line, const std::string& what, Where where = Where::current());
// The last statistics line of a program that has ended well; all its accounts must balance.
std::string last_statistics(Program& program, Where where = Where::current());
// Ends the program, after its clients, and returns its last statistics line.
std::string stop(Program& program, Where where = Where::current());

// Connects, and returns once the server has said that it has this client: from then on it takes part in the chat.
Client join(Program& program, ClientOptions options = {}, Where where = Where::current());
inline void echo(Client& client, const std::string& bytes, Where where = Where::current()) {
    client.send(bytes, where);
    client.expect(bytes, where);
}

// For what no wait of Program or Client looks at. `what` is what is waited for.
template <class Condition>
void wait_until(Condition holds, const std::string& what, Where where = Where::current()) {
    const auto deadline = Clock::now() + std::chrono::milliseconds(deadline_ms());
    while (!holds()) {
        if (Clock::now() > deadline) fail(Symptom::other, what + " within " + deadline_text(), "not yet", where);
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
}

// A connection that streams without a pause, in both directions, on a thread of its own. Its end waits for nothing that
// the server does.
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
        u_long nonblocking = 1;
        ::ioctlsocket(socket_, FIONBIO, &nonblocking);
        thread_ = std::thread([this] {
            while (!ending_ && stream()) {
            }
        });
    }
    ~Flood() {
        ending_ = true;
        if (thread_.joinable()) thread_.join();
        ::closesocket(socket_);
    }
    Flood(const Flood&) = delete;
    Flood& operator=(const Flood&) = delete;

    // Waits until so many more bytes have come back.
    void expect_progress(std::uint64_t bytes, Where where = Where::current()) {
        const std::uint64_t before = received_;
        wait_until([&] { return received_ >= before + bytes; },
                   std::to_string(bytes) + " more bytes back from a client that streams", where);
    }

private:
    // Sends and receives what is possible now, or soon. False when the connection has ended.
    bool stream() {
        fd_set readable{1, {socket_}};
        fd_set writable{1, {socket_}};
        timeval soon{0, 50'000};
        if (::select(0, &readable, &writable, nullptr, &soon) == SOCKET_ERROR) return false;
        if (writable.fd_count != 0) ::send(socket_, block_.data(), static_cast<int>(block_.size()), 0);
        if (readable.fd_count == 0) return true;
        const int came = ::recv(socket_, block_.data(), static_cast<int>(block_.size()), 0);
        if (came > 0) received_ += static_cast<std::uint64_t>(came);
        return came > 0;
    }

    SOCKET socket_ = INVALID_SOCKET;
    std::string block_ = std::string(16 * kibibyte, 'f');  // Wine 10 keeps a larger one beyond the end, as Client says
    std::atomic<bool> ending_{false};
    std::atomic<std::uint64_t> received_{0};
    std::thread thread_;
};

// Runs a program that is to end by itself.
struct Outcome {
    unsigned long exit_code;
    std::vector<std::string> lines;
    std::string errors;
};
Outcome run(const Arguments& arguments, Where where = Where::current());

bool has_ipv6();

class Stage06FullServer : public StageTest {
protected:
    explicit Stage06FullServer(const char* program = STAGE_PROGRAM);
};

}  // namespace full_server
