// The full server: its listener, its clients, what it does with their bytes, and how it stops.
//
// Owner: main owns it, after the port and before the workers. Threads: accepted, received and ended run on workers;
// start, tick and stop belong to main.
#pragma once

#include "02-acceptex/connections.hpp"
#include "02-acceptex/listener.hpp"
#include "06-full-server/buffer.hpp"
#include "06-full-server/connection.hpp"
#include "06-full-server/options.hpp"
#include "06-full-server/statistics.hpp"

class FullServer final : public Listener::Handler {
public:
    FullServer(CompletionPort& port, const Options& options);

    // Begins to accept.
    void start() { listener_.replenish(); }
    // Ten times a second: time-outs, and accepts that could not be posted.
    void tick();
    // Accepts no more, lets every client finish within the time that the options give, then drops the rest. Returns
    // when no connection is left and nothing is pending.
    void stop();

    std::string address() const { return listener_.address(); }
    void print_statistics() const;

    // For the connections.
    const Options& options() const { return options_; }
    BufferPool& buffers() { return buffers_; }
    TurnQueue& turns() { return turns_; }
    Statistics& statistics() { return statistics_; }
    void received(Connection& connection, const Piece& block) noexcept;
    void ended(Connection& connection, End end, DWORD error) noexcept;

private:
    void accepted(Socket socket, const Accepted& client) override;
    void accept_failed(DWORD error) noexcept override;
    void accepts_wait(DWORD) noexcept override {}

    void chat(Connection& from, const Piece& block);

    const Options options_;
    const bool is_chat_;
    CompletionPort& port_;
    Statistics statistics_;
    BufferPool buffers_;
    TurnQueue turns_;
    Connections<Connection> connections_;
    std::atomic<bool> stopping_{false};
    Listener listener_;
};
