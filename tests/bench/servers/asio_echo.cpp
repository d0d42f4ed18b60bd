// An echo as Asio's documentation writes it: a coroutine for each client, on one io_context that several threads run.
// asio-echo [port] [threads] [bytes of a client's buffer]
#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <thread>
#include <utility>
#include <vector>

using asio::awaitable;
using asio::use_awaitable;
using asio::ip::tcp;

awaitable<void> echo(tcp::socket socket, std::size_t buffer_size) {
    try {
        socket.set_option(tcp::no_delay(true));
        std::vector<char> data(buffer_size);
        for (;;) {
            const std::size_t size = co_await socket.async_read_some(asio::buffer(data), use_awaitable);
            co_await asio::async_write(socket, asio::buffer(data.data(), size), use_awaitable);
        }
    } catch (const std::exception&) {
        // the client has finished, or is lost
    }
}

awaitable<void> listen(tcp::acceptor& acceptor, std::size_t buffer_size) {
    for (;;) {
        tcp::socket socket = co_await acceptor.async_accept(use_awaitable);
        // Nothing of a client runs at the same time as anything else of it, so no strand is needed.
        asio::co_spawn(acceptor.get_executor(), echo(std::move(socket), buffer_size), asio::detached);
    }
}

int main(int argc, char** argv) {
    const auto port = static_cast<std::uint16_t>(argc > 1 ? std::atoi(argv[1]) : 7007);
    const int threads = argc > 2 ? std::atoi(argv[2]) : static_cast<int>(std::thread::hardware_concurrency());
    const auto buffer_size = static_cast<std::size_t>(argc > 3 ? std::atoi(argv[3]) : 16384);
    asio::io_context io(threads);
    tcp::acceptor acceptor(io, {asio::ip::address_v4::loopback(), port});
    asio::co_spawn(io, listen(acceptor, buffer_size), asio::detached);
    std::printf("listening on 127.0.0.1:%u\n", acceptor.local_endpoint().port());
    std::fflush(stdout);

    std::vector<std::thread> running;
    for (int i = 0; i < threads; ++i)
        running.emplace_back([&] { io.run(); });
    for (std::thread& thread : running)
        thread.join();
}
