// The network: bytes between requests and Linux' sockets, and the thread that completes what has to wait.
#include "kernel.hpp"
#include "schedule.hpp"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <unordered_map>

namespace strict {

// Plain system calls: a sanitizer would take a socket's bytes for an order between its two ends.
long receive_now(int descriptor, void* bytes, std::size_t size, int flags) {
    return ::syscall(SYS_recvfrom, descriptor, bytes, size, flags | MSG_DONTWAIT, nullptr, nullptr);
}
long send_now(int descriptor, const void* bytes, std::size_t size) {
    return ::syscall(SYS_sendto, descriptor, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL, nullptr, 0);
}

namespace {

// Between the program's memory and Linux: so the copy from or to it is ours, and the sanitizers look at it.
std::array<char, 1 << 17> bounce;

Progress lost(Socket& socket, std::size_t bytes) {
    socket.broken = true;
    return {false, Status::connection_reset, bytes};
}

// One WSABUF after the other from byte `first` on, in pieces of the bounce buffer's size, until `move` has moved less
// than it was given; it returns the number of bytes, or below 0 if it failed.
template <class Move>
long for_each_piece(const Request& request, std::size_t first, Move move) {
    for (const WSABUF& buffer : request.buffers) {
        std::size_t at = std::min<std::size_t>(first, buffer.len);
        first -= at;
        while (at < buffer.len) {
            const std::size_t size = std::min(buffer.len - at, bounce.size());
            const long moved = move(buffer.buf + at, size);
            if (moved < static_cast<long>(size)) return moved;
            at += size;
        }
    }
    return 1;
}

}  // namespace

Progress try_receive(Socket& socket, Request& request) {
    if (socket.broken) return {false, Status::connection_reset, 0};
    if (request.room() == 0) {  // completes when there is something to receive, and takes nothing
        char byte;
        if (receive_now(socket.descriptor, &byte, 1, MSG_PEEK) >= 0) return {false, Status::success, 0};
        return errno == EAGAIN ? Progress{true, Status::pending, 0} : lost(socket, 0);
    }
    std::size_t total = 0;
    const long last = for_each_piece(request, 0, [&](char* to, std::size_t size) {
        const long count = receive_now(socket.descriptor, bounce.data(), part_received(size), 0);
        if (count <= 0) return count;
        give_back(request);
        acquired(&request);
        kernel_writes(to, static_cast<std::size_t>(count));
        std::memcpy(to, bounce.data(), static_cast<std::size_t>(count));
        total += static_cast<std::size_t>(count);
        return count;
    });
    released(&request);  // for whichever thread completes it
    if (total > 0) return {false, Status::success, total};
    if (last < 0) return errno == EAGAIN ? Progress{true, Status::pending, 0} : lost(socket, 0);
    socket.peer_done = last == 0;
    return {false, Status::success, 0};
}

Progress try_send(Socket& socket, Request& request) {
    if (socket.broken) return {false, Status::connection_reset, request.done};
    bool is_short = false;
    const long last = for_each_piece(request, request.done, [&](const char* from, std::size_t size) {
        acquired(&request);
        kernel_reads(from, size);
        std::memcpy(bounce.data(), from, size);
        const std::size_t part = part_sent(size);
        const long count = send_now(socket.descriptor, bounce.data(), part);
        if (count > 0) request.done += static_cast<std::size_t>(count);
        is_short = part < size && count == static_cast<long>(part);
        return count;
    });
    released(&request);
    if (is_short || request.done == request.room()) return {false, Status::success, request.done};
    return last >= 0 || errno == EAGAIN ? Progress{true, Status::pending, request.done} : lost(socket, request.done);
}

namespace {

// ---- accepts ----

void write_addresses(Request& request, int descriptor, const sockaddr_storage& peer, socklen_t peer_length) {
    sockaddr_storage local{};
    socklen_t local_length = sizeof local;
    ::getsockname(descriptor, reinterpret_cast<sockaddr*>(&local), &local_length);
    give_back(request);
    acquired(&request);
    // An address, rubbish, and its length in the part's last four bytes. Only GetAcceptExSockaddrs is to know that.
    const auto put = [](char* part, DWORD part_size, const sockaddr_storage& address, socklen_t length) {
        kernel_writes(part, part_size);
        std::memset(part, 0xA5, part_size);
        std::memcpy(part, &address, length);
        std::memcpy(part + part_size - sizeof length, &length, sizeof length);
    };
    put(request.output + request.data, request.local, local, local_length);
    put(request.output + request.data + request.local, request.remote, peer, peer_length);
    released(&request);  // for whichever thread completes it
}

// One client for this accept, if there is one.
Progress try_accept(Socket& listener, const std::shared_ptr<Request>& request) {
    const Progress none{true, Status::pending, 0};
    const Progress gone{false, Status::connection_reset, 0};
    const std::size_t needed = (listener.family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6)) + 16;
    if (request->local < needed || request->remote < needed) {
        pollfd wanted{listener.descriptor, POLLIN, 0};
        return ::poll(&wanted, 1, 0) > 0 ? Progress{false, Status::buffer_too_small, 0} : none;
    }
    sockaddr_storage peer{};
    socklen_t length = sizeof peer;
    const int descriptor =
        ::accept4(listener.descriptor, reinterpret_cast<sockaddr*>(&peer), &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (descriptor < 0) return errno == EAGAIN ? none : gone;
    pollfd state{descriptor, POLLIN, 0};
    ::poll(&state, 1, 0);
    if ((state.revents & (POLLERR | POLLHUP)) != 0) {  // it came, and has reset the connection
        ::close(descriptor);
        return gone;
    }
    Socket& accepted = *request->accepted;
    unwatch(accepted);
    ::close(accepted.descriptor);
    accepted.descriptor = descriptor;
    accepted.connected = true;
    accepted.has_context = false;
    accepted.connected_at = Clock::now();
    write_addresses(*request, descriptor, peer, length);
    watch(request->accepted);
    return {false, Status::success, 0};
}

void serve_accepts(const std::shared_ptr<Socket>& listener) {
    while (!listener->accepts.empty()) {
        const auto request = listener->accepts.front();
        const Progress progress = try_accept(*listener, request);
        if (progress.pending) return;
        listener->accepts.pop_front();
        if (!failed(progress.status) && request->data > 0) {  // and now the first bytes
            request->kind = Kind::first_data;
            request->buffers = {WSABUF{request->data, request->output}};
            hold(*request);
            request->accepted->receives.push_back(request);
            serve(request->accepted);
            continue;
        }
        request->accepted->in_accept = false;
        complete(request, progress.status, 0, false);
    }
}

// ---- disconnects ----

// A socket that is as good as a new one; its association stays.
void make_new(const std::shared_ptr<Socket>& socket) {
    unwatch(*socket);
    ::close(socket->descriptor);
    socket->descriptor = ::socket(socket->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    socket->connected = socket->bound = socket->broken = socket->peer_done = false;
    socket->fin_wanted = socket->fin_sent = false;
    socket->has_context = true;
}

void serve_disconnect(const std::shared_ptr<Socket>& socket) {
    if (socket->disconnect == nullptr || !(socket->fin_sent || socket->broken)) return;
    const bool reuses = (socket->disconnect->flags & TF_REUSE_SOCKET) != 0;
    // For the next client it waits until this one has finished too; what still comes is thrown away.
    while (reuses && !socket->broken && !socket->peer_done) {
        const long count = receive_now(socket->descriptor, bounce.data(), bounce.size(), 0);
        if (count < 0 && errno == EAGAIN) return;
        socket->peer_done = count == 0;
        socket->broken = count < 0;
    }
    const Status status = socket->broken ? Status::connection_reset : Status::success;
    if (reuses && !socket->broken) make_new(socket);
    complete(std::exchange(socket->disconnect, nullptr), status, 0, false);
}

}  // namespace

void serve(const std::shared_ptr<Socket>& socket) {
    serve_accepts(socket);
    const auto transfer = [&](std::deque<std::shared_ptr<Request>>& queue, auto attempt) {
        while (!queue.empty()) {
            const auto request = queue.front();
            const Progress progress = attempt(*socket, *request);
            if (progress.pending) return;
            queue.pop_front();
            if (request->kind == Kind::first_data) socket->in_accept = false;
            complete(request, progress.status, progress.bytes, false);
        }
    };
    transfer(socket->receives, try_receive);
    transfer(socket->sends, try_send);
    if (socket->fin_wanted && socket->sends.empty() && !socket->fin_sent) {
        socket->fin_sent = true;
        ::shutdown(socket->descriptor, SHUT_WR);
    }
    serve_disconnect(socket);
}

namespace {

// Waits for Linux' news of the sockets that are watched.
class Network {
public:
    Network() {
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.fd = wake_up_;
        ::epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_up_, &event);
        // Signals are for the program's threads.
        sigset_t all, before;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &before);
        std::thread([this] { run(); }).detach();
        ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }

    void add(const std::shared_ptr<Socket>& socket) {
        watched_[socket->descriptor] = socket;
        epoll_event event{};
        event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
        event.data.fd = socket->descriptor;
        ::epoll_ctl(epoll_, EPOLL_CTL_ADD, socket->descriptor, &event);
    }
    void remove(int descriptor) {
        if (watched_.erase(descriptor) > 0) ::epoll_ctl(epoll_, EPOLL_CTL_DEL, descriptor, nullptr);
    }
    void soon(std::shared_ptr<Socket> socket) {
        asked_.push_back(std::move(socket));
        wake();
    }
    void later(Clock::time_point when, std::shared_ptr<Port> port, Packet packet) {
        held_back_.emplace(when, std::pair(std::move(port), std::move(packet)));
        wake();
    }

private:
    void wake() {
        const std::uint64_t one = 1;
        (void)!::syscall(SYS_write, wake_up_, &one, sizeof one);
    }
    void run() {
        const Inside here;
        int limit = -1;
        for (;;) {
            std::array<epoll_event, 64> events;
            const int count = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), limit);
            const Lock lock;
            for (int i = 0; i < count; ++i) {
                const int descriptor = events[static_cast<std::size_t>(i)].data.fd;
                std::uint64_t times;
                if (descriptor == wake_up_) (void)!::syscall(SYS_read, wake_up_, &times, sizeof times);
                const auto found = watched_.find(descriptor);
                if (found == watched_.end()) continue;
                if (const auto socket = found->second.lock()) serve(socket);
            }
            for (const auto& socket : std::exchange(asked_, {})) {
                if (!socket->closed) serve(socket);
            }
            while (!held_back_.empty() && held_back_.begin()->first <= Clock::now()) {
                auto [port, packet] = std::move(held_back_.extract(held_back_.begin()).mapped());
                port->push(std::move(packet));
            }
            limit = held_back_.empty() ? -1 : 1;
        }
    }

    const int epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
    const int wake_up_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    std::unordered_map<int, std::weak_ptr<Socket>> watched_;
    std::vector<std::shared_ptr<Socket>> asked_;
    std::multimap<Clock::time_point, std::pair<std::shared_ptr<Port>, Packet>> held_back_;
};

Network& network() {
    static Network& made = *new Network;
    return made;
}

}  // namespace

void watch(const std::shared_ptr<Socket>& socket) { network().add(socket); }
void unwatch(Socket& socket) { network().remove(socket.descriptor); }
void serve_soon(std::shared_ptr<Socket> socket) { network().soon(std::move(socket)); }
void push_later(std::chrono::microseconds delay, std::shared_ptr<Port> port, Packet packet) {
    network().later(Clock::now() + delay, std::move(port), std::move(packet));
}

}  // namespace strict
