// Winsock: sockets, the calls that begin operations on them, and the plain calls that block.
#include "kernel.hpp"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>

namespace strict {

namespace {

// ---- operations ----

int transfer(Kind kind, SOCKET handle, const WSABUF* buffers, DWORD count, DWORD* bytes, DWORD* flags,
             OVERLAPPED* overlapped, Here here) {
    const char* const name = kind == Kind::receive ? "WSARecv" : "WSASend";
    const TracedCall call(name, here, {to_handle(handle)});
    Lock lock;
    const auto socket = find_socket(handle, name);
    if (socket == nullptr) return SOCKET_ERROR;
    if (overlapped == nullptr) not_modelled("WSARecv or WSASend without an OVERLAPPED");
    if (count == 0) return fail_winsock(WSAEINVAL);
    if (!socket->connected) return fail_winsock(WSAENOTCONN);
    if (socket->broken) return fail_winsock(WSAECONNRESET);
    if (kind == Kind::send && socket->fin_wanted) return fail_winsock(WSAESHUTDOWN);
    const auto request = begin(kind, socket, overlapped, here);
    request->buffers.assign(buffers, buffers + count);
    trace_begin(*request);
    for (const WSABUF& buffer : request->buffers) {
        if (kind == Kind::receive) {
            kernel_writes(buffer.buf, buffer.len);
        } else {
            kernel_reads(buffer.buf, buffer.len);
        }
    }
    released(request.get());
    auto& queue = kind == Kind::receive ? socket->receives : socket->sends;
    Progress progress{true, Status::pending, 0};
    if (queue.empty()) {
        progress = kind == Kind::receive ? try_receive(*socket, *request) : try_send(*socket, *request);
    }
    if (progress.pending) {
        hold(*request);
        queue.push_back(request);
        hold_caller(lock, *request);
        return fail_winsock(WSA_IO_PENDING);
    }
    if (failed(progress.status)) {
        never_began(*request);
        return fail_winsock(error_at_winsock(static_cast<LONG>(progress.status)));
    }
    if (bytes != nullptr) *bytes = static_cast<DWORD>(progress.bytes);
    if (flags != nullptr) *flags = 0;
    complete(request, Status::success, progress.bytes, true);
    hold_caller(lock, *request);
    return 0;
}

BOOL accept_ex(SOCKET listener_handle, SOCKET accepted_handle, void* output, DWORD data, DWORD local, DWORD remote,
               OVERLAPPED* overlapped, Here here) {
    const TracedCall call("AcceptEx", here, {to_handle(listener_handle), to_handle(accepted_handle)});
    Lock lock;
    const auto listener = find_socket(listener_handle, "AcceptEx");
    const auto accepted = find_socket(accepted_handle, "");
    if (listener == nullptr || accepted == nullptr) return FALSE;
    if (output == nullptr || remote == 0) return fail(WSAEFAULT);
    const bool fresh = !accepted->bound && !accepted->connected && !accepted->in_accept;
    if (!listener->listening || !fresh || overlapped == nullptr) return fail(WSAEINVAL);
    const auto request = begin(Kind::accept, listener, overlapped, here);
    request->accepted = accepted;
    request->output = static_cast<char*>(output);
    request->data = data;
    request->local = local;
    request->remote = remote;
    trace_begin(*request);
    kernel_writes(output, data + local + remote);
    released(request.get());
    accepted->in_accept = true;
    hold(*request);
    listener->accepts.push_back(request);
    serve(listener);
    hold_caller(lock, *request);
    return fail(ERROR_IO_PENDING);
}

// It trusts its caller: with other lengths than AcceptEx had it finds other bytes.
void get_accept_ex_addresses(void* output, DWORD data, DWORD local, DWORD remote, sockaddr** local_address,
                             int* local_length, sockaddr** remote_address, int* remote_length) {
    const auto get = [](char* part, DWORD size, sockaddr** address, int* length) {
        *address = reinterpret_cast<sockaddr*>(part);
        std::memcpy(length, part + size - sizeof *length, sizeof *length);
    };
    char* const parts = static_cast<char*>(output) + data;
    get(parts, local, local_address, local_length);
    get(parts + local, remote, remote_address, remote_length);
}

BOOL disconnect_ex(SOCKET handle, OVERLAPPED* overlapped, DWORD flags, Here here) {
    const TracedCall call("DisconnectEx", here, {to_handle(handle)});
    Lock lock;
    const auto socket = find_socket(handle, "DisconnectEx");
    if (socket == nullptr) return FALSE;
    if (overlapped == nullptr) not_modelled("DisconnectEx without an OVERLAPPED");
    if (!socket->connected || !socket->has_context || socket->disconnect != nullptr) return fail(WSAENOTCONN);
    const auto request = begin(Kind::disconnect, socket, overlapped, here);
    request->flags = flags;
    trace_begin(*request);
    hold(*request);
    socket->disconnect = request;
    socket->fin_wanted = true;
    serve_soon(socket);
    hold_caller(lock, *request);
    return fail(ERROR_IO_PENDING);
}

// ---- plain calls ----

// Waits on Linux' socket, without the lock. False: the limit came first.
bool wait_for(int descriptor, short events, DWORD limit) {
    pollfd wanted{descriptor, events, 0};
    return while_paused([&] { return ::poll(&wanted, 1, limit == 0 ? -1 : static_cast<int>(limit)); }) > 0;
}

int send_or_receive(SOCKET handle, bool sends, char* bytes, std::size_t size, int flags) {
    const Inside here;
    std::size_t done = 0;
    for (;;) {
        int descriptor = -1;
        DWORD limit = 0;
        {
            const Lock lock;
            const auto socket = find_socket(handle, sends ? "send" : "recv");
            if (socket == nullptr) return SOCKET_ERROR;
            if (socket->broken) return fail_winsock(WSAECONNRESET);
            if (sends && socket->fin_wanted) return fail_winsock(WSAESHUTDOWN);
            if (!socket->connected) return fail_winsock(WSAENOTCONN);
            descriptor = socket->descriptor;
            limit = sends ? socket->send_limit : socket->receive_limit;
            const long count =
                sends ? send_now(descriptor, bytes + done, size - done) : receive_now(descriptor, bytes, size, flags);
            if (count < 0 && errno != EAGAIN) {
                socket->broken = true;
                return fail_winsock(WSAECONNRESET);
            }
            if (count >= 0) {
                done += static_cast<std::size_t>(count);
                if (!sends && count == 0) socket->peer_done = true;
                if (!sends || done == size) return static_cast<int>(done);
                continue;
            }
            if (!socket->waits) return done > 0 ? static_cast<int>(done) : fail_winsock(WSAEWOULDBLOCK);
        }
        if (!wait_for(descriptor, sends ? POLLOUT : POLLIN, limit)) return fail_winsock(WSAETIMEDOUT);
    }
}

// By Windows' table: the error, if another socket of this program has that address already; else 0.
int error_of_sharing(const Socket& socket, const sockaddr* address) {
    const auto port_of = [](const sockaddr* of) { return reinterpret_cast<const sockaddr_in*>(of)->sin_port; };
    const auto is_any = [](const sockaddr* of) {
        return of->sa_family == AF_INET6
                   ? IN6_IS_ADDR_UNSPECIFIED(&reinterpret_cast<const sockaddr_in6*>(of)->sin6_addr)
                   : reinterpret_cast<const sockaddr_in*>(of)->sin_addr.s_addr == INADDR_ANY;
    };
    for (const auto& other : kernel().handles.sockets()) {
        sockaddr_storage storage{};
        socklen_t length = sizeof storage;
        auto* const theirs = reinterpret_cast<sockaddr*>(&storage);
        if (!other->bound || ::getsockname(other->descriptor, theirs, &length) != 0) continue;
        if (other->family != socket.family || port_of(theirs) != port_of(address)) continue;
        if (is_any(theirs) != is_any(address)) not_modelled("one port on all addresses and on one of them");
        const std::size_t compared = socket.family == AF_INET6 ? offsetof(sockaddr_in6, sin6_scope_id) : 8;
        if (std::memcmp(theirs, address, compared) != 0) continue;  // two addresses of this machine
        if (!socket.shares) return WSAEADDRINUSE;
        if (!other->shares) return WSAEACCES;
        not_modelled("two sockets that share an address");
    }
    return 0;
}

int get_name(const char* call, SOCKET handle, sockaddr* address, int* length, int (*get)(int, sockaddr*, socklen_t*)) {
    const Lock lock;
    const auto socket = find_socket(handle, call);
    if (socket == nullptr) return SOCKET_ERROR;
    if (!socket->has_context) return fail_winsock(WSAENOTCONN);
    auto size = static_cast<socklen_t>(*length);
    if (get(socket->descriptor, address, &size) != 0) return fail_winsock(error_of_linux(errno));
    *length = static_cast<int>(size);
    return 0;
}

}  // namespace

}  // namespace strict

using namespace strict;

SOCKET WSASocketW(int family, int type, int protocol, WSAPROTOCOL_INFOW*, unsigned, DWORD flags) {
    const Lock lock;
    if (const DWORD error = fault("WSASocketW")) {
        fail(error);
        return INVALID_SOCKET;
    }
    const int descriptor = ::socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
    if (descriptor < 0) {
        fail_winsock(error_of_linux(errno));
        return INVALID_SOCKET;
    }
    const int yes = 1;
    if (family == AF_INET6) ::setsockopt(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes);
    auto socket = std::make_shared<Socket>();
    socket->descriptor = descriptor;
    socket->family = family;
    socket->overlapped = (flags & WSA_FLAG_OVERLAPPED) != 0;
    return reinterpret_cast<SOCKET>(kernel().handles.add(std::move(socket)));
}

int WSAIoctl(SOCKET handle, DWORD code, void* in, DWORD, void* out, DWORD, DWORD* bytes, OVERLAPPED*,
             LPWSAOVERLAPPED_COMPLETION_ROUTINE) {
    const Lock lock;
    if (find_socket(handle, "WSAIoctl") == nullptr) return SOCKET_ERROR;
    if (code != SIO_GET_EXTENSION_FUNCTION_POINTER) not_modelled("WSAIoctl with this code");
    const auto is = [&](const GUID& id) { return std::memcmp(in, &id, sizeof id) == 0; };
    const auto give = [&](auto function) {
        static_assert(sizeof function == sizeof(void*));
        std::memcpy(out, &function, sizeof function);
        *bytes = sizeof function;
        return 0;
    };
    if (is(WSAID_ACCEPTEX)) return give(&accept_ex);
    if (is(WSAID_GETACCEPTEXSOCKADDRS)) return give(&get_accept_ex_addresses);
    if (is(WSAID_DISCONNECTEX)) return give(&disconnect_ex);
    return fail_winsock(WSAEINVAL);
}

int WSARecv(SOCKET socket, WSABUF* buffers, DWORD count, DWORD* bytes, DWORD* flags, OVERLAPPED* overlapped,
            LPWSAOVERLAPPED_COMPLETION_ROUTINE routine, Here here) {
    if (routine != nullptr) return fail_winsock(WSAEINVAL);  // the socket reports to a port
    return transfer(Kind::receive, socket, buffers, count, bytes, flags, overlapped, here);
}

int WSASend(SOCKET socket, WSABUF* buffers, DWORD count, DWORD* bytes, DWORD, OVERLAPPED* overlapped,
            LPWSAOVERLAPPED_COMPLETION_ROUTINE routine, Here here) {
    if (routine != nullptr) return fail_winsock(WSAEINVAL);
    return transfer(Kind::send, socket, buffers, count, bytes, nullptr, overlapped, here);
}

BOOL WSAGetOverlappedResult(SOCKET handle, OVERLAPPED* overlapped, DWORD* bytes, BOOL wait, DWORD* flags) {
    const Lock lock;
    if (wait) not_modelled("WSAGetOverlappedResult that waits");
    if (find_socket(handle, "WSAGetOverlappedResult") == nullptr) return FALSE;
    const auto status = static_cast<LONG>(overlapped->Internal);
    if (status == static_cast<LONG>(Status::pending)) return fail(WSA_IO_INCOMPLETE);
    *bytes = static_cast<DWORD>(overlapped->InternalHigh);
    *flags = 0;
    return status >= 0 ? TRUE : fail(static_cast<DWORD>(error_at_winsock(status)));
}

int closesocket(SOCKET handle, Here here) {
    const TracedCall call("closesocket", here, {to_handle(handle)});
    const Lock lock;
    const auto socket = kernel().handles.find<Socket>(to_handle(handle));
    if (socket == nullptr) return fail_winsock(WSAENOTSOCK);
    kernel().handles.remove(to_handle(handle));
    socket->closed = true;
    const bool resets = socket->resets || !socket->receives.empty() || !socket->sends.empty();
    cancel(socket, nullptr, nullptr, Status::connection_aborted);
    unwatch(*socket);
    const linger at_once{1, 0};
    if (resets) ::setsockopt(socket->descriptor, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    ::close(socket->descriptor);
    return 0;
}

int ioctlsocket(SOCKET handle, long code, u_long* value) {
    const Lock lock;
    const auto socket = find_socket(handle, "ioctlsocket");
    if (socket == nullptr) return SOCKET_ERROR;
    if (code == static_cast<long>(FIONBIO)) {
        socket->waits = *value == 0;
        return 0;
    }
    if (code != static_cast<long>(FIONREAD)) not_modelled("ioctlsocket with this code");
    int count = 0;
    if (::ioctl(socket->descriptor, fionread_of_linux, &count) != 0) return fail_winsock(error_of_linux(errno));
    *value = static_cast<u_long>(count);
    return 0;
}

int bind(SOCKET handle, const sockaddr* address, int length) {
    const Lock lock;
    const auto socket = find_socket(handle, "bind");
    if (socket == nullptr) return SOCKET_ERROR;
    if (const int error = error_of_sharing(*socket, address)) return fail_winsock(error);
    const int yes = 1;  // Windows' own rule for connections that are just over
    ::setsockopt(socket->descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (::bind(socket->descriptor, address, static_cast<socklen_t>(length)) != 0) {
        return fail_winsock(socket->shares && errno == EADDRINUSE ? WSAEACCES : error_of_linux(errno));
    }
    socket->bound = true;
    return 0;
}

int listen(SOCKET handle, int backlog) {
    const Lock lock;
    const auto socket = find_socket(handle, "listen");
    if (socket == nullptr) return SOCKET_ERROR;
    // Linux takes one more.
    if (::listen(socket->descriptor, std::max(backlog - 1, 0)) != 0) return fail_winsock(error_of_linux(errno));
    socket->listening = true;
    watch(socket);
    return 0;
}

int connect(SOCKET handle, const sockaddr* address, int length) {
    const Inside here;
    int descriptor = -1;
    {
        const Lock lock;
        const auto socket = find_socket(handle, "connect");
        if (socket == nullptr) return SOCKET_ERROR;
        descriptor = socket->descriptor;
        if (::connect(descriptor, address, static_cast<socklen_t>(length)) != 0 && errno != EINPROGRESS) {
            return fail_winsock(error_of_linux(errno));
        }
    }
    // On one machine only a full backlog is silent, and there Windows refuses.
    if (!wait_for(descriptor, POLLOUT, 2000)) return fail_winsock(WSAECONNREFUSED);
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &size);
    // Windows says that it was connected, and the first call after that tells of the reset.
    if (error != 0 && error != ECONNRESET) return fail_winsock(error_of_linux(error));
    const Lock lock;
    const auto socket = find_socket(handle, "");
    if (socket == nullptr) return SOCKET_ERROR;
    socket->connected = true;
    socket->broken = error != 0;
    socket->connected_at = Clock::now();
    watch(socket);
    return 0;
}

SOCKET accept(SOCKET handle, sockaddr* address, int* length) {
    const Inside here;
    int listener = -1;
    bool waits = true;
    auto accepted = std::make_shared<Socket>();
    {
        const Lock lock;
        const auto socket = find_socket(handle, "accept");
        if (socket == nullptr) return INVALID_SOCKET;
        listener = socket->descriptor;
        waits = socket->waits;
        accepted->family = socket->family;
    }
    if (waits) wait_for(listener, POLLIN, 0);
    auto size = static_cast<socklen_t>(length != nullptr ? *length : 0);
    const int descriptor =
        ::accept4(listener, address, length != nullptr ? &size : nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (descriptor < 0) {
        fail_winsock(error_of_linux(errno));
        return INVALID_SOCKET;
    }
    if (length != nullptr) *length = static_cast<int>(size);
    const Lock lock;
    accepted->descriptor = descriptor;
    accepted->connected = true;
    accepted->connected_at = Clock::now();
    watch(accepted);
    return reinterpret_cast<SOCKET>(kernel().handles.add(std::move(accepted)));
}

int shutdown(SOCKET handle, int how, Here here) {
    const TracedCall call("shutdown", here, {to_handle(handle)});
    const Lock lock;
    const auto socket = find_socket(handle, "shutdown");
    if (socket == nullptr) return SOCKET_ERROR;
    if (!socket->connected || !socket->has_context) return fail_winsock(WSAENOTCONN);
    if (how != SD_RECEIVE) {
        socket->fin_wanted = true;  // behind what is being sent
        serve(socket);
    }
    if (how != SD_SEND) ::shutdown(socket->descriptor, SHUT_RD);
    return 0;
}

int setsockopt(SOCKET handle, int level, int option, const char* value, int size) {
    const Lock lock;
    const auto socket = find_socket(handle, "setsockopt");
    if (socket == nullptr) return SOCKET_ERROR;
    DWORD number = 0;
    std::memcpy(&number, value, std::min(sizeof number, static_cast<std::size_t>(size)));
    if (level == SOL_SOCKET) {
        switch (option) {
            case SO_UPDATE_ACCEPT_CONTEXT:
                if (!socket->connected) return fail_winsock(WSAENOTCONN);
                socket->has_context = true;
                return 0;
            case SO_EXCLUSIVEADDRUSE:
            case SO_REUSEADDR: {
                const bool other = option == SO_REUSEADDR ? socket->exclusive : socket->shares;
                if (socket->bound || (number != 0 && other)) return fail_winsock(WSAEINVAL);
                (option == SO_REUSEADDR ? socket->shares : socket->exclusive) = number != 0;
                return 0;
            }
            case SO_RCVTIMEO:
                socket->receive_limit = number;
                return 0;
            case SO_SNDTIMEO:
                socket->send_limit = number;
                return 0;
            case SO_SNDBUF:  // 0 on Windows: no copy is kept. Linux has no such thing
                return 0;
        }
    }
    return ::setsockopt(socket->descriptor, level, option, static_cast<const void*>(value),
                        static_cast<socklen_t>(size)) == 0
               ? 0
               : fail_winsock(error_of_linux(errno));
}

int getsockopt(SOCKET handle, int level, int option, char* value, int* size) {
    const Lock lock;
    const auto socket = find_socket(handle, "getsockopt");
    if (socket == nullptr) return SOCKET_ERROR;
    const auto give = [&](const auto& answer) {
        std::memcpy(value, &answer, sizeof answer);
        *size = sizeof answer;
        return 0;
    };
    if (level == SOL_SOCKET && option == SO_PROTOCOL_INFOW) {
        return give(WSAPROTOCOL_INFOW{XP1_IFS_HANDLES, socket->family});
    }
    if (level == SOL_SOCKET && option == SO_CONNECT_TIME) {
        const auto time = std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - socket->connected_at);
        return give(socket->connected ? static_cast<DWORD>(time.count()) : DWORD{0xFFFFFFFF});
    }
    auto length = static_cast<socklen_t>(*size);
    if (::getsockopt(socket->descriptor, level, option, static_cast<void*>(value), &length) != 0) {
        return fail_winsock(error_of_linux(errno));
    }
    *size = static_cast<int>(length);
    return 0;
}

int getsockname(SOCKET socket, sockaddr* address, int* length) {
    return get_name("getsockname", socket, address, length,
                    [](int descriptor, sockaddr* to, socklen_t* size) { return ::getsockname(descriptor, to, size); });
}
int getpeername(SOCKET socket, sockaddr* address, int* length) {
    return get_name("getpeername", socket, address, length,
                    [](int descriptor, sockaddr* to, socklen_t* size) { return ::getpeername(descriptor, to, size); });
}

int send(SOCKET socket, const char* bytes, int size, int flags) {
    return send_or_receive(socket, true, const_cast<char*>(bytes), static_cast<std::size_t>(size), flags);
}
int recv(SOCKET socket, char* bytes, int size, int flags) {
    return send_or_receive(socket, false, bytes, static_cast<std::size_t>(size), flags);
}

#undef getaddrinfo
int strict_getaddrinfo(const char* host, const char* port, const addrinfo* hints, addrinfo** found) {
    const Inside here;
    return ::getaddrinfo(host, port, hints, found) == 0 ? 0 : WSAHOST_NOT_FOUND;
}

int strict_select(int, strict_fd_set* readable, strict_fd_set* writable, strict_fd_set*, const timeval* limit) {
    const Inside here;
    std::vector<pollfd> wanted;
    const auto want = [&](const strict_fd_set* set, short events) {
        for (unsigned i = 0; set != nullptr && i < set->fd_count; ++i) {
            const Lock lock;
            const auto socket = find_socket(set->fd_array[i], "select");
            wanted.push_back({socket == nullptr ? -1 : socket->descriptor, events, 0});
        }
    };
    want(readable, POLLIN);
    want(writable, POLLOUT);
    const int milliseconds = limit == nullptr ? -1 : static_cast<int>(limit->tv_sec * 1000 + limit->tv_usec / 1000);
    const int count = while_paused([&] { return ::poll(wanted.data(), wanted.size(), milliseconds); });
    auto next = wanted.begin();
    const auto keep_ready = [&](strict_fd_set* set) {
        if (set == nullptr) return;
        unsigned kept = 0;
        for (unsigned i = 0; i < set->fd_count; ++i) {
            if ((next++)->revents != 0) set->fd_array[kept++] = set->fd_array[i];
        }
        set->fd_count = kept;
    };
    keep_ready(readable);
    keep_ready(writable);
    return count;
}
