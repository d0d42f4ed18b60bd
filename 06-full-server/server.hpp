// The full server: its listener, its clients, the application that serves them, and how it stops.
//
// Owner: main owns it, after the port and before the workers. Threads: accepted and what connections call run on
// workers; start, tick and stop belong to main; connections() is for any.
#pragma once

#include "02-acceptex/connections.hpp"
#include "02-acceptex/listener.hpp"
#include "06-full-server/application.hpp"
#include "06-full-server/buffer.hpp"
#include "06-full-server/connection.hpp"
#include "06-full-server/log.hpp"
#include "06-full-server/options.hpp"
#include "06-full-server/places.hpp"
#include "06-full-server/report.hpp"
#include "06-full-server/statistics.hpp"

#include <atomic>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <string_view>

class FullServer final : public Listener::Handler {
public:
    FullServer(CompletionPort& port, const Options& options, Log& log);

    // Begins to accept.
    void start() { listener_.replenish(); }
    // Once a second: time-outs, accepts that could not be posted, and what is to be reported.
    void tick();
    void report_period();
    // Accepts no more, closes the listening socket, lets every session answer what has come and every client finish,
    // within `drain` seconds, then drops the rest. A session's call that blocks is waited for. Returns when no
    // connection is left and nothing is pending.
    void stop(double drain);
    void report_accounts() { report_.accounts(connections_.size(), port_); }

    std::string address() const { return listener_.address(); }

    // For the application too.
    Connections<Connection>& connections() { return connections_; }
    BufferPool& buffers() { return buffers_; }

    // For the connections.
    const Options& options() const { return options_; }
    TurnQueue& turns() { return turns_; }
    Statistics& statistics() { return statistics_; }
    // Makes a call of the application. Whatever it throws ends this client only, in the way that is returned.
    template <class Call>
    End call_application(std::string_view address, const Call& call) noexcept {
        try {
            call();
            return End::none;
        } catch (const std::bad_alloc&) {
            return End::no_memory;
        } catch (const std::exception& error) {
            report_.session_failed(address, error.what());
        } catch (...) {
            report_.session_failed(address, "what it threw is no std::exception");
        }
        return End::session_failed;
    }
    void started(const Connection& connection) noexcept { report_.started(connection.address()); }
    void ended(Connection& connection, End end, std::string_view why) noexcept;

private:
    void accepted(Socket socket, const Accepted& client) override;
    void turn_away(const Socket& socket) noexcept;
    void accept_failed(DWORD error) noexcept override;
    void accepts_wait(DWORD error) noexcept override { report_.accepts_wait(error); }

    const Options options_;
    CompletionPort& port_;
    Statistics statistics_;
    Report report_;
    BufferPool buffers_;
    TurnQueue turns_;
    Places served_;
    Places refused_;
    Connections<Connection> connections_;
    const std::string refusal_;                       // the line for a client over the cap
    const std::unique_ptr<Application> application_;  // may use all of the above, as long as it lives
    std::atomic<bool> stopping_{false};
    Listener listener_;
    const bool skips_packets_;
};
