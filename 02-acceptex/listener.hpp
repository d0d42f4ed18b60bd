// The listener: a pool of AcceptEx operations that is always posted again, whatever becomes of one client.
//
// Owner: a Listener owns the listening socket and its accepts; a posted accept owns the socket that its client will
// get, and hands it to the Handler. Threads: accepts complete on workers; replenish, sweep and stop are for any thread.
// Destroy it only when no accept is pending: stop(), and let the workers drain the port.
#pragma once

#include "01-create-port/port.hpp"

#include <algorithm>
#include <memory>
#include <mutex>
#include <new>
#include <span>
#include <string>
#include <vector>

//[ load_extension
// Microsoft's extensions to Winsock live in the provider of a socket: WSAIoctl asks it for a function's address.
// https://learn.microsoft.com/windows/win32/api/mswsock/nf-mswsock-acceptex (under Remarks)
template <class Function>
//? ask WSAIoctl for the function => return nullptr;
Function load_extension(const Socket& socket, GUID id) {
    Function function = nullptr;
    DWORD bytes = 0;
    if (::WSAIoctl(socket.get(), SIO_GET_EXTENSION_FUNCTION_POINTER, &id, sizeof id, &function, sizeof function, &bytes,
                   nullptr, nullptr) == SOCKET_ERROR) {
        throw_error(static_cast<DWORD>(::WSAGetLastError()), "WSAIoctl(SIO_GET_EXTENSION_FUNCTION_POINTER)");
    }
    return function;
}
//]

// A client that has just been accepted. All of it is gone when Handler::accepted returns.
struct Accepted {
    std::string remote;                // its address
    bool waited_for_data;              // the listener accepts with the first block …
    std::span<const char> first_data;  // … and this is it; empty when the client sent only its FIN
};

class Listener;

// One posted AcceptEx: the socket that the next client will get, and the room for its two addresses.
class AcceptOperation final : public Operation {
public:
    AcceptOperation(CompletionPort& port, Listener& listener, DWORD first_data_size)
        : Operation(port),
          listener_(listener),
          first_data_size_(first_data_size),
          buffer_(first_data_size + 2 * address_size) {}

    // Starts it unless it is already posted. Any thread. Returns 0, or why this accept could not be posted.
    DWORD start_if_idle();
    void complete(const Packet& packet) noexcept override;
    bool sweep(DWORD seconds);

private:
    Started start();
    DWORD finish(const Packet& packet, Socket client) noexcept;

    // AcceptEx asks for 16 bytes more than the largest address of the transport.
    static constexpr DWORD address_size = sizeof(sockaddr_storage) + 16;

    Listener& listener_;
    const DWORD first_data_size_;
    std::vector<char> buffer_;  // first data, local address, remote address
    std::mutex mutex_;          // the sweep and a worker may want the socket at the same time
    bool posted_ = false;
    Socket socket_;  // taken away by the sweep, else by the completion
};

class Listener {
public:
    class Handler {
    public:
        // On a worker. The socket is this call's own, and associated with no port unless accept_socket() said so.
        virtual void accepted(Socket socket, const Accepted& client) = 0;
        // On any thread. One accept failed, or could not be posted; the pool goes on.
        virtual void accept_failed(DWORD error) noexcept = 0;
        // Where sockets for clients come from: a new one each, unless the program has some to use again.
        virtual Socket accept_socket(int family) { return make_tcp_socket(family); }

    protected:
        ~Handler() = default;
    };

    // `socket` listens. With first_data_size > 0 an accept completes only when the client has sent something, as in
    // AcceptEx's best-known use: then sweep() must be called, or silent clients take the pool for themselves.
    Listener(CompletionPort& port, Socket socket, Handler& handler, unsigned accepts, DWORD first_data_size = 0)
        : socket_(std::move(socket)),
          accept_ex_(load_extension<LPFN_ACCEPTEX>(socket_, WSAID_ACCEPTEX)),
          get_addresses_(load_extension<LPFN_GETACCEPTEXSOCKADDRS>(socket_, WSAID_GETACCEPTEXSOCKADDRS)),
          handler_(handler) {
        WSAPROTOCOL_INFOW protocol;
        int length = sizeof protocol;
        if (::getsockopt(socket_.get(), SOL_SOCKET, SO_PROTOCOL_INFOW, reinterpret_cast<char*>(&protocol), &length) ==
            SOCKET_ERROR) {
            throw_error(static_cast<DWORD>(::WSAGetLastError()), "getsockopt(SO_PROTOCOL_INFO)");
        }
        family_ = protocol.iAddressFamily;
        const DWORD error = port.associate(socket_, 0);  // packets of AcceptEx go to the listener's port, with its key
        if (error != 0) throw_error(error, "CreateIoCompletionPort");
        for (unsigned i = 0; i < accepts; ++i) {
            accepts_.push_back(std::make_unique<AcceptOperation>(port, *this, first_data_size));
        }
    }

    // Posts every accept that is not posted. Call it to begin with, and then now and then: an accept that could not be
    // posted (WSAEMFILE, WSAENOBUFS) waits for the next call instead of spinning.
    void replenish() noexcept {
        for (const auto& accept : accepts_) {
            if (!post(*accept)) return;
        }
    }

    // Closes the sockets of clients that have been connected for `seconds` and have sent nothing; their accepts then
    // fail and are posted again. Returns how many. Only of use with first_data_size > 0.
    unsigned sweep(DWORD seconds) {
        unsigned swept = 0;
        for (const auto& accept : accepts_)
            swept += accept->sweep(seconds) ? 1 : 0;
        return swept;
    }

    // Posts no more and cancels what is posted. An accept that was just being posted can slip through: call it again
    // until the port has nothing pending.
    void stop() noexcept {
        stopping_ = true;
        ::CancelIoEx(reinterpret_cast<HANDLE>(socket_.get()), nullptr);  // "nothing found" is as good
    }

    const Socket& socket() const { return socket_; }
    std::string address() const { return local_address(socket_); }

private:
    friend class AcceptOperation;

    bool post(AcceptOperation& accept) noexcept {
        if (stopping_) return false;
        const DWORD error = accept.start_if_idle();
        const bool failed_before = failing_.exchange(error != 0);
        if (error != 0 && !failed_before) handler_.accept_failed(error);  // told once, not ten times a second
        return error == 0;
    }

    Socket socket_;
    const LPFN_ACCEPTEX accept_ex_;
    const LPFN_GETACCEPTEXSOCKADDRS get_addresses_;
    Handler& handler_;
    int family_ = AF_UNSPEC;
    std::atomic<bool> stopping_{false};
    std::atomic<bool> failing_{false};
    std::vector<std::unique_ptr<AcceptOperation>> accepts_;  // they live as long as the listener
};

inline DWORD AcceptOperation::start_if_idle() {
    const std::lock_guard lock(mutex_);
    // WSAECONNRESET: that client gave up before its turn, which says nothing about the next one.
    for (int attempt = 0; !posted_ && attempt < 16; ++attempt) {
        posted_ = true;
        const Started started = start();
        if (started.how != Start::failed) return 0;
        posted_ = false;
        socket_ = Socket();
        if (started.error != WSAECONNRESET) return started.error;
    }
    return 0;
}

//[ start
//? a socket for the client, AcceptEx, three outcomes => begin(); return failed(ERROR_CALL_NOT_IMPLEMENTED);
inline Started AcceptOperation::start() {
    begin();
    socket_ = listener_.handler_.accept_socket(listener_.family_);
    if (!socket_) return failed(static_cast<DWORD>(::WSAGetLastError()));
    std::fill(buffer_.begin(), buffer_.end(), '\0');  // see finish()
    DWORD bytes = 0;
    // Until the packet: this operation, buffer_ and both sockets. AcceptEx returns a BOOL, not an int.
    const BOOL accepted = listener_.accept_ex_(listener_.socket_.get(), socket_.get(), buffer_.data(), first_data_size_,
                                               address_size, address_size, &bytes, this);
    const DWORD error = accepted ? 0 : static_cast<DWORD>(::WSAGetLastError());
    if (error == 0 || error == ERROR_IO_PENDING) return pending();  // for a client that was waiting too, a packet comes
    return failed(error);
}
//]

//[ complete
//? take the socket, finish() it, and post this accept again
inline void AcceptOperation::complete(const Packet& packet) noexcept {
    Listener& listener = listener_;
    Socket client;
    {
        const std::lock_guard lock(mutex_);
        client = std::move(socket_);
    }
    if (client) {  // else swept
        const DWORD error = finish(packet, std::move(client));
        if (error != 0 && !listener.stopping_) listener.handler_.accept_failed(error);
    }
    {
        const std::lock_guard lock(mutex_);
        posted_ = false;
    }
    listener.post(*this);
}
//]

// Makes the socket a whole one and hands it over. Returns the error of this one client; its socket is closed then.
//? SO_UPDATE_ACCEPT_CONTEXT, the addresses, then Handler::accepted => return ERROR_CALL_NOT_IMPLEMENTED;
inline DWORD AcceptOperation::finish(const Packet& packet, Socket client) noexcept {
    const SOCKET listening = listener_.socket_.get();
    //[ finish
    if (!packet.succeeded) return socket_error(listening);
    // Until then shutdown, getpeername and others do not work on it.
    // https://learn.microsoft.com/windows/win32/winsock/sol-socket-socket-options
    if (::setsockopt(client.get(), SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, reinterpret_cast<const char*>(&listening),
                     sizeof listening) == SOCKET_ERROR) {
        return static_cast<DWORD>(::WSAGetLastError());
    }
    sockaddr* local = nullptr;
    sockaddr* remote = nullptr;
    int local_length = 0;
    int remote_length = 0;
    // The three sizes must be those that AcceptEx was given. The addresses point into buffer_.
    listener_.get_addresses_(buffer_.data(), first_data_size_, address_size, address_size, &local, &local_length,
                             &remote, &remote_length);
    //]
    // Wine 8.0 writes no addresses when a client's first data is its FIN. The socket itself knows.
    sockaddr_storage peer{};
    if (remote_length == 0) {
        remote = reinterpret_cast<sockaddr*>(&peer);
        remote_length = sizeof peer;
        ::getpeername(client.get(), remote, &remote_length);
    }
    try {
        listener_.handler_.accepted(std::move(client),
                                    Accepted{address_text(remote, remote_length), first_data_size_ > 0,
                                             std::span(buffer_.data(), packet.bytes)});
    } catch (const std::bad_alloc&) {
        return ERROR_NOT_ENOUGH_MEMORY;  // that client is lost, the server is not
    }
    return 0;
}

//[ sweep
//? close the socket of a client that is connected and silent for too long => return false;
inline bool AcceptOperation::sweep(DWORD seconds) {
    const std::lock_guard lock(mutex_);
    if (!socket_) return false;
    DWORD connected = 0;  // seconds; all ones while no client has come
    int length = sizeof connected;
    if (::getsockopt(socket_.get(), SOL_SOCKET, SO_CONNECT_TIME, reinterpret_cast<char*>(&connected), &length) ==
            SOCKET_ERROR ||
        connected == 0xFFFFFFFF || connected < seconds) {
        return false;
    }
    socket_ = Socket();
    return true;
}
//]
