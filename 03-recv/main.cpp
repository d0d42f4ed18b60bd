// Stage 03: receive for ever and throw away what comes (the Discard protocol, RFC 863).
//
// Each connection has exactly one receive pending, so whoever handles its packet has the connection to itself: any
// number of workers, and no lock. The operation carries the ownership from worker to worker.
#include "01-create-port/program.hpp"
#include "01-create-port/workers.hpp"
#include "02-acceptex/server.hpp"
#include "03-recv/receive.hpp"

#include <array>

namespace {

// One client (per-socket data).
class Connection final : public ReceiveOperation::Handler {
public:
    Connection(Server<Connection>& server, CompletionPort& port, Socket socket, const Accepted& client)
        : server_(server), socket_(std::move(socket)), address_(client.remote), receive_(port, *this) {}

    void start() {
        print_line("accepted ", address_);
        receive();
    }
    void cancel() { ::CancelIoEx(reinterpret_cast<HANDLE>(socket_.get()), nullptr); }

    //[ received
    //? print what came (the words are in the note, "Run it"); receive again, or end
    void received(DWORD bytes, DWORD error) noexcept override {
        total_ += bytes;
        if (server_.stopping()) return end("cancelled ", address_, ": the server stops, ");
        if (error != 0) return end("lost ", address_, ": ", error_name(error), ", ");
        if (bytes == 0) return end("finished ", address_, ": ");
        print_line("received ", address_, ": ", bytes, " bytes");
        receive();
    }
    //]

private:
    //[ receive
    //? start the receive; what may you touch after each of its outcomes?
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
    //]

    //[ end
    template <class... Reason>
    void end(const Reason&... reason) {
        print_line(reason..., total_, " bytes in all");
        server_.ended(*this);  // destroys this connection: nothing is pending, so its socket may be closed
    }
    //]

    Server<Connection>& server_;
    const Socket socket_;
    const std::string address_;
    ReceiveOperation receive_;
    std::array<char, 4096> buffer_;
    std::uint64_t total_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
    return run_program("03-recv", "[port]", [&] {
        const std::uint16_t port_number = Arguments(argc, argv).port();
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
