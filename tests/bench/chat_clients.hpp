// The workload against a chat: one client sends lines, every other must get each of them, in order.
#pragma once

#include "run.hpp"

#include <limits>

class FanOut {
public:
    explicit FanOut(Run& run)
        : run_(run),
          joined_(run.io, run.options.connections),
          wake_(run.io),
          lines_(ring),
          arrivals_(ring),
          sent_(ring) {}

    awaitable<void> measure() {
        for (std::size_t i = 0; i < run_.options.connections; ++i)
            run_.spawn(receiver());
        run_.spawn(sender());
        co_await joined_.wait();
        all_joined_ = true;
        co_await ::measure(run_);
        run_.io.stop();
        co_await pause(1s);  // never returns: the clients must not outlive this
    }

private:
    static constexpr std::size_t ring = 1024;
    static constexpr std::size_t digits = 16;

    // A number, and bytes that differ from those of the lines before it.
    std::string line(std::uint64_t number) const {
        std::string text = std::to_string(number);
        text.insert(0, digits - text.size(), '0');
        while (text.size() + 1 < run_.options.size)
            text += static_cast<char>('a' + (number + text.size()) % 26);
        return text + '\n';
    }

    // Until every receiver has had a line, now and then one, so that each can tell where it joined; then as many as
    // may be on their way at once.
    awaitable<void> sender() {
        tcp::socket socket = co_await open_connection(run_);
        std::uint64_t next = 0;
        const auto make_next = [&]() -> const std::string& {
            const std::size_t place = next % ring;
            arrivals_[place] = 0;
            sent_[place] = Clock::now();
            return lines_[place] = line(next++);
        };
        while (!all_joined_) {
            co_await asio::async_write(socket, asio::buffer(make_next()), use_awaitable);
            co_await pause(250ms);
        }
        counted_from_ = delivered_ = next;
        for (;;) {
            std::string lines;
            while (next - delivered_ < run_.options.depth)
                lines += make_next();
            if (!lines.empty()) co_await asio::async_write(socket, asio::buffer(lines), use_awaitable);
            if (next - delivered_ < run_.options.depth) continue;
            wake_.expires_at(Clock::time_point::max());
            asio::error_code ignored;
            co_await wake_.async_wait(asio::redirect_error(use_awaitable, ignored));
        }
    }

    awaitable<void> receiver() {
        tcp::socket socket = co_await open_connection(run_);
        std::vector<char> buffer(16384);
        co_await asio::async_read(socket, asio::buffer(buffer, run_.options.size), use_awaitable);
        std::uint64_t number = std::stoull(std::string(buffer.data(), digits));
        check(buffer.data(), run_.options.size, number, 0);
        ++number;
        joined_.pass();
        std::size_t have = 0;  // bytes of line `number`
        for (;;) {
            std::size_t left = co_await socket.async_read_some(asio::buffer(buffer), use_awaitable);
            const auto now = Clock::now();
            for (const char* at = buffer.data(); left > 0;) {
                const std::size_t part = std::min(left, run_.options.size - have);
                check(at, part, number, have);
                at += part;
                left -= part;
                have += part;
                if (have < run_.options.size) break;
                arrived(number++, now);
                have = 0;
            }
        }
    }

    void check(const char* bytes, std::size_t size, std::uint64_t number, std::size_t offset) const {
        const std::string& expected = lines_[number % ring];
        if (expected.size() != run_.options.size || std::memcmp(bytes, expected.data() + offset, size) != 0) {
            throw std::runtime_error("what arrived is not the line that was sent");
        }
    }

    void arrived(std::uint64_t number, Clock::time_point now) {
        if (number < counted_from_) return;
        run_.answered(sent_[number % ring], now);
        if (++arrivals_[number % ring] < run_.options.connections) return;
        delivered_ = number + 1;
        wake_.cancel();
    }

    Run& run_;
    Gate joined_;
    asio::steady_timer wake_;  // cancelled when the sender may go on
    bool all_joined_ = false;
    std::vector<std::string> lines_;
    std::vector<std::size_t> arrivals_;
    std::vector<Clock::time_point> sent_;
    std::uint64_t counted_from_ = std::numeric_limits<std::uint64_t>::max();
    std::uint64_t delivered_ = 0;  // every line before it is with every receiver
};

inline awaitable<void> fan_out(Run& run) {
    FanOut clients(run);
    co_await clients.measure();
}
