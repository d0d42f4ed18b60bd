// The accept operation: AcceptEx into a socket that waits for the next client, and what makes that socket a whole one.
//
// Owner: a listener owns its accepts and the listening socket; a posted accept owns the socket that its client will
// get. Threads: it completes on a worker; everything else is for any thread.
#pragma once

#include "01-create-port/port.hpp"

#include <algorithm>
#include <mutex>
#include <new>
#include <span>
#include <string>
#include <vector>

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

// A listening socket, and what its accepts need to know of it.
struct ListeningSocket {
    explicit ListeningSocket(Socket listening)
        : socket(std::move(listening)),
          accept_ex(load_extension<LPFN_ACCEPTEX>(socket, WSAID_ACCEPTEX)),
          get_addresses(load_extension<LPFN_GETACCEPTEXSOCKADDRS>(socket, WSAID_GETACCEPTEXSOCKADDRS)) {
        WSAPROTOCOL_INFOW protocol;
        int length = sizeof protocol;
        if (::getsockopt(socket.get(), SOL_SOCKET, SO_PROTOCOL_INFOW, reinterpret_cast<char*>(&protocol), &length) ==
            SOCKET_ERROR) {
            throw_error(static_cast<DWORD>(::WSAGetLastError()), "getsockopt(SO_PROTOCOL_INFO)");
        }
        family = protocol.iAddressFamily;
    }

    Socket socket;
    const LPFN_ACCEPTEX accept_ex;
    const LPFN_GETACCEPTEXSOCKADDRS get_addresses;
    int family = AF_UNSPEC;
};

// A client that has just been accepted. All of it is gone when Handler::accepted returns.
struct Accepted {
    std::string remote;                // its address
    bool waited_for_data;              // the listener accepts with the first block ...
    std::span<const char> first_data;  // ... and this is it; empty when the client sent only its FIN
};

class AcceptOperation final : public Operation {
public:
    class Handler {
    public:
        // A socket for the next client, fresh or as good as fresh; empty if WSAGetLastError says why.
        virtual Socket accept_socket() = 0;
        // On a worker. May throw std::bad_alloc: that client is lost then.
        virtual void accepted(Socket socket, const Accepted& client) = 0;
        // On a worker: the accept has ended, with its client handed over (0) or with an error, WSA_OPERATION_ABORTED if
        // it was swept or cancelled. It is not posted now.
        virtual void accept_ended(AcceptOperation& accept, DWORD error) noexcept = 0;

    protected:
        ~Handler() = default;
    };

    // With first_data_size > 0 it completes only when its client has sent something too.
    AcceptOperation(CompletionPort& port, const ListeningSocket& from, Handler& handler, DWORD first_data_size)
        : Operation(port),
          from_(from),
          handler_(handler),
          first_data_size_(first_data_size),
          buffer_(first_data_size + 2 * address_size) {}

    // Starts it unless it is posted or stopped. Returns 0, or why it could not be posted.
    DWORD start_if_idle() noexcept {
        const std::lock_guard lock(mutex_);
        if (posted_ || stopped_) return 0;
        const Started started = start();
        posted_ = started.how != Start::failed;
        if (posted_) return 0;
        socket_ = Socket();
        return started.error;
    }

    // It is never started again. True if it is not posted, now and for ever.
    bool stop() noexcept {
        const std::lock_guard lock(mutex_);
        stopped_ = true;
        return !posted_;
    }

    //[ complete
    //? take the socket and finish() it, or it was swept; no longer posted; tell the handler
    void complete(const Packet& packet) noexcept override {
        Socket client;
        {
            const std::lock_guard lock(mutex_);
            client = std::move(socket_);
        }
        const bool swept = !client;
        const DWORD error = swept ? WSA_OPERATION_ABORTED : finish(packet, std::move(client));
        {
            const std::lock_guard lock(mutex_);
            posted_ = false;  // from here on it may be started, but not before finish() has read its buffer
        }
        handler_.accept_ended(*this, error);
    }
    //]

    //[ sweep
    //? close the socket of a client that is connected and silent for too long => return false;
    bool sweep(DWORD seconds) noexcept {
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

private:
    //[ start
    //? a socket for the client, AcceptEx, three outcomes => begin(); return failed(ERROR_CALL_NOT_IMPLEMENTED);
    Started start() noexcept {
        begin();
        socket_ = handler_.accept_socket();
        if (!socket_) return failed(static_cast<DWORD>(::WSAGetLastError()));
        std::fill(buffer_.begin(), buffer_.end(), '\0');  // see finish()
        DWORD bytes = 0;
        // Until the packet: this operation, buffer_ and the listener. AcceptEx returns a BOOL, not an int.
        const BOOL accepted = from_.accept_ex(from_.socket.get(), socket_.get(), buffer_.data(), first_data_size_,
                                              address_size, address_size, &bytes, this);
        const DWORD error = accepted ? 0 : static_cast<DWORD>(::WSAGetLastError());
        if (error == 0 || error == ERROR_IO_PENDING) return pending();  // a packet comes, even for one that was waiting
        return failed(error);
    }
    //]

    // Makes the socket a whole one and hands it over. Returns 0, or why this client is lost; its socket is closed then.
    //? SO_UPDATE_ACCEPT_CONTEXT, the addresses, then Handler::accepted => return ERROR_CALL_NOT_IMPLEMENTED;
    DWORD finish(const Packet& packet, Socket client) noexcept {
        const SOCKET listening = from_.socket.get();
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
        from_.get_addresses(buffer_.data(), first_data_size_, address_size, address_size, &local, &local_length,
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
            handler_.accepted(std::move(client), Accepted{address_text(remote, remote_length), first_data_size_ > 0,
                                                          std::span(buffer_.data(), packet.bytes)});
        } catch (const std::bad_alloc&) {
            return ERROR_NOT_ENOUGH_MEMORY;  // that client is lost, the server is not
        }
        return 0;
    }

    // AcceptEx asks for 16 bytes more than the largest address of the transport.
    static constexpr DWORD address_size = sizeof(sockaddr_storage) + 16;

    const ListeningSocket& from_;
    Handler& handler_;
    const DWORD first_data_size_;
    std::vector<char> buffer_;  // first data, local address, remote address
    std::mutex mutex_;          // the timer and a worker may want the next three at the same time
    bool posted_ = false;
    bool stopped_ = false;
    Socket socket_;  // taken away by the sweep, else by the completion
};
