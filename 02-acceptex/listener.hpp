// The listener: a pool of accepts that is always posted again, whatever becomes of one client.
//
// Owner: it owns the listening socket and its accepts. Threads: accepts complete on workers; replenish and sweep are
// for any thread, stop for one. Destroy it only when no accept is pending: stop(), and let the workers drain the port.
#pragma once

#include "02-acceptex/accept.hpp"

#include <memory>
#include <utility>

// Whether an accept failed because of its client, which says nothing about the next one. Anything else (WSAEMFILE,
// WSAENOBUFS, no memory ...) is the server's own trouble, and would only be met again at once.
inline bool failed_for_its_client(DWORD error) noexcept {
    switch (error) {
        case WSAECONNRESET:
        case WSAECONNABORTED:
        case WSAENOTCONN:  // Wine, for a client that reset before AcceptEx
        case WSAENETRESET:
        case WSAENETUNREACH:
        case WSAEHOSTUNREACH:
        case WSAETIMEDOUT:
        case ERROR_NETNAME_DELETED:  // the port's own words for the same
        case ERROR_SEM_TIMEOUT:
        case ERROR_CONNECTION_ABORTED:
            return true;
    }
    return false;
}

class Listener final : public AcceptOperation::Handler {
public:
    class Handler {
    public:
        // On a worker. The socket is this call's own, and associated with no port unless accept_socket() said so. May
        // throw std::bad_alloc: that client is lost then.
        virtual void accepted(Socket socket, const Accepted& client) = 0;
        // On any thread: one accept failed, or could not be posted. The pool goes on.
        virtual void accept_failed(DWORD error) noexcept = 0;
        // On any thread, one at a time: accepts have begun to fail for the server's own reason, and wait for
        // replenish(); or, with 0, that is over.
        virtual void accepts_wait(DWORD error) noexcept = 0;
        // Where sockets for clients come from: a new one each, unless the program has some to use again.
        virtual Socket accept_socket(int family) { return make_tcp_socket(family); }

    protected:
        ~Handler() = default;
    };

    // `socket` listens. With first_data_size > 0 an accept completes only when the client has sent something, as in
    // AcceptEx's best-known use: then sweep() must be called, or silent clients take the pool for themselves.
    Listener(CompletionPort& port, Socket socket, Handler& handler, unsigned accepts, DWORD first_data_size = 0)
        : from_(std::move(socket)), handler_(handler) {
        const DWORD error = port.associate(from_.socket, 0);  // packets of AcceptEx have the listener's port and key
        if (error != 0) throw_error(error, "CreateIoCompletionPort");
        for (unsigned i = 0; i < accepts; ++i)
            accepts_.push_back(std::make_unique<AcceptOperation>(port, from_, *this, first_data_size));
    }

    // Posts every accept that is not posted. Call it to begin with, and then now and then: an accept that failed for
    // the server's own reason waits for the next call instead of spinning.
    void replenish() noexcept {
        {
            const std::lock_guard lock(mutex_);
            const bool better = accepted_ && !failed_;
            accepted_ = failed_ = false;
            if (better && std::exchange(waits_, false)) handler_.accepts_wait(0);
        }
        for (const auto& accept : accepts_) {
            if (!post(*accept)) return;
        }
    }

    // Closes the sockets of clients that have been connected for `seconds` and have sent nothing; their accepts then
    // fail and are posted again. Returns how many. Only of use with first_data_size > 0.
    unsigned sweep(DWORD seconds) noexcept {
        unsigned swept = 0;
        for (const auto& accept : accepts_)
            swept += accept->sweep(seconds) ? 1 : 0;
        return swept;
    }

    //[ stop
    // Posts no more, cancels what is posted, and closes the listening socket once nothing is: from then on whoever
    // connects is refused. Call it again until it returns true.
    //? stop every accept, cancel, and close the socket if none is posted => return true;
    bool stop() noexcept {
        if (!from_.socket) return true;
        bool idle = true;
        for (const auto& accept : accepts_)
            idle &= accept->stop();
        if (idle) {
            from_.socket = Socket();
        } else {
            ::CancelIoEx(reinterpret_cast<HANDLE>(from_.socket.get()), nullptr);  // "nothing found" is as good
        }
        return idle;
    }
    //]

    const Socket& socket() const { return from_.socket; }
    std::string address() const { return local_address(from_.socket); }

private:
    Socket accept_socket() override { return handler_.accept_socket(from_.family); }
    void accepted(Socket socket, const Accepted& client) override { handler_.accepted(std::move(socket), client); }

    //? post it again, unless it may not be posted at once
    void accept_ended(AcceptOperation& accept, DWORD error) noexcept override {
        if (may_go_on(error)) post(accept);
    }

    // Posts it unless it is posted. False: it waits for replenish().
    bool post(AcceptOperation& accept) noexcept {
        // Some clients give up before their turn. Behind more of them than a backlog holds, replenish() posts it.
        for (int attempt = 0; attempt < 256; ++attempt) {
            const DWORD error = accept.start_if_idle();
            if (error == 0) return true;
            if (!may_go_on(error)) return false;
        }
        return true;
    }

    //[ may_go_on
    // After an accept that ended, or could not be posted: may one be posted at once? Reports the failures.
    //? its client's reason or none: at once; the server's: tell the handler once, and wait => return true;
    bool may_go_on(DWORD error) noexcept {
        if (error == WSA_OPERATION_ABORTED) return true;  // swept, or cancelled by stop(), which lets none be posted
        if (error != 0) handler_.accept_failed(error);
        if (failed_for_its_client(error)) return true;
        const std::lock_guard lock(mutex_);
        (error == 0 ? accepted_ : failed_) = true;
        if (error != 0 && !std::exchange(waits_, true)) handler_.accepts_wait(error);
        return error == 0;
    }
    //]

    ListeningSocket from_;
    Handler& handler_;
    std::mutex mutex_;       // of the next three
    bool waits_ = false;     // a shortage was reported, its end not yet
    bool failed_ = false;    // since the last replenish(): an accept, for the server's own reason
    bool accepted_ = false;  // since the last replenish(): a client
    std::vector<std::unique_ptr<AcceptOperation>> accepts_;  // they live as long as the listener
};
