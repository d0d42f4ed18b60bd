// What the claims share: a port, sockets that close themselves, a connected TCP pair, packets with a deadline.
//
// The claims speak of Windows' own calls, so nothing of the stages is used here. Threads: a test's own.
#pragma once

#include "tests/support/windows.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <ostream>  // doctest shows through it what CHECK compares
#include <string>
#include <utility>

namespace claims {

using support::on_wine;
using support::wine_version;

// Nothing that must come takes longer: a wait that ends by it is a failure.
inline constexpr DWORD patience = 20000;

inline constexpr DWORD handles_closed = 676;  // ERROR_HANDLES_CLOSED, which MinGW-w64's headers do not have

inline bool is_one_of(DWORD error, std::initializer_list<DWORD> expected) {
    return std::find(expected.begin(), expected.end(), error) != expected.end();
}

// The one owner of a socket.
class Socket {
public:
    Socket() = default;
    explicit Socket(SOCKET handle) : handle_(handle) {}
    Socket(Socket&& other) noexcept : handle_(std::exchange(other.handle_, INVALID_SOCKET)) {}
    Socket& operator=(Socket&& other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    ~Socket() { close(); }

    operator SOCKET() const { return handle_; }
    HANDLE handle() const { return reinterpret_cast<HANDLE>(handle_); }

    void close() {
        if (handle_ != INVALID_SOCKET) ::closesocket(std::exchange(handle_, INVALID_SOCKET));
    }
    // The peer sees RST.
    void reset() {
        const linger at_once{1, 0};
        ::setsockopt(handle_, SOL_SOCKET, SO_LINGER, reinterpret_cast<const char*>(&at_once), sizeof at_once);
        close();
    }

private:
    SOCKET handle_ = INVALID_SOCKET;
};

// A TCP socket for overlapped calls. Plain send and recv on it give up when the patience is over.
inline Socket tcp_socket(int family = AF_INET) {
    support::start_winsock();
    Socket made(
        ::WSASocketW(family, SOCK_STREAM, IPPROTO_TCP, nullptr, 0, WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT));
    REQUIRE(made != INVALID_SOCKET);
    for (const int option : {SO_RCVTIMEO, SO_SNDTIMEO}) {
        ::setsockopt(made, SOL_SOCKET, option, reinterpret_cast<const char*>(&patience), sizeof patience);
    }
    return made;
}

inline sockaddr_in local_address(const Socket& socket) {
    sockaddr_in address{};
    int length = sizeof address;
    REQUIRE(::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length) == 0);
    return address;
}

// Listens on 127.0.0.1, on any free port.
inline Socket listening_socket() {
    Socket listener = tcp_socket();
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(::listen(listener, SOMAXCONN) == 0);
    return listener;
}

// A client of that listener. The backlog takes it: nobody needs to accept.
inline Socket connected_to(const Socket& listener) {
    Socket client = tcp_socket();
    const sockaddr_in address = local_address(listener);
    REQUIRE(::connect(client, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    return client;
}

// Two ends of one TCP connection, both overlapped, neither associated with a port.
struct Pair {
    Socket server;
    Socket client;
};
inline Pair connected_pair() {
    const Socket listener = listening_socket();
    Socket client = connected_to(listener);
    Socket server(::accept(listener, nullptr, nullptr));
    REQUIRE(server != INVALID_SOCKET);
    return {std::move(server), std::move(client)};
}

// What GetQueuedCompletionStatus gave. `error` is 0 when it returned TRUE.
struct Packet {
    bool returned_true = false;
    DWORD error = 0;
    DWORD bytes = 0;
    ULONG_PTR key = 0;
    OVERLAPPED* overlapped = nullptr;
};

class Port {
public:
    explicit Port(DWORD concurrency = 0)
        : handle_(::CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, concurrency)) {
        REQUIRE(handle_ != nullptr);
    }
    ~Port() {
        if (handle_ != nullptr) ::CloseHandle(handle_);
    }
    Port(const Port&) = delete;
    Port& operator=(const Port&) = delete;

    HANDLE get() const { return handle_; }
    void close() { ::CloseHandle(std::exchange(handle_, nullptr)); }
    void forget() { handle_ = nullptr; }  // somebody else has closed it

    void associate(const Socket& socket, ULONG_PTR key = 0) {
        REQUIRE(::CreateIoCompletionPort(socket.handle(), handle_, key, 0) == handle_);
    }

    // The next packet, which must come in time.
    Packet get_packet() {
        const Packet packet = wait(patience);
        REQUIRE_MESSAGE((packet.returned_true || packet.overlapped != nullptr), "no packet, error " << packet.error);
        return packet;
    }
    // Whatever the call says within so many milliseconds.
    Packet wait(DWORD milliseconds) {
        Packet packet;
        packet.returned_true =
            ::GetQueuedCompletionStatus(handle_, &packet.bytes, &packet.key, &packet.overlapped, milliseconds) != FALSE;
        packet.error = packet.returned_true ? 0 : ::GetLastError();
        return packet;
    }
    // No packet is queued at this moment. Packets come out in the order in which they went in, so one that is posted
    // now comes first exactly if there is no other.
    bool is_empty() {
        constexpr ULONG_PTR mark = 0x6d61726b;
        REQUIRE(::PostQueuedCompletionStatus(handle_, 0, mark, nullptr));
        const Packet first = get_packet();
        if (first.key == mark && first.overlapped == nullptr) return true;
        CHECK(get_packet().key == mark);
        return false;
    }

private:
    HANDLE handle_;
};

// An overlapped receive or send of one buffer. Must live until its packet has come.
struct Operation : OVERLAPPED {
    Operation() : OVERLAPPED{} {}
    Operation(const Operation&) = delete;
    Operation& operator=(const Operation&) = delete;

    // Both return 0 or the error: WSA_IO_PENDING says that the operation has begun.
    int receive(const Socket& socket, char* buffer, std::size_t size) {
        WSABUF where{static_cast<ULONG>(size), buffer};
        DWORD flags = 0;
        return ::WSARecv(socket, &where, 1, &bytes, &flags, this, nullptr) == 0 ? 0 : ::WSAGetLastError();
    }
    int send(const Socket& socket, const char* data, std::size_t size) {
        WSABUF what{static_cast<ULONG>(size), const_cast<char*>(data)};
        return ::WSASend(socket, &what, 1, &bytes, 0, this, nullptr) == 0 ? 0 : ::WSAGetLastError();
    }
    // What WSAGetOverlappedResult says after the packet: 0, or Winsock's number.
    int result(const Socket& socket) {
        DWORD count = 0;
        DWORD flags = 0;
        return ::WSAGetOverlappedResult(socket, this, &count, FALSE, &flags) ? 0 : ::WSAGetLastError();
    }

    DWORD bytes = 0;  // what the call itself said
};

// AcceptEx and its like: the functions that WSAIoctl must be asked for.
template <class Function>
Function extension(const Socket& socket, GUID id) {
    Function function = nullptr;
    DWORD bytes = 0;
    REQUIRE(::WSAIoctl(socket, SIO_GET_EXTENSION_FUNCTION_POINTER, &id, sizeof id, &function, sizeof function, &bytes,
                       nullptr, nullptr) == 0);
    return function;
}

}  // namespace claims
