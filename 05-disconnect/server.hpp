// The server that stage 05's connections belong to: it keeps the sockets that can be used again.
//
// Owner: main. It ends after its connections. Threads: any.
#pragma once

#include "02-acceptex/server.hpp"
#include "05-disconnect/disconnect.hpp"

#include <chrono>
#include <mutex>
#include <utility>
#include <vector>

using Clock = std::chrono::steady_clock;

struct Settings {
    double idle_seconds;
    double deadline_seconds;
};

class Connection;

class DisconnectServer final : public Server<Connection> {
public:
    DisconnectServer(CompletionPort& port, Socket listening, const Settings& chosen)
        : Server(port, std::move(listening)),
          settings(chosen),
          disconnect_ex(load_extension<LPFN_DISCONNECTEX>(listener().socket(), WSAID_DISCONNECTEX)) {
        spare_.reserve(64);  // all that it holds: use_again() must not allocate
    }

    const Settings settings;
    const LPFN_DISCONNECTEX disconnect_ex;
    const bool reuses_sockets = sockets_can_be_reused();

    void use_again(Socket socket) noexcept {
        const std::lock_guard lock(mutex_);
        if (spare_.size() < spare_.capacity()) spare_.push_back(std::move(socket));
    }
    Socket accept_socket(int family) override {
        const std::lock_guard lock(mutex_);
        if (spare_.empty()) return make_tcp_socket(family);
        Socket socket = std::move(spare_.back());
        spare_.pop_back();
        return socket;
    }

private:
    std::mutex mutex_;
    std::vector<Socket> spare_;
};
