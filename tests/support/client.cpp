#include "tests/support/client.hpp"

#include "tests/support/windows.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <utility>
#include <vector>

namespace support {
namespace {

using Clock = std::chrono::steady_clock;

std::string error_text(int code) {
    switch (code) {
        case WSAECONNREFUSED:
            return "WSAECONNREFUSED (10061)";
        case WSAECONNRESET:
            return "WSAECONNRESET (10054)";
        case WSAECONNABORTED:
            return "WSAECONNABORTED (10053)";
        case WSAETIMEDOUT:
            return "WSAETIMEDOUT (10060)";
        default:
            return "error " + std::to_string(code);
    }
}

std::string address_of(SOCKET socket) {
    sockaddr_storage address{};
    int length = sizeof address;
    ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length);
    char host[NI_MAXHOST] = "";
    char port[NI_MAXSERV] = "";
    ::getnameinfo(reinterpret_cast<const sockaddr*>(&address), static_cast<socklen_t>(length), host, sizeof host, port,
                  sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
    return address.ss_family == AF_INET6 ? "[" + std::string(host) + "]:" + port : std::string(host) + ":" + port;
}

bool writable_within(SOCKET socket, long milliseconds) {
    fd_set set;
    FD_ZERO(&set);
    FD_SET(socket, &set);
    fd_set failed = set;
    timeval time{milliseconds / 1000, milliseconds % 1000 * 1000};
    return ::select(0, nullptr, &set, &failed, &time) > 0 && FD_ISSET(socket, &set);
}

// One overlapped receive: pending from start() until its event is set.
struct Receive {
    OVERLAPPED overlapped{};
    std::array<char, 16384> buffer;
    bool posted = false;
    int failed_at_once = 0;

    void start(SOCKET socket) {
        const HANDLE event = overlapped.hEvent;
        overlapped = OVERLAPPED{};
        overlapped.hEvent = event;
        ::ResetEvent(event);
        WSABUF where{static_cast<ULONG>(buffer.size()), buffer.data()};
        DWORD flags = 0;
        const int result = ::WSARecv(socket, &where, 1, nullptr, &flags, &overlapped, nullptr);
        const int error = result == 0 ? 0 : ::WSAGetLastError();
        failed_at_once = error == WSA_IO_PENDING ? 0 : error;
        posted = true;
    }
};

enum class Got { bytes, finished, reset, nothing };

}  // namespace

struct Client::State {
    SOCKET socket = INVALID_SOCKET;
    std::string address;
    // A ring, in the order of posting. One is enough, but for Wine 8.0, which shows a reset as an end while none is
    // pending.
    std::vector<Receive> receives = std::vector<Receive>(4);
    std::size_t depth = wine_version() == 8 ? receives.size() : 1;  // how many are kept pending
    std::size_t first = 0;
    std::string waiting;  // received, not yet asked for
    Got ended = Got::nothing;
    bool small_window = false;

    ~State() {
        if (socket != INVALID_SOCKET) {
            // Closing with a receive pending would reset the connection on Windows: take them back first.
            ::CancelIoEx(reinterpret_cast<HANDLE>(socket), nullptr);
            for (Receive& receive : receives) {
                if (receive.posted && receive.failed_at_once == 0) {
                    ::WaitForSingleObject(receive.overlapped.hEvent, deadline_ms());
                }
            }
            ::closesocket(socket);
        }
        for (Receive& receive : receives) {
            if (receive.overlapped.hEvent != nullptr) ::CloseHandle(receive.overlapped.hEvent);
        }
    }

    void post(Receive& receive) {
        if (receive.overlapped.hEvent == nullptr) {
            receive.overlapped.hEvent = ::CreateEventW(nullptr, TRUE, FALSE, nullptr);
        }
        receive.start(socket);
    }

    // Posts all that are not posted, behind those that are.
    void watch() {
        for (std::size_t i = 0; i < depth && ended == Got::nothing; ++i) {
            Receive& receive = receives[(first + i) % receives.size()];
            if (!receive.posted) post(receive);
        }
    }

    // Takes what comes next into `waiting`.
    Got take(DWORD milliseconds) {
        if (ended != Got::nothing) return ended;
        Receive& receive = receives[first];
        if (!receive.posted) post(receive);
        DWORD bytes = 0;
        DWORD error = static_cast<DWORD>(receive.failed_at_once);
        if (error == 0) {
            if (::WaitForSingleObject(receive.overlapped.hEvent, milliseconds) != WAIT_OBJECT_0) return Got::nothing;
            DWORD flags = 0;
            if (!::WSAGetOverlappedResult(socket, &receive.overlapped, &bytes, FALSE, &flags)) {
                error = static_cast<DWORD>(::WSAGetLastError());
            }
        }
        receive.posted = false;
        first = (first + 1) % receives.size();
        if (error != 0) return ended = Got::reset;
        if (bytes == 0) {
            const auto is_posted = [](const Receive& other) { return other.posted; };
            if (depth == 1 && std::none_of(receives.begin(), receives.end(), is_posted)) return ended = Got::finished;
            // Under Wine 8.0 one of several can complete with 0 bytes though some are left. Only the last one is sure.
            depth = 1;
            return take(milliseconds);
        }
        waiting.append(receive.buffer.data(), bytes);
        // Its server was to get stuck; but whoever wants so much by now reads in earnest.
        if (small_window && waiting.size() > 131072) set_window(1 << 20);
        return Got::bytes;
    }

    void set_window(int bytes) {
        ::setsockopt(socket, SOL_SOCKET, SO_RCVBUF, reinterpret_cast<const char*>(&bytes), sizeof bytes);
        small_window = bytes < 131072;
    }

    // Sends what fits now. Returns how many bytes, or -1 when the connection is gone.
    long long send_some(std::string_view bytes) const {
        // A small piece, and only when there is room: Wine 10 takes all of a block that fits in part, and then holds
        // the connection open for the rest, even after closesocket.
        if (!writable_within(socket, 0)) return 0;
        const auto length = static_cast<int>(std::min<std::size_t>(bytes.size(), 1 << 14));
        const int sent = ::send(socket, bytes.data(), length, 0);
        if (sent != SOCKET_ERROR) return sent;
        return ::WSAGetLastError() == WSAEWOULDBLOCK ? 0 : -1;
    }
};

Client::Client(const std::string& server, ClientOptions options, Where where) : state_(std::make_unique<State>()) {
    start_winsock();
    did("connected a client");
    const std::size_t colon = server.rfind(':');
    std::string host = server.substr(0, colon);
    if (host.starts_with('[')) host = host.substr(1, host.size() - 2);
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
    addrinfo* found = nullptr;
    const std::string port = colon == std::string::npos ? "" : server.substr(colon + 1);
    if (::getaddrinfo(host.c_str(), port.c_str(), &hints, &found) != 0) {
        fail(Symptom::no_connection, "an address to connect to", "`" + server + "`", where);
    }
    state_->socket = ::WSASocketW(found->ai_family, SOCK_STREAM, IPPROTO_TCP, nullptr, 0,
                                  WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    const SOCKET socket = state_->socket;
    // On Windows a few KiB for each acknowledgement, which may be late, could take minutes, and the window is not sure
    // to grow once there is a connection.
    if (options.receive_buffer > 0) state_->set_window(on_wine() ? options.receive_buffer : 1 << 18);
    u_long without_waiting = 1;
    ::ioctlsocket(socket, FIONBIO, &without_waiting);
    const int result = ::connect(socket, found->ai_addr, static_cast<int>(found->ai_addrlen));
    int error = result == 0 ? 0 : ::WSAGetLastError();
    ::freeaddrinfo(found);
    if (error == WSAEWOULDBLOCK) {
        error = 0;
        if (!writable_within(socket, static_cast<long>(deadline_ms()))) {
            int length = sizeof error;
            ::getsockopt(socket, SOL_SOCKET, SO_ERROR, reinterpret_cast<char*>(&error), &length);
            if (error == 0) error = WSAETIMEDOUT;
        }
    }
    if (error != 0) {
        fail(Symptom::no_connection, "a connection to " + server + " within " + deadline_text(),
             "connect: " + error_text(error), where);
    }
    state_->address = address_of(socket);
}

Client::~Client() = default;
Client::Client(Client&& other) noexcept = default;
Client& Client::operator=(Client&& other) noexcept = default;

const std::string& Client::address() const { return state_->address; }

bool Client::try_send(std::string_view bytes) {
    did("sent " + (bytes.size() <= 40 ? shown(bytes) : std::to_string(bytes.size()) + " bytes"));
    while (!bytes.empty()) {
        const long long sent = state_->send_some(bytes);
        if (sent < 0 || (sent == 0 && !writable_within(state_->socket, static_cast<long>(deadline_ms())))) return false;
        bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
}

void Client::send(std::string_view bytes, Where where) {
    if (!try_send(bytes)) {
        fail(Symptom::no_bytes,
             "the server to take " + std::to_string(bytes.size()) + " bytes without a pause of " + deadline_text(),
             "sending failed, or stuck", where);
    }
}

std::size_t Client::send_until_stuck(std::size_t most) {
    const std::string block(1 << 18, 'x');
    std::size_t total = 0;
    int idle = 0;
    while (total < most && idle < 10) {
        const long long sent = state_->send_some(block);
        if (sent < 0) break;
        total += static_cast<std::size_t>(sent);
        idle = sent > 0 || writable_within(state_->socket, 50) ? 0 : idle + 1;
    }
    did("sent " + std::to_string(total) + " bytes, until no more were taken");
    return total;
}

void Client::send_urgent(char byte) {
    did("sent the urgent byte " + shown(std::string(1, byte)));
    ::send(state_->socket, &byte, 1, MSG_OOB);
}

std::size_t Client::send_what_fits(std::string_view bytes) {
    std::size_t total = 0;
    while (total < bytes.size()) {
        const long long sent = state_->send_some(bytes.substr(total));
        if (sent <= 0) break;
        total += static_cast<std::size_t>(sent);
    }
    return total;
}

void Client::finish_sending() {
    did("sent FIN");
    ::shutdown(state_->socket, SD_SEND);
}

void Client::reset() {
    did("sent RST");
    const linger at_once{1, 0};
    ::setsockopt(state_->socket, SOL_SOCKET, SO_LINGER, reinterpret_cast<const char*>(&at_once), sizeof at_once);
    std::string address = std::move(state_->address);
    state_ = std::make_unique<State>();  // closes the old socket
    state_->address = std::move(address);
    state_->ended = Got::reset;
}

void Client::watch() { state_->watch(); }

std::string Client::receive(std::size_t count, Where where) {
    while (state_->waiting.size() < count) {
        const Got got = state_->take(deadline_ms());
        if (got == Got::bytes) continue;
        const std::string so_far = std::to_string(state_->waiting.size()) + " bytes " + shown(state_->waiting, 80);
        const std::string expected = std::to_string(count) + " bytes from the server within " + deadline_text();
        if (got == Got::nothing) fail(Symptom::no_bytes, expected, so_far + " and then silence", where);
        fail(Symptom::wrong_end, expected, so_far + (got == Got::reset ? " and then RST" : " and then FIN"), where);
    }
    std::string bytes = state_->waiting.substr(0, count);
    state_->waiting.erase(0, count);
    return bytes;
}

std::string Client::receive_line(Where where) {
    std::string line;
    while (!line.ends_with('\n'))
        line += receive(1, where);
    return line;
}

std::string Client::receive_some(Where where) {
    if (state_->waiting.empty() && state_->take(deadline_ms()) == Got::nothing) {
        fail(Symptom::no_bytes, "bytes, or the end, within " + deadline_text(), "silence", where);
    }
    return std::exchange(state_->waiting, {});
}

void Client::expect(std::string_view bytes, Where where) {
    const std::string came = receive(bytes.size(), where);
    if (came != bytes) fail(Symptom::wrong_bytes, "the bytes " + shown(bytes, 80), difference(bytes, came), where);
}

std::string Client::exchange(std::string_view bytes, std::size_t count, Where where) {
    did("sent " + std::to_string(bytes.size()) + " bytes and read at the same time");
    std::string_view left = bytes;
    auto end = Clock::now() + std::chrono::milliseconds(deadline_ms());
    while (!left.empty()) {
        const long long sent = state_->send_some(left);
        const std::size_t before = state_->waiting.size();
        if (sent > 0) left.remove_prefix(static_cast<std::size_t>(sent));
        const Got got = state_->take(sent > 0 ? 0 : 5);
        if (sent > 0 || state_->waiting.size() > before) end = Clock::now() + std::chrono::milliseconds(deadline_ms());
        if (sent >= 0 && got != Got::finished && got != Got::reset && Clock::now() < end) continue;
        fail(got == Got::nothing ? Symptom::no_bytes : Symptom::wrong_end,
             "the server to take " + std::to_string(bytes.size()) + " bytes while its own are read",
             std::to_string(left.size()) + " bytes could not be sent; " + std::to_string(state_->waiting.size()) +
                 " came back" +
                 (got == Got::reset      ? ", then RST"
                  : got == Got::finished ? ", then FIN"
                                         : ""),
             where);
    }
    return receive(count, where);
}

std::string Client::expect_any_end(End* seen, Where where) {
    const auto end = Clock::now() + std::chrono::milliseconds(deadline_ms());
    Got got = state_->ended;
    while (got != Got::finished && got != Got::reset) {
        got = state_->take(deadline_ms());
        if (got == Got::nothing || Clock::now() > end + std::chrono::milliseconds(deadline_ms())) {
            fail(Symptom::no_bytes, "the server to end the connection within " + deadline_text(),
                 "it is still open, after " + std::to_string(state_->waiting.size()) + " bytes", where);
        }
    }
    if (seen != nullptr) *seen = got == Got::finished ? End::finished : End::reset;
    return std::exchange(state_->waiting, {});
}

std::string Client::expect_end(End expected, Where where) {
    End seen{};
    const std::string bytes = expect_any_end(&seen, where);
    if (seen == expected) return bytes;
    const auto named = [](End end) { return end == End::finished ? std::string("FIN") : std::string("RST"); };
    fail(Symptom::wrong_end, "the connection to end with " + named(expected),
         named(seen) + " after " + shown(bytes, 80), where);
}

std::uint16_t free_port() {
    start_winsock();
    const SOCKET socket = ::WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, nullptr, 0, WSA_FLAG_NO_HANDLE_INHERIT);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    int length = sizeof address;
    ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length);
    ::closesocket(socket);
    return ntohs(address.sin_port);
}

std::string all_bytes(std::size_t count) {
    std::string bytes(count, '\0');
    for (std::size_t i = 0; i < count; ++i)
        bytes[i] = static_cast<char>(i % 256);
    return bytes;
}

std::string numbered_bytes(std::size_t count) {
    std::string bytes(count, '\0');
    for (std::size_t i = 0; i < count; ++i)
        bytes[i] = static_cast<char>(i / 4 >> (i % 4 * 8));
    return bytes;
}

}  // namespace support
