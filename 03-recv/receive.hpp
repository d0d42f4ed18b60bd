// The receive operation: WSARecv into one buffer, and its three outcomes.
//
// Owner: the connection owns the operation and the buffer, and must keep both, and its socket, until the receive has
// ended. Threads: one receive at a time; start it from any thread, its end is reported on a worker.
#pragma once

#include "01-create-port/port.hpp"

#include <span>

class ReceiveOperation final : public Operation {
public:
    class Handler {
    public:
        // The receive ended. error is 0 or Winsock's number. With error 0, zero bytes mean that the peer has finished
        // sending: its FIN, after which nothing more will ever come.
        virtual void received(DWORD bytes, DWORD error) noexcept = 0;

    protected:
        ~Handler() = default;
    };

    ReceiveOperation(CompletionPort& port, Handler& handler) : Operation(port), handler_(handler) {}

    // `buffer` must not be empty: a receive of zero bytes means something else.
    // done: the bytes are there now, and the handler will not be called. pending: it will be, perhaps already on
    // another worker, so touch nothing of the connection after it. failed: it will not be.
    // https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsarecv
    //[ start
    //? call WSARecv, and tell its three outcomes apart => begin(); return failed(ERROR_CALL_NOT_IMPLEMENTED);
    Started start(const Socket& socket, std::span<char> buffer) {
        begin();
        socket_ = socket.get();
        const bool skips_packets = socket.skips_packets();  // read now: after the call the socket may be gone
        WSABUF where{static_cast<ULONG>(buffer.size()), buffer.data()};  // copied by the call; what it points to is not
        DWORD bytes = 0;
        DWORD flags = 0;
        // Until the packet: this operation, the buffer and the socket.
        const int result = ::WSARecv(socket_, &where, 1, &bytes, &flags, this, nullptr);
        const DWORD error = result == 0 ? 0 : static_cast<DWORD>(::WSAGetLastError());
        if (error == 0 && skips_packets) return done(bytes);
        if (error == 0 || error == WSA_IO_PENDING) return pending();  // at once or later, a packet comes
        return failed(error);
    }
    //]

    //[ complete
    //? tell the handler how many bytes, or which error: socket_error(socket_) knows it
    void complete(const Packet& packet) noexcept override {
        handler_.received(packet.bytes, packet.succeeded ? 0 : socket_error(socket_));
    }
    //]

private:
    Handler& handler_;
    SOCKET socket_ = INVALID_SOCKET;
};
