// The send operation: WSASend of several buffers at once, carried on until every byte has been taken.
//
// Owner: the connection owns the operation, and must keep it, the bytes and the socket until the send has ended.
// Threads: one send at a time on a socket; two that overlap may mix their bytes on the wire.
#pragma once

#include "01-create-port/port.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <span>

class SendOperation final : public Operation {
public:
    class Handler {
    public:
        // The send ended. With error 0 all bytes have been taken, which says nothing of what the peer has received.
        virtual void sent(DWORD bytes, DWORD error) noexcept = 0;

    protected:
        ~Handler() = default;
    };

    static constexpr std::size_t most_buffers = 16;

    SendOperation(CompletionPort& port, Handler& handler) : Operation(port), handler_(handler) {}

    // Sends 1 to most_buffers buffers, in their order, as one piece. The WSABUFs are copied, the bytes are not.
    // done: all is sent, and the handler will not be called. pending: it will be, perhaps already on another worker, so
    // touch nothing of the connection after it. failed: it will not be.
    // https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsasend
    Started start(const Socket& socket, std::span<const WSABUF> buffers) {
        assert(!buffers.empty() && buffers.size() <= most_buffers);
        std::copy(buffers.begin(), buffers.end(), buffers_.begin());
        first_ = 0;
        count_ = buffers.size();
        sent_ = 0;
        socket_ = socket.get();
        skips_packets_ = socket.skips_packets();
        return send_rest();
    }

    //[ complete
    //? go on if the send was short, else tell the handler
    void complete(const Packet& packet) noexcept override {
        if (!packet.succeeded) return handler_.sent(sent_, socket_error(socket_));
        // Rarely, a send completes short: the rest is sent before anyone hears of it.
        if (!advance(packet.bytes)) {
            const Started started = send_rest();
            if (started.how == Start::pending) return;
            if (started.how == Start::failed) return handler_.sent(sent_, started.error);
        }
        handler_.sent(sent_, 0);
    }
    //]

private:
    //[ send_rest
    //? call WSASend for what is left; three outcomes => begin(); return failed(ERROR_CALL_NOT_IMPLEMENTED);
    Started send_rest() {
        for (;;) {
            begin();
            const bool skips_packets = skips_packets_;  // read now: after the call this operation may be gone
            DWORD bytes = 0;
            // Until the packet: this operation, the bytes behind buffers_ and the socket.
            const int result =
                ::WSASend(socket_, &buffers_[first_], static_cast<DWORD>(count_ - first_), &bytes, 0, this, nullptr);
            const DWORD error = result == 0 ? 0 : static_cast<DWORD>(::WSAGetLastError());
            if (error != 0 && error != WSA_IO_PENDING) return failed(error);
            if (error != 0 || !skips_packets) return pending();  // at once or later, a packet comes
            const Started finished = done(bytes);
            if (advance(bytes)) return {finished.how, sent_, 0};
        }
    }
    //]

    // Moves past `bytes` that have been sent. True when nothing is left.
    //[ advance
    //? move past what was sent; true when nothing is left => return true;
    bool advance(DWORD bytes) {
        sent_ += bytes;
        while (first_ < count_ && bytes >= buffers_[first_].len)
            bytes -= buffers_[first_++].len;
        if (first_ == count_) return true;
        buffers_[first_].buf += bytes;
        buffers_[first_].len -= bytes;
        return false;
    }
    //]

    Handler& handler_;
    SOCKET socket_ = INVALID_SOCKET;
    bool skips_packets_ = false;
    std::array<WSABUF, most_buffers> buffers_;
    std::size_t first_ = 0;
    std::size_t count_ = 0;
    DWORD sent_ = 0;
};
