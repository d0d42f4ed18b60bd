// A listener and a Connection for each of its clients: what stages 02 to 05 have in common.
//
// A Connection is made from (Server&, CompletionPort&, Socket, const Accepted&) and has start(), which posts its first
// operation, and cancel(), which cancels what is pending; both may find the connection gone when they return.
// Threads: accepted and ended run on workers; start, tick and stop belong to main.
#pragma once

#include "02-acceptex/connections.hpp"
#include "02-acceptex/listener.hpp"

#include <memory>
#include <string>

template <class Connection>
class Server : public Listener::Handler {
public:
    Server(CompletionPort& port, Socket listening, unsigned accepts = 8, DWORD first_data_size = 0)
        : port_(port), listener_(port, std::move(listening), *this, accepts, first_data_size) {}

    Listener& listener() { return listener_; }
    Connections<Connection>& connections() { return connections_; }
    bool stopping() const { return stopping_; }

    void accepted(Socket socket, const Accepted& client) override {
        // The key names the handle. Each of our operations knows its connection, so any key but the listener's will do.
        const DWORD error = port_.associate(socket, 1);
        if (error != 0) return accept_failed(error);
        connections_.add(std::make_unique<Connection>(*this, port_, std::move(socket), client)).start();
    }

    void accept_failed(DWORD error) noexcept override {
        std::fprintf(stderr, "accept failed: %s\n", error_name(error).c_str());
    }

    // The connection has nothing pending and starts nothing more. Destroys it.
    void ended(Connection& connection) noexcept { connections_.remove(connection); }

    // Ends everything that is pending. Cancels again and again, because a worker may just have looked at stopping() and
    // be about to start one more operation.
    void stop() {
        stopping_ = true;
        while (port_.pending() > 0) {
            listener_.stop();
            connections_.for_each([](Connection& connection) { connection.cancel(); });
            ::Sleep(10);
        }
    }

private:
    CompletionPort& port_;
    std::atomic<bool> stopping_{false};
    Connections<Connection> connections_;
    Listener listener_;
};
