// Stage 01: a completion port, workers that wait on it, and packets posted by hand.
//
// Each line of stdin becomes one packet; a worker prints it. A listening socket is associated with the port too, to
// show that association alone completes nothing: a client can connect, and no packet comes.
#include "01-create-port/program.hpp"
#include "01-create-port/workers.hpp"

#include <fcntl.h>
#include <io.h>

#include <iostream>
#include <memory>
#include <new>

namespace {

//[ line_operation
// One line on its way to a worker. The packet owns it: nobody else knows it between post() and complete().
class LineOperation final : public Operation {
public:
    LineOperation(CompletionPort& port, std::string line) : Operation(port), line_(std::move(line)) {}

    //? print the packet; this operation is yours to delete
    void complete(const Packet& packet) noexcept override {
        const std::unique_ptr<LineOperation> self(this);
        print_line("packet: key ", packet.key, ", ", packet.bytes, " bytes: ", line_);
    }

private:
    std::string line_;
};
//]

//[ post_line
//? make an operation of the line, post it, and say who owns it from then on
void post_line(CompletionPort& port, ULONG_PTR key, std::string line) {
    const auto bytes = static_cast<DWORD>(line.size());
    std::unique_ptr<LineOperation> operation(new (std::nothrow) LineOperation(port, std::move(line)));
    const DWORD error = operation ? operation->post(bytes, key) : ERROR_NOT_ENOUGH_MEMORY;
    if (error == 0) {
        (void)operation.release();  // it must live until a worker has it
    } else {
        std::fprintf(stderr, "line %llu was not posted: %s\n", static_cast<unsigned long long>(key),
                     error_name(error).c_str());
    }
}
//]

}  // namespace

int main(int argc, char** argv) {
    return run_program("01-create-port", "[port]", [&] {
        const std::uint16_t port_number = Arguments(argc, argv).port();
        (void)::_setmode(::_fileno(stdin), _O_BINARY);  // as text, byte 0x1A would end the input
        const Winsock winsock;
        CompletionPort port;
        Socket listener = listen_on("127.0.0.1", port_number);
        const DWORD error = port.associate(listener, 0);
        if (error != 0) throw_error(error, "CreateIoCompletionPort");
        Workers workers(port);
        print_line("listening on ", local_address(listener));

        ULONG_PTR key = 0;
        for (std::string line; std::getline(std::cin, line);) {
            if (line.ends_with('\r')) line.pop_back();
            post_line(port, ++key, std::move(line));
        }

        workers.stop();  // packets are taken in the order of posting, so every line is out before the last stop packet
        print_stopped(port);
    });
}
