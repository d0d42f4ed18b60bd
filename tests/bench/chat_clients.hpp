// The workload against a chat: some clients send lines, and every client must get each line of the others, those of one
// sender in their order.
#pragma once

#include "run.hpp"

#include <charconv>
#include <cstdint>
#include <cstring>
#include <deque>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

class FanOut {
public:
    explicit FanOut(Run& run)
        : run_(run), others_(run.options.connections + run.options.senders - 1), joined_(run.io, others_) {
        for (std::size_t i = 0; i < run.options.senders; ++i)
            senders_.emplace_back(run.io);
    }

    awaitable<void> measure() {
        for (std::size_t i = 0; i <= others_; ++i)
            run_.spawn(client(i));
        co_await joined_.wait();
        all_joined_ = true;
        co_await ::measure(run_);
        run_.io.stop();
        co_await pause(1s);  // never returns: the clients must not outlive this
    }

private:
    static constexpr std::size_t ring = 1024;
    static constexpr std::size_t index_digits = 4, number_digits = 12;

    struct Sender {
        explicit Sender(asio::io_context& io) : wake(io) {}

        asio::steady_timer wake;  // cancelled when it may go on
        std::vector<std::string> lines = std::vector<std::string>(ring);
        std::vector<std::size_t> arrivals = std::vector<std::size_t>(ring);
        std::vector<Clock::time_point> sent = std::vector<Clock::time_point>(ring);
        std::uint64_t next = 0;
        std::uint64_t counted_from = std::numeric_limits<std::uint64_t>::max();
        std::uint64_t delivered = 0;  // every line before it is with every other client
    };

    // The first ones send too.
    awaitable<void> client(std::size_t index) {
        const auto socket = std::make_shared<tcp::socket>(co_await open_connection(run_));
        if (index < senders_.size()) run_.spawn(send(socket, index));
        co_await receive(*socket, index);
    }

    // Whose line it is, its number, and bytes that differ from those of the lines before it.
    const std::string& make_line(std::size_t index) {
        Sender& sender = senders_[index];
        const std::uint64_t number = sender.next++;
        const auto digits = [](std::uint64_t value, std::size_t width) {
            const std::string text = std::to_string(value);
            return std::string(width - text.size(), '0') + text;
        };
        std::string text = digits(index, index_digits) + digits(number, number_digits);
        while (text.size() + 1 < run_.options.size)
            text += static_cast<char>('a' + (number + text.size()) % 26);
        sender.arrivals[number % ring] = 0;
        sender.sent[number % ring] = Clock::now();
        return sender.lines[number % ring] = text + '\n';
    }

    // Until every client has had a line, now and then one of the first sender, so that each can tell where it joined;
    // then as many as may be on their way at once.
    awaitable<void> send(std::shared_ptr<tcp::socket> socket, std::size_t index) {
        Sender& sender = senders_[index];
        while (!all_joined_) {
            if (index == 0) co_await asio::async_write(*socket, asio::buffer(make_line(index)), use_awaitable);
            co_await pause(250ms);
        }
        sender.counted_from = sender.delivered = sender.next;
        for (;;) {
            std::string lines;
            while (sender.next - sender.delivered < run_.options.depth)
                lines += make_line(index);
            if (!lines.empty()) co_await asio::async_write(*socket, asio::buffer(lines), use_awaitable);
            if (sender.next - sender.delivered < run_.options.depth) continue;
            sender.wake.expires_at(Clock::time_point::max());
            asio::error_code ignored;
            co_await sender.wake.async_wait(asio::redirect_error(use_awaitable, ignored));
        }
    }

    awaitable<void> receive(tcp::socket& socket, std::size_t index) {
        const std::size_t size = run_.options.size;
        std::vector<std::uint64_t> expected(senders_.size());  // the number of each sender's next line
        std::vector<char> buffer(16384 + size);
        bool joined = false;
        for (std::size_t have = 0;;) {
            have += co_await socket.async_read_some(asio::buffer(buffer) + have, use_awaitable);
            const auto now = Clock::now();
            const char* line = buffer.data();
            for (; have >= size; line += size, have -= size) {
                const auto from = static_cast<std::size_t>(read_number(line, index_digits));
                const std::uint64_t number = read_number(line + index_digits, number_digits);
                if (!joined) {
                    expected[0] = number;
                    joined = true;
                    joined_.pass();
                }
                if (from >= senders_.size() || from == index || number != expected[from]++ ||
                    senders_[from].lines[number % ring] != std::string_view(line, size)) {
                    throw std::runtime_error("what arrived is not the line that was sent");
                }
                arrived(senders_[from], number, now);
            }
            std::memmove(buffer.data(), line, have);
        }
    }

    static std::uint64_t read_number(const char* text, std::size_t width) {
        std::uint64_t number = std::numeric_limits<std::uint64_t>::max();
        std::from_chars(text, text + width, number);
        return number;
    }

    void arrived(Sender& sender, std::uint64_t number, Clock::time_point now) {
        if (number < sender.counted_from) return;
        run_.answered(sender.sent[number % ring], now);
        if (++sender.arrivals[number % ring] < others_) return;
        sender.delivered = number + 1;
        sender.wake.cancel();
    }

    Run& run_;
    const std::size_t others_;  // who must get a line: all but its sender
    Gate joined_;
    bool all_joined_ = false;
    std::deque<Sender> senders_;
};

inline awaitable<void> fan_out(Run& run) {
    FanOut clients(run);
    co_await clients.measure();
}
