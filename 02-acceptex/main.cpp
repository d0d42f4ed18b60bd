// Stage 02: clients are accepted through the port, by a pool of AcceptEx operations.
//
// There is no receive yet (stage 03 brings it), so this program asks its sockets in turn, ten times a second, whether
// their client is still there: the very polling that completions make unnecessary.
#include "01-create-port/program.hpp"
#include "01-create-port/workers.hpp"
#include "02-acceptex/server.hpp"

namespace {

// Bytes of a client as text that a terminal can show.
std::string printable(std::span<const char> bytes) {
    std::string text;
    for (const char byte : bytes) {
        const auto code = static_cast<unsigned char>(byte);
        char shown[8];
        std::snprintf(shown, sizeof shown, code >= ' ' && code <= '~' ? "%c" : "\\x%02X", code);
        text += shown;
    }
    return text;
}

// One client (per-socket data). Nothing is ever pending on its socket.
class Connection {
public:
    Connection(Server<Connection>&, CompletionPort&, Socket socket, const Accepted& client)
        : socket_(std::move(socket)), address_(client.remote) {
        u_long without_waiting = 1;  // for gone() below
        if (::ioctlsocket(socket_.get(), FIONBIO, &without_waiting) == SOCKET_ERROR) {
            failed_ = static_cast<DWORD>(::WSAGetLastError());
        }
        if (client.waited_for_data) {
            print_line("accepted ", address_, " with ", client.first_data.size(), " bytes",
                       client.first_data.empty() ? "" : ": ", printable(client.first_data));
        } else {
            print_line("accepted ", address_);
        }
    }
    void start() {}
    void cancel() {}

    // Throws away what the client sent. True when it has gone.
    bool gone() {
        DWORD error = failed_;
        if (error == 0) {
            char ignored[4096];
            const int bytes = ::recv(socket_.get(), ignored, sizeof ignored, 0);
            error = bytes == SOCKET_ERROR ? static_cast<DWORD>(::WSAGetLastError()) : 0;
            if (bytes > 0 || error == WSAEWOULDBLOCK) return false;
        }
        error == 0 ? print_line("finished ", address_) : print_line("lost ", address_, ": ", error_name(error));
        return true;
    }

    const std::string& address() const { return address_; }

private:
    const Socket socket_;
    const std::string address_;
    DWORD failed_ = 0;  // why it cannot be asked without waiting
};

void remove_the_gone(Server<Connection>& server) {
    server.connections().for_each([&](Connection& connection) {
        if (connection.gone()) server.ended(connection);
    });
}

}  // namespace

int main(int argc, char** argv) {
    return run_program("02-acceptex", "[port] [--accepts K] [--first-data] [--silent SECONDS]", [&] {
        Arguments arguments(argc, argv);
        const auto accepts = arguments.number<unsigned>("--accepts", 8, 1, 1000);
        const auto silent = arguments.number<DWORD>("--silent", 5, 1, 86400);
        const DWORD first_data_size = arguments.flag("--first-data") ? 1024 : 0;
        const std::uint16_t port_number = arguments.port();

        const Winsock winsock;
        CompletionPort port;
        Server<Connection> server(port, listen_on("127.0.0.1", port_number), accepts, first_data_size);
        Workers workers(port);
        print_line("listening on ", server.listener().address());

        run_until_stdin_ends([&] {
            remove_the_gone(server);
            server.listener().replenish();
            if (first_data_size == 0) return;
            for (unsigned swept = server.listener().sweep(silent); swept > 0; --swept) {
                print_line("swept a client that stayed silent for ", silent, " s");
            }
        });

        server.stop();
        workers.stop();
        server.connections().for_each(
            [](Connection& connection) { print_line("cancelled ", connection.address(), ": the server stops"); });
        print_stopped(port);
    });
}
