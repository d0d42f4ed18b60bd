// Stage 04: send back what was received (the Echo protocol, RFC 862).
//
// Still exactly one operation is in flight on each connection: receive, then send, then receive. So the buffer serves
// both, the order of bytes cannot go wrong, and no lock is needed. It cannot receive while it sends; stage 06 can.
#include "01-create-port/program.hpp"
#include "01-create-port/workers.hpp"
#include "02-acceptex/server.hpp"
#include "03-recv/receive.hpp"
#include "04-send/send.hpp"

#include <array>

namespace {

// One client (per-socket data).
class Connection final : public ReceiveOperation::Handler, public SendOperation::Handler {
public:
    Connection(Server<Connection>& server, CompletionPort& port, Socket socket, const Accepted& client)
        : server_(server),
          socket_(std::move(socket)),
          address_(client.remote),
          receive_(port, *this),
          send_(port, *this) {}

    static inline bool greets = false;  // set before the first client

    void start() {
        print_line("accepted ", address_);
        greets ? greet() : receive();
    }
    void cancel() { ::CancelIoEx(reinterpret_cast<HANDLE>(socket_.get()), nullptr); }

    //[ received
    //? send it back; answer the client's FIN; or end (the words are in the note, "Run it")
    void received(DWORD bytes, DWORD error) noexcept override {
        total_received_ += bytes;
        if (server_.stopping()) return end("cancelled ", address_, ": the server stops, ");
        if (error != 0) return end("lost ", address_, ": ", error_name(error), ", ");
        if (bytes == 0) {
            ::shutdown(socket_.get(), SD_SEND);  // everything was sent before this receive: now our FIN answers theirs
            return end("finished ", address_, ": ");
        }
        const WSABUF echo{bytes, buffer_.data()};
        send(std::span(&echo, 1));
    }
    //]

    //[ sent
    //? count, then receive again, or end
    void sent(DWORD bytes, DWORD error) noexcept override {
        total_sent_ += bytes;
        if (server_.stopping()) return end("cancelled ", address_, ": the server stops, ");
        if (error != 0) return end("lost ", address_, ": ", error_name(error), ", ");
        receive();
    }
    //]

private:
    // Two buffers, one WSASend: gathered. The bytes are members, because they must live until the send has ended.
    //[ greet
    //? two buffers, one send; where do their bytes live?
    void greet() {
        WSABUF parts[] = {{static_cast<ULONG>(hello_.size()), hello_.data()},
                          {static_cast<ULONG>(greeting_.size()), greeting_.data()}};
        send(parts);
    }
    //]

    void receive() {
        const Started started = receive_.start(socket_, buffer_);
        switch (started.how) {
            case Start::pending:
                return;  // touch nothing: another worker may be in received() by now
            case Start::done:
                return;  // never here: this socket does not skip packets, so one comes (see stage 06)
            case Start::failed:
                return received(0, started.error);
        }
    }

    void send(std::span<const WSABUF> buffers) {
        const Started started = send_.start(socket_, buffers);
        switch (started.how) {
            case Start::pending:
                return;  // as above, for sent()
            case Start::done:
                return;  // as above
            case Start::failed:
                return sent(0, started.error);
        }
    }

    template <class... Reason>
    void end(const Reason&... reason) {
        print_line(reason..., total_received_, " bytes received, ", total_sent_, " sent");
        server_.ended(*this);  // destroys this connection: nothing is pending, so its socket may be closed
    }

    Server<Connection>& server_;
    const Socket socket_;
    const std::string address_;
    std::string hello_ = "hello ";
    std::string greeting_ = address_ + "\n";
    ReceiveOperation receive_;
    SendOperation send_;
    std::array<char, 4096> buffer_;
    std::uint64_t total_received_ = 0;
    std::uint64_t total_sent_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
    return run_program("04-send", "[port] [--greet]", [&] {
        Arguments arguments(argc, argv);
        Connection::greets = arguments.flag("--greet");
        const std::uint16_t port_number = arguments.port();
        const Winsock winsock;
        CompletionPort port;
        Server<Connection> server(port, listen_on("127.0.0.1", port_number));
        Workers workers(port);
        print_line("listening on ", server.listener().address());
        run_until_stdin_ends([&] { server.listener().replenish(); });
        server.stop();
        workers.stop();
        print_stopped(port);
    });
}
