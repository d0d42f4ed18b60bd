// The workloads against an echo: each is a coroutine that returns when it has measured.
#pragma once

#include "run.hpp"

#include <algorithm>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

struct EchoClient {
    tcp::socket socket;
    Stream stream;
};
using EchoClients = std::vector<std::unique_ptr<EchoClient>>;

// Opens connections until there are as many as the options say, sixteen at a time, each proved by one echo.
inline awaitable<void> open_clients(Run& run, EchoClients& clients, std::size_t wanted) {
    std::size_t started = clients.size();
    const auto lane = [&]() -> awaitable<void> {
        while (started < wanted) {
            Stream stream(started++);
            std::vector<char> message(run.options.size);
            tcp::socket socket = co_await open_connection(run);
            co_await one_echo(socket, stream, message);
            clients.push_back(std::make_unique<EchoClient>(EchoClient{std::move(socket), stream}));
        }
    };
    constexpr std::size_t lanes = 16;
    Gate gate(run.io, lanes);
    for (std::size_t i = 0; i < lanes; ++i)
        run.spawn(lane(), [&] { gate.pass(); });
    co_await gate.wait();
    if (clients.size() < wanted) throw std::runtime_error("not every connection could be opened");
}

// Keeps `depth` messages on their way, for ever.
inline awaitable<void> ping_pong(Run& run, EchoClient& client) {
    const std::size_t size = run.options.size;
    const std::size_t depth = run.options.depth;
    std::vector<char> buffer(std::min(size * depth, Stream::most));
    std::vector<Clock::time_point> sent(depth, Clock::now());
    std::size_t oldest = 0;    // in `sent`
    std::size_t received = 0;  // bytes of the oldest message
    std::size_t free = depth;  // messages that may be sent now
    for (;;) {
        while (free > 0) {
            // As many in one write as there are: the load generator must not be what limits the rate.
            const std::size_t batch = std::min(free, Stream::most / size);
            co_await asio::async_write(client.socket, client.stream.next(batch * size), use_awaitable);
            free -= batch;
        }
        while (free == 0) {
            const std::size_t count = co_await client.socket.async_read_some(asio::buffer(buffer), use_awaitable);
            client.stream.check(buffer.data(), count);
            const auto now = Clock::now();
            for (received += count; received >= size; received -= size) {
                run.answered(sent[oldest], now);
                sent[oldest] = now;
                oldest = (oldest + 1) % depth;
                ++free;
            }
        }
    }
}

inline awaitable<void> ping_pong(Run& run) {
    EchoClients clients;
    co_await open_clients(run, clients, run.options.connections);
    for (auto& client : clients)
        run.spawn(ping_pong(run, *client));
    co_await measure(run);
    run.io.stop();
    co_await pause(1s);  // never returns: the clients must not outlive their connections
}

inline awaitable<void> send_without_pause(EchoClient& client) {
    for (;;)
        co_await asio::async_write(client.socket, client.stream.next(16384), use_awaitable);
}

inline awaitable<void> receive_all(Run& run, EchoClient& client) {
    std::vector<char> buffer(Stream::most);
    for (;;) {
        const std::size_t count = co_await client.socket.async_read_some(asio::buffer(buffer), use_awaitable);
        client.stream.check(buffer.data(), count);
        if (run.measuring) run.noisy_bytes += count;
    }
}

// A message every 50 ms. The time counts from when it should have been sent: a client that is kept waiting sends late,
// and that must not hide how long it waited.
inline awaitable<void> send_now_and_then(Run& run, EchoClient& client, Clock::time_point due) {
    asio::steady_timer timer(run.io);
    std::vector<char> message(run.options.size);
    for (;; due += 50ms) {
        timer.expires_at(due);
        co_await timer.async_wait(use_awaitable);
        co_await one_echo(client.socket, client.stream, message);
        run.answered(due, Clock::now());
    }
}

// Some connections send without pause; the others, that seldom send, are measured.
inline awaitable<void> fairness(Run& run) {
    EchoClients clients;
    co_await open_clients(run, clients, run.options.connections);
    for (std::size_t i = 0; i < clients.size(); ++i) {
        if (i < run.options.noisy) {
            run.spawn(send_without_pause(*clients[i]));
            run.spawn(receive_all(run, *clients[i]));
        } else {
            run.spawn(send_now_and_then(run, *clients[i], Clock::now() + Clock::duration(50ms) * i / clients.size()));
        }
    }
    co_await measure(run);
    run.io.stop();
    co_await pause(1s);  // as above
}

// Connect, one echo, both ends close, again.
inline awaitable<void> churn(Run& run, std::size_t number, const bool& stop) {
    std::vector<char> message(run.options.size);
    Stream stream(number);
    while (!stop) {
        const auto start = Clock::now();
        tcp::socket socket = co_await open_connection(run);
        co_await one_echo(socket, stream, message);
        socket.shutdown(tcp::socket::shutdown_send);
        asio::error_code error;
        co_await asio::async_read(socket, asio::buffer(message), asio::redirect_error(use_awaitable, error));
        if (error != asio::error::eof) throw std::runtime_error("the server did not close: " + error.message());
        run.answered(start, Clock::now());
    }
}

inline awaitable<void> churn(Run& run) {
    bool stop = false;
    Gate ended(run.io, run.options.connections);
    for (std::size_t i = 0; i < run.options.connections; ++i)
        run.spawn(churn(run, i, stop), [&] { ended.pass(); });
    co_await measure(run);
    stop = true;
    co_await ended.wait();
}

// All at once: connect and one echo.
inline awaitable<void> accept_burst(Run& run) {
    EchoClients clients;
    Gate served(run.io, run.options.connections);
    run.measuring = true;
    const auto start = Clock::now();
    const auto client = [&](std::size_t number) -> awaitable<void> {
        Stream stream(number);
        std::vector<char> message(run.options.size);
        tcp::socket socket = co_await open_connection(run);
        co_await one_echo(socket, stream, message);
        run.answered(start, Clock::now());
        clients.push_back(std::make_unique<EchoClient>(EchoClient{std::move(socket), stream}));
    };
    for (std::size_t i = 0; i < run.options.connections; ++i)
        run.spawn(client(i), [&] { served.pass(); });
    co_await served.wait();
    run.seconds = std::chrono::duration<double>(Clock::now() - start).count();
}

// Opens connections, each with one echo, and holds them: what do they cost in memory?
inline awaitable<void> idle(Run& run) {
    EchoClients clients;
    co_await open_clients(run, clients, 1);  // what only the first connection makes the server load is not counted
    const MemoryUse before(run.options.pids);
    run.measuring = true;
    const auto start = Clock::now();
    co_await open_clients(run, clients, run.options.connections);
    run.count = clients.size();
    run.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    co_await pause(seconds(run.options.seconds));
    run.memory = MemoryUse(run.options.pids).since(before, run.options.connections - 1);
}
