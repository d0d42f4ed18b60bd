// How a connection ends: the count that says when, the ways to bring it about, and DisconnectEx.
//
// The rule of this stage: closesocket comes only when nothing is pending on the socket. To end a connection, start
// nothing more (and cancel what is pending, if it must be soon); the last completion closes it.
#pragma once

#include "02-acceptex/listener.hpp"

#include <atomic>
#include <cassert>

// Counts what still needs a connection: each operation in flight, and each thread that is about to start one.
// Any thread may add and remove. Add while something stays counted, or at zero if nobody else can start anything.
//[ pending_count
class PendingCount {
public:
    ~PendingCount() { assert(count_ == 0); }
    void add() { ++count_; }
    // True for exactly one caller: the last. It must close the connection, as nobody else will come.
    [[nodiscard]] bool remove() { return --count_ == 0; }

private:
    std::atomic<int> count_{0};
};
//]

// Every operation pending on the socket completes soon: as cancelled, or as it was about to. Their packets still come.
// That nothing was found is no error: it had completed already.
// https://learn.microsoft.com/windows/win32/fileio/cancelioex-func
inline void cancel_pending(const Socket& socket) { ::CancelIoEx(reinterpret_cast<HANDLE>(socket.get()), nullptr); }

// Our FIN, after everything that was sent. The peer may go on sending.
inline void finish_sending(const Socket& socket) { ::shutdown(socket.get(), SD_SEND); }

// Closing this socket will send RST and throw away what is unsent, instead of FIN.
// https://learn.microsoft.com/windows/win32/winsock/graceful-shutdown-linger-options-and-socket-closure-2
//? make closesocket send RST
inline void reset_on_close(const Socket& socket) {
    const linger at_once{1, 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, reinterpret_cast<const char*>(&at_once), sizeof at_once);
}

// Whether DisconnectEx(TF_REUSE_SOCKET) really makes a socket ready for the next AcceptEx. Windows does so; Wine says
// that it did, and then nothing can be sent to the next client.
inline bool sockets_can_be_reused() {
    return ::GetProcAddress(::GetModuleHandleW(L"ntdll.dll"), "wine_get_version") == nullptr;
}

// DisconnectEx with flags 0 sends our FIN, as finish_sending does, but tells by a packet when it is done. With
// TF_REUSE_SOCKET it completes when the socket is as good as a new one, which saves making one.
// Owner: the connection, with the socket, until the packet. Not for a socket that skips packets: Wine loses this one.
// https://learn.microsoft.com/windows/win32/api/mswsock/nc-mswsock-lpfn_disconnectex
class DisconnectOperation final : public Operation {
public:
    class Handler {
    public:
        virtual void disconnected(DWORD error) noexcept = 0;

    protected:
        ~Handler() = default;
    };

    DisconnectOperation(CompletionPort& port, Handler& handler) : Operation(port), handler_(handler) {}

    //? call DisconnectEx, and tell its three outcomes apart => begin(); return failed(ERROR_CALL_NOT_IMPLEMENTED);
    Started start(const Socket& socket, LPFN_DISCONNECTEX disconnect_ex, DWORD flags) {
        begin();
        socket_ = socket.get();
        const BOOL disconnected = disconnect_ex(socket_, this, flags, 0);  // until the packet: this and the socket
        const DWORD error = disconnected ? 0 : static_cast<DWORD>(::WSAGetLastError());
        if (error == 0 || error == WSA_IO_PENDING) return pending();  // at once or later, a packet comes
        return failed(error);
    }

    void complete(const Packet& packet) noexcept override {
        handler_.disconnected(packet.succeeded ? 0 : socket_error(socket_));
    }

private:
    Handler& handler_;
    SOCKET socket_ = INVALID_SOCKET;
};
