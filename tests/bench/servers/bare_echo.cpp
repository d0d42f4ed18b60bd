// The least that an echo on a completion port can do: one thread goes round its clients, and calls nothing but WSARecv
// and WSASend while they keep it busy. No lock, no limit, no time-out; a client that is not ready is passed over. It
// says how fast any server could be that makes these two calls, here and now. bare-echo [port] [bytes of a buffer]
#include "01-create-port/program.hpp"
#include "02-acceptex/listener.hpp"
#include "03-recv/receive.hpp"
#include "04-send/send.hpp"

#include <cstdlib>
#include <memory>
#include <vector>

namespace {

class Client final : public ReceiveOperation::Handler, public SendOperation::Handler {
public:
    Client(CompletionPort& port, Socket socket, std::size_t buffer_size)
        : socket_(std::move(socket)), receive_(port, *this), send_(port, *this), buffer_(buffer_size) {}

    bool busy() const { return busy_; }  // an operation is pending
    bool over() const { return over_; }

    void take_turn() {
        if (busy_ || over_) return;
        busy_ = true;
        const Started started = receive_.start(socket_, buffer_);  // this and its buffer stay until it is over
        if (started.how != Start::pending) received(started.bytes, started.error);
    }

    void received(DWORD bytes, DWORD error) noexcept override {
        over_ = error != 0 || bytes == 0;
        if (over_) return;
        const WSABUF echo{bytes, buffer_.data()};
        const Started started = send_.start(socket_, std::span(&echo, 1));  // as above
        if (started.how != Start::pending) sent(started.bytes, started.error);
    }

    void sent(DWORD, DWORD error) noexcept override {
        busy_ = false;
        over_ = error != 0;
    }

private:
    const Socket socket_;
    ReceiveOperation receive_;
    SendOperation send_;
    std::vector<char> buffer_;
    bool busy_ = false;
    bool over_ = false;
};

class Clients final : public Listener::Handler {
public:
    Clients(CompletionPort& port, std::size_t buffer_size) : port_(port), buffer_size_(buffer_size) {}

    void go_round() {
        for (const auto& client : clients_)
            client->take_turn();
        std::erase_if(clients_, [](const auto& client) { return client->over(); });
    }

    bool all_busy() const {
        return std::all_of(clients_.begin(), clients_.end(), [](const auto& client) { return client->busy(); });
    }

private:
    void accepted(Socket socket, const Accepted&) override {
        if (port_.associate(socket, 1) != 0) return;
        const DWORD yes = 1;
        ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, reinterpret_cast<const char*>(&yes), sizeof yes);
        socket.skip_packets_on_success();
        clients_.push_back(std::make_unique<Client>(port_, std::move(socket), buffer_size_));
    }
    void accept_failed(DWORD error) noexcept override { std::fprintf(stderr, "%s\n", error_name(error).c_str()); }
    void accepts_wait(DWORD) noexcept override {}

    CompletionPort& port_;
    const std::size_t buffer_size_;
    std::vector<std::unique_ptr<Client>> clients_;
};

// Hands on what the port has; waits for it only when there is nothing else to do.
void look_at(CompletionPort& port, bool wait) {
    OVERLAPPED_ENTRY entries[256];
    ULONG count = 0;
    if (!::GetQueuedCompletionStatusEx(port.get(), entries, 256, &count, wait ? INFINITE : 0, FALSE)) return;
    for (const OVERLAPPED_ENTRY& entry : std::span(entries).first(count)) {
        Operation& operation = *CompletionPort::to_operation(entry.lpOverlapped);
        const bool succeeded = static_cast<LONG>(operation.Internal) >= 0;
        operation.dispatch({&operation, entry.lpCompletionKey, entry.dwNumberOfBytesTransferred, succeeded});
    }
}

}  // namespace

int main(int argc, char** argv) {
    return run_program("bare-echo", "[port] [bytes of a buffer]", [&] {
        const auto port_number = static_cast<std::uint16_t>(argc > 1 ? std::atoi(argv[1]) : 7007);
        const auto buffer_size = static_cast<std::size_t>(argc > 2 ? std::atoi(argv[2]) : 16384);
        const Winsock winsock;
        CompletionPort port(1);
        Clients clients(port, buffer_size);
        Listener listener(port, listen_on("127.0.0.1", port_number), clients, 64);
        print_line("listening on " + listener.address());
        listener.replenish();
        // Ctrl+C ends the process as it stands.
        for (unsigned rounds = 0;; ++rounds) {
            clients.go_round();
            const bool all_busy = clients.all_busy();
            if (all_busy || rounds % 64 == 0) look_at(port, all_busy);
        }
    });
}
