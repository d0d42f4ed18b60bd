// A listener and a Connection for each of its clients: what stages 02 to 05 have in common.
//
// A Connection is made from (Server&, CompletionPort&, Socket, const Accepted&) and has start(), which posts its first
// operation, and cancel(), which cancels what is pending. While either runs the connection may end, but is not
// destroyed. Threads: accepted, with the start() in it, runs on workers; stop belongs to main; ended may
// be called by any.
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
        if (error != 0) return print_failed(error);
        const auto connection = std::make_shared<Connection>(*this, port_, std::move(socket), client);
        connections_.add(connection);
        connection->start();
    }

    void accept_failed(DWORD error) noexcept override {
        if (failed_for_its_client(error)) print_failed(error);
    }
    void accepts_wait(DWORD error) noexcept override {
        if (error == 0) {
            std::fputs("accepting goes on\n", stderr);
        } else {
            std::fprintf(stderr, "accepting waits: %s; trying again ten times a second\n", error_name(error).c_str());
        }
    }

    // The connection has nothing pending and starts nothing more. Takes it out of the list, which destroys it.
    void ended(Connection& connection) noexcept { connections_.remove(connection); }

    // Ends everything that is pending. Cancels again and again, because a worker may just have looked at stopping() and
    // be about to start one more operation.
    void stop() {
        stopping_ = true;
        while (!listener_.stop() || port_.pending() > 0) {
            connections_.for_each([](Connection& connection) { connection.cancel(); });
            ::Sleep(10);
        }
    }

private:
    static void print_failed(DWORD error) noexcept {
        std::fprintf(stderr, "accept failed: %s\n", error_name(error).c_str());
    }

    CompletionPort& port_;
    std::atomic<bool> stopping_{false};
    Connections<Connection> connections_;
    Listener listener_;
};
