// One run of the load generator: its options, the event loop, what is measured, and what every client needs.
//
// Threads: one, so nothing here is locked. The clients are coroutines on run.io; a client that meets an error ends, and
// the error is counted.
#pragma once

#include "histogram.hpp"
#include "processes.hpp"

#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <exception>
#include <iostream>
#include <ostream>
#include <stdexcept>
#include <string>
#include <vector>

using asio::awaitable;
using asio::use_awaitable;
using asio::ip::tcp;
using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

struct Options {
    std::string workload;
    std::string label = "server";
    std::string address = "127.0.0.1";
    std::uint16_t port = 7007;
    std::size_t connections = 64;
    std::size_t size = 64;    // of a message, in bytes
    std::size_t depth = 1;    // messages on their way at once
    std::size_t noisy = 2;    // fairness: connections that send without pause
    std::size_t senders = 1;  // fan-out: clients that send, besides `connections` that only receive
    double warmup = 1;        // seconds
    double seconds = 5;
    std::vector<int> pids;  // of which processes to read what /proc tells; the first is the server's
};

struct Run {
    Options options;
    asio::io_context io{1};
    bool measuring = false;
    Histogram latency;        // nanoseconds
    std::uint64_t count = 0;  // what the workload counts: messages, connections, deliveries
    std::uint64_t errors = 0;
    double seconds = 0;             // how long was measured
    std::uint64_t noisy_bytes = 0;  // fairness: what came back to those that send without pause
    double server_writes = -1;      // write() calls of the server, in the time that was measured
    MemoryPerConnection memory;

    // One message has come back, or whatever the workload counts.
    void answered(Clock::time_point since, Clock::time_point now) {
        if (!measuring) return;
        ++count;
        latency.add(static_cast<std::uint64_t>((now - since) / 1ns));
    }

    void failed(const std::string& what) {
        if (++errors <= 3) std::cerr << options.label << ", " << options.workload << ": " << what << std::endl;
    }

    // Starts a client.
    template <class Ended>
    void spawn(awaitable<void> client, Ended ended) {
        asio::co_spawn(io, std::move(client), [this, ended](std::exception_ptr error) {
            try {
                if (error) std::rethrow_exception(error);
            } catch (const std::exception& reason) {
                failed(reason.what());
            }
            ended();
        });
    }
    void spawn(awaitable<void> client) {
        spawn(std::move(client), [] {});
    }
};

inline awaitable<void> pause(Clock::duration time) {
    asio::steady_timer timer(co_await asio::this_coro::executor, time);
    co_await timer.async_wait(use_awaitable);
}

inline Clock::duration seconds(double count) {
    return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(count));
}

// Opens when it has been passed as often as was said; whoever waits for it has a deadline.
class Gate {
public:
    Gate(asio::io_context& io, std::size_t count) : timer_(io, Clock::time_point::max()), left_(count) {}

    void pass() {
        if (left_ > 0 && --left_ == 0) timer_.cancel();
    }

    awaitable<void> wait(Clock::duration patience = 60s) {
        if (left_ == 0) co_return;
        timer_.expires_after(patience);
        asio::error_code ignored;
        co_await timer_.async_wait(asio::redirect_error(use_awaitable, ignored));
        if (left_ > 0) throw std::runtime_error(std::to_string(left_) + " connections were not served in time");
    }

private:
    asio::steady_timer timer_;
    std::size_t left_;
};

// What one connection sends and must get back: endless bytes from a table whose period is a prime, so that a byte that
// is lost, doubled or out of place shifts all that follow, and is seen. Connections start at different places.
class Stream {
public:
    static constexpr std::size_t most = 65536;  // in one call

    explicit Stream(std::size_t connection) : sent_(connection * 7919), received_(sent_) {}

    // The next bytes to send.
    asio::const_buffer next(std::size_t size) {
        const auto bytes = asio::buffer(table().data() + sent_ % period, size);
        sent_ += size;
        return bytes;
    }

    // Throws if these are not the next to come back.
    void check(const char* bytes, std::size_t size) {
        if (std::memcmp(bytes, table().data() + received_ % period, size) != 0) {
            throw std::runtime_error("what came back is not what was sent");
        }
        received_ += size;
    }

private:
    static constexpr std::size_t period = 65521;

    static const std::vector<char>& table() {
        static const std::vector<char> bytes = [] {
            std::vector<char> made(period + most);
            std::uint32_t state = 1;
            for (std::size_t i = 0; i < made.size(); ++i) {
                state = state * 1664525 + 1013904223;
                made[i] = i < period ? static_cast<char>(state >> 24) : made[i - period];
            }
            return made;
        }();
        return bytes;
    }

    std::uint64_t sent_;
    std::uint64_t received_;
};

inline awaitable<tcp::socket> open_connection(Run& run) {
    tcp::socket socket(run.io);
    co_await socket.async_connect({asio::ip::make_address(run.options.address), run.options.port}, use_awaitable);
    socket.set_option(tcp::no_delay(true));
    co_return socket;
}

// One message out and back: whoever gets it is served, not only in the listener's backlog.
inline awaitable<void> one_echo(tcp::socket& socket, Stream& stream, std::vector<char>& buffer) {
    co_await asio::async_write(socket, stream.next(buffer.size()), use_awaitable);
    co_await asio::async_read(socket, asio::buffer(buffer), use_awaitable);
    stream.check(buffer.data(), buffer.size());
}

// Lets the clients run for the warm-up, then measures. Thousands need longer until each has had its turn.
inline awaitable<void> measure(Run& run) {
    co_await pause(seconds(run.options.warmup) * std::max<std::size_t>(1, run.options.connections / 1000));
    const double writes = write_calls(run.options.pids);
    run.measuring = true;
    const auto start = Clock::now();
    co_await pause(seconds(run.options.seconds));
    run.measuring = false;
    run.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (writes >= 0) run.server_writes = write_calls(run.options.pids) - writes;
}
