// A chat in the manner of Asio's example: each session has a queue of messages, a coroutine that reads lines and one
// that writes the queue, message by message. Two things are added: the queue is bounded, as in the full server, and
// several threads run the io_context, with a strand for the room, which the sessions share. And one can be asked for:
// to write all messages that wait in one call, which the example does not. asio-chat [port] [threads] [gather]
#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read_until.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/strand.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <exception>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using asio::awaitable;
using asio::use_awaitable;
using asio::ip::tcp;

class Session;
using Room = std::set<std::shared_ptr<Session>>;

class Session : public std::enable_shared_from_this<Session> {
public:
    Session(tcp::socket socket, Room& room) : socket_(std::move(socket)), timer_(socket_.get_executor()), room_(room) {
        timer_.expires_at(std::chrono::steady_clock::time_point::max());
        socket_.set_option(tcp::no_delay(true));
    }

    static inline bool gathers = false;  // set before the first session

    void start() {
        room_.insert(shared_from_this());
        const auto spawn = [&](awaitable<void> (Session::*part)()) {
            asio::co_spawn(
                socket_.get_executor(), [self = shared_from_this(), part] { return (self.get()->*part)(); },
                asio::detached);
        };
        spawn(&Session::reader);
        spawn(&Session::writer);
    }

private:
    void deliver(const std::shared_ptr<const std::string>& message) {
        waiting_bytes_ += message->size();
        if (waiting_bytes_ > 262144) return stop();  // too slow
        messages_.push_back(message);
        timer_.cancel_one();
    }

    awaitable<void> reader() {
        try {
            for (std::string text;;) {
                const std::size_t size =
                    co_await asio::async_read_until(socket_, asio::dynamic_buffer(text, 65536), '\n', use_awaitable);
                const auto message = std::make_shared<const std::string>(text, 0, size);
                // A copy, because a session that is too slow leaves the room on the way.
                const std::vector<std::shared_ptr<Session>> all(room_.begin(), room_.end());
                for (const auto& other : all)
                    if (other.get() != this) other->deliver(message);
                text.erase(0, size);
            }
        } catch (const std::exception&) {
            stop();
        }
    }

    awaitable<void> writer() {
        try {
            while (socket_.is_open()) {
                if (messages_.empty()) {
                    asio::error_code ignored;
                    co_await timer_.async_wait(asio::redirect_error(use_awaitable, ignored));
                    continue;
                }
                const std::size_t count = gathers ? messages_.size() : 1;
                std::vector<asio::const_buffer> buffers;
                for (std::size_t i = 0; i < count; ++i)
                    buffers.push_back(asio::buffer(*messages_[i]));
                waiting_bytes_ -= co_await asio::async_write(socket_, buffers, use_awaitable);
                messages_.erase(messages_.begin(), messages_.begin() + static_cast<std::ptrdiff_t>(count));
            }
        } catch (const std::exception&) {
            stop();
        }
    }

    void stop() {
        room_.erase(shared_from_this());
        asio::error_code ignored;
        socket_.close(ignored);
        timer_.cancel();
    }

    tcp::socket socket_;
    asio::steady_timer timer_;
    Room& room_;
    std::deque<std::shared_ptr<const std::string>> messages_;
    std::size_t waiting_bytes_ = 0;
};

awaitable<void> listen(tcp::acceptor& acceptor, Room& room) {
    for (;;)
        std::make_shared<Session>(co_await acceptor.async_accept(use_awaitable), room)->start();
}

int main(int argc, char** argv) {
    const auto port = static_cast<std::uint16_t>(argc > 1 ? std::atoi(argv[1]) : 7007);
    const int threads = argc > 2 ? std::atoi(argv[2]) : static_cast<int>(std::thread::hardware_concurrency());
    Session::gathers = argc > 3 && argv[3] == std::string("gather");
    Room room;
    asio::io_context io(threads);
    tcp::acceptor acceptor(asio::make_strand(io), {asio::ip::address_v4::loopback(), port});
    asio::co_spawn(acceptor.get_executor(), listen(acceptor, room), asio::detached);
    std::printf("listening on 127.0.0.1:%u\n", acceptor.local_endpoint().port());
    std::fflush(stdout);

    std::vector<std::thread> running;
    for (int i = 0; i < threads; ++i)
        running.emplace_back([&] { io.run(); });
    for (std::thread& thread : running)
        thread.join();
}
