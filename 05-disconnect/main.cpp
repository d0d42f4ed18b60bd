// Stage 05: an echo whose clients choose how their connection ends: `bye` (the server closes first), `abort` (RST),
// silence (cancelled), their own FIN, or their own RST. Where the system can, a socket is used again for the next
// client.
#include "01-create-port/program.hpp"
#include "01-create-port/workers.hpp"
#include "05-disconnect/connection.hpp"

int main(int argc, char** argv) {
    return run_program("05-disconnect", "[port] [--idle SECONDS] [--deadline SECONDS]", [&] {
        Arguments arguments(argc, argv);
        const Settings settings{arguments.number("--idle", 30.0, 0.1, 86400.0),
                                arguments.number("--deadline", 2.0, 0.1, 86400.0)};
        const std::uint16_t port_number = arguments.port();
        const Winsock winsock;
        CompletionPort port;
        DisconnectServer server(port, listen_on("127.0.0.1", port_number), settings);
        Workers workers(port);
        print_line("listening on ", server.listener().address());
        print_line(server.reuses_sockets ? "socket reuse: on" : "socket reuse: off, Wine does not reuse sockets");
        run_until_stdin_ends([&] {
            server.listener().replenish();
            server.connections().for_each([](Connection& connection) { connection.tick(Clock::now()); });
        });
        server.stop();
        workers.stop();
        print_stopped(port);
    });
}
