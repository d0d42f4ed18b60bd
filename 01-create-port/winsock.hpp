// Winsock for every stage: its start-up, one owner for a socket, and addresses as text.
//
// Owner: a Socket owns its handle and closes it. Threads: a Socket belongs to one thread at a time, as any value does;
// the free functions may be called from any thread.
#pragma once

#include "01-create-port/error.hpp"

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

// Winsock, started for as long as this lives. It must outlive every socket and every pending operation.
// https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsastartup
class Winsock {
public:
    Winsock() {
        WSADATA data;
        const int error = ::WSAStartup(MAKEWORD(2, 2), &data);  // returns the error itself
        if (error != 0) throw_error(static_cast<DWORD>(error), "WSAStartup");
    }
    ~Winsock() { ::WSACleanup(); }
    Winsock(const Winsock&) = delete;
    Winsock& operator=(const Winsock&) = delete;
};

// The one owner of a socket handle. Destroy it only when no operation is pending on it.
class Socket {
public:
    Socket() = default;
    explicit Socket(SOCKET handle) : handle_(handle) {}
    Socket(Socket&& other) noexcept
        : handle_(std::exchange(other.handle_, INVALID_SOCKET)),
          associated_(other.associated_),
          skips_packets_(other.skips_packets_) {}
    Socket& operator=(Socket&& other) noexcept {
        std::swap(handle_, other.handle_);
        std::swap(associated_, other.associated_);
        std::swap(skips_packets_, other.skips_packets_);
        return *this;
    }
    ~Socket() {
        if (handle_ != INVALID_SOCKET) ::closesocket(handle_);
    }

    SOCKET get() const { return handle_; }
    explicit operator bool() const { return handle_ != INVALID_SOCKET; }

    // From here on, an operation that finishes inside its call puts no packet on the port. Cannot be undone.
    // https://learn.microsoft.com/windows/win32/api/winbase/nf-winbase-setfilecompletionnotificationmodes
    bool skip_packets_on_success() {
        skips_packets_ = ::SetFileCompletionNotificationModes(reinterpret_cast<HANDLE>(handle_),
                                                              FILE_SKIP_COMPLETION_PORT_ON_SUCCESS) != FALSE;
        return skips_packets_;
    }
    bool skips_packets() const { return skips_packets_; }

private:
    friend class CompletionPort;
    SOCKET handle_ = INVALID_SOCKET;
    bool associated_ = false;
    bool skips_packets_ = false;
};

// A TCP socket for overlapped calls that no child process inherits; on failure the Socket is empty and
// WSAGetLastError tells why (WSAEMFILE, WSAENOBUFS ...).
// https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsasocketw
inline Socket make_tcp_socket(int family) {
    Socket socket(
        ::WSASocketW(family, SOCK_STREAM, IPPROTO_TCP, nullptr, 0, WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT));
    // An urgent byte (MSG_OOB) stays in its place in the stream instead of being lost to whoever does not ask for it. A
    // listening socket hands this on, but by SO_UPDATE_ACCEPT_CONTEXT, and the byte may be there before that.
    const DWORD yes = 1;
    if (socket && ::setsockopt(socket.get(), SOL_SOCKET, SO_OOBINLINE, reinterpret_cast<const char*>(&yes),
                               sizeof yes) == SOCKET_ERROR) {
        const int error = ::WSAGetLastError();
        socket = Socket();
        ::WSASetLastError(error);
    }
    return socket;
}

// "127.0.0.1:7007" or "[::1]:7007". A v4 client of a dual-stack listener reads "[::ffff:127.0.0.1]:7007".
inline std::string address_text(const sockaddr* address, int length) {
    char host[NI_MAXHOST];
    char port[NI_MAXSERV];
    if (::getnameinfo(address, length, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return "an unknown address";
    }
    return address->sa_family == AF_INET6 ? "[" + std::string(host) + "]:" + port : std::string(host) + ":" + port;
}

// The address that a bound socket listens on: with port 0 asked for, the one the system chose.
inline std::string local_address(const Socket& socket) {
    sockaddr_storage address{};
    int length = sizeof address;
    if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &length) == SOCKET_ERROR) {
        return "an unknown address";
    }
    return address_text(reinterpret_cast<const sockaddr*>(&address), length);
}

// A bound, listening socket. Throws std::system_error that names the call and the address.
// `host` is a numeric address; "::" takes IPv4 clients too. Port 0 takes any free port.
inline Socket listen_on(const std::string& host, std::uint16_t port) {
    const auto fail = [&](DWORD code, const char* call) {
        const std::string shown = host.find(':') == std::string::npos ? host : "[" + host + "]";
        throw_error(code, "cannot listen on " + shown + ":" + std::to_string(port) + ": " + call);
    };
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
    addrinfo* found = nullptr;
    const int lookup = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
    if (lookup != 0) fail(static_cast<DWORD>(lookup), "getaddrinfo");
    sockaddr_storage address{};
    const int length = static_cast<int>(found->ai_addrlen);
    std::memcpy(&address, found->ai_addr, found->ai_addrlen);
    ::freeaddrinfo(found);

    Socket socket = make_tcp_socket(address.ss_family);
    if (!socket) fail(static_cast<DWORD>(::WSAGetLastError()), "WSASocketW or setsockopt(SO_OOBINLINE)");
    const auto set = [&](int level, int option, DWORD value, const char* call) {
        if (::setsockopt(socket.get(), level, option, reinterpret_cast<const char*>(&value), sizeof value) ==
            SOCKET_ERROR) {
            fail(static_cast<DWORD>(::WSAGetLastError()), call);
        }
    };
    // Without it, another program may bind the same port with SO_REUSEADDR and take our clients.
    set(SOL_SOCKET, SO_EXCLUSIVEADDRUSE, 1, "setsockopt(SO_EXCLUSIVEADDRUSE)");
    if (address.ss_family == AF_INET6) set(IPPROTO_IPV6, IPV6_V6ONLY, 0, "setsockopt(IPV6_V6ONLY)");
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), length) == SOCKET_ERROR) {
        fail(static_cast<DWORD>(::WSAGetLastError()), "bind");
    }
    // The backlog: how many clients can wait until they are accepted; in a larger burst the rest are refused. With
    // SOMAXCONN the provider chooses; SOMAXCONN_HINT(n) asks Windows for n, which it takes between 200 and 65535.
    // https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-listen
    if (::listen(socket.get(), SOMAXCONN) == SOCKET_ERROR) fail(static_cast<DWORD>(::WSAGetLastError()), "listen");
    return socket;
}
