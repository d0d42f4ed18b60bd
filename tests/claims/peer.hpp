// The other end of a claim's connection, in calls that block with a deadline; and a send that stays pending because
// that other end does not read. Threads: a test's own.
#pragma once

#include "tests/claims/support.hpp"

#include <algorithm>
#include <chrono>
#include <string_view>
#include <vector>

namespace claims {

// One connection whose server end reports to a port.
struct Connection {
    Port port;
    Pair ends = connected_pair();
    Socket& server = ends.server;
    Socket& client = ends.client;

    Connection() { port.associate(server); }
};

// A receive that is pending.
struct PendingReceive : Operation {
    explicit PendingReceive(const Socket& socket) { REQUIRE(receive(socket, buffer, sizeof buffer) == WSA_IO_PENDING); }
    char buffer[16] = {};
};

// What a blocking receive of the other end saw.
struct Seen {
    int bytes = 0;
    int error = 0;  // 0, or Winsock's number
};

inline Seen receive_once(const Socket& peer, char* buffer, std::size_t size) {
    const DWORD limit = patience;
    ::setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, reinterpret_cast<const char*>(&limit), sizeof limit);
    const int bytes = ::recv(peer, buffer, static_cast<int>(size), 0);
    const int error = bytes == SOCKET_ERROR ? ::WSAGetLastError() : 0;
    REQUIRE_MESSAGE(error != WSAETIMEDOUT, "nothing came");
    return {std::max(bytes, 0), error};
}

// Exactly so many bytes, or fewer if the connection ends before.
inline std::string receive_text(const Socket& peer, std::size_t count) {
    std::string text;
    while (text.size() < count) {
        char buffer[4096];
        const Seen seen = receive_once(peer, buffer, std::min(count - text.size(), sizeof buffer));
        if (seen.bytes == 0) break;
        text.append(buffer, static_cast<std::size_t>(seen.bytes));
    }
    return text;
}

// Reads `most` bytes, or up to the end. Returns how many, and how it ended.
struct Drained {
    std::size_t bytes = 0;
    int error = 0;  // 0 with FIN, or because `most` was reached
};
inline Drained drain(const Socket& peer, std::size_t most = static_cast<std::size_t>(-1)) {
    std::vector<char> buffer(1 << 16);
    Drained drained;
    while (drained.bytes < most) {
        const Seen seen = receive_once(peer, buffer.data(), std::min(most - drained.bytes, buffer.size()));
        drained.error = seen.error;
        if (seen.bytes == 0) break;
        drained.bytes += static_cast<std::size_t>(seen.bytes);
    }
    return drained;
}

// A few bytes, which always fit.
inline void send_text(const Socket& peer, std::string_view text) {
    REQUIRE(::send(peer, text.data(), static_cast<int>(text.size()), 0) == static_cast<int>(text.size()));
}

// Waits until one receive would get so many bytes.
inline void wait_until_readable(const Socket& socket, u_long count) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(patience);
    for (u_long there = 0; there < count;) {
        REQUIRE(::ioctlsocket(socket, FIONREAD, &there) == 0);
        REQUIRE_MESSAGE(std::chrono::steady_clock::now() < end, "only " << there << " bytes came");
        if (there < count) ::Sleep(1);
    }
}

// Makes Windows keep no copy of what is sent, so that a send is pending until the peer's system has all of it. Under
// Wine that is not so, and every send would be slow.
inline void keep_no_copy(const Socket& socket) {
    const int none = 0;
    if (!on_wine()) ::setsockopt(socket, SOL_SOCKET, SO_SNDBUF, reinterpret_cast<const char*>(&none), sizeof none);
}

// A send on `socket` that is pending, and stays so until the peer reads: larger than what Linux keeps, too.
class StuckSend {
public:
    StuckSend(Port& port, const Socket& socket) : data_(std::size_t{16} << 20, 's') {
        keep_no_copy(socket);
        int error = 0;
        for (int i = 0; i < 8 && (error = operation.send(socket, data_.data(), data_.size())) == 0; ++i)
            sent_before_ += port.get_packet().bytes;
        REQUIRE_MESSAGE(error == WSA_IO_PENDING, "a send that should be pending: error " << error);
    }

    DWORD size() const { return static_cast<DWORD>(data_.size()); }
    // What the peer will receive if the send succeeds.
    std::size_t total() const { return sent_before_ + data_.size(); }

    Operation operation;

private:
    std::vector<char> data_;
    std::size_t sent_before_ = 0;
};

}  // namespace claims
