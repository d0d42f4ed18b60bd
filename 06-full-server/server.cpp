#include "06-full-server/server.hpp"

#include "01-create-port/program.hpp"

#include <algorithm>

namespace {

constexpr std::size_t longest_line = 65536;

}  // namespace

FullServer::FullServer(CompletionPort& port, const Options& options)
    : options_(options),
      is_chat_(options.app == "chat"),
      port_(port),
      buffers_(options.first_receive, options.receive_buffer),
      turns_(port, statistics_),
      listener_(port, listen_on(options.address, options.port), *this, options.accepts) {}

void FullServer::accepted(Socket socket, const Accepted& client) {
    if (stopping_) return;
    add(statistics_.accepted);
    const DWORD error = port_.associate(socket, 1);
    if (error != 0) return accept_failed(error);
    if (options_.skip_on_success) socket.skip_packets_on_success();  // if it cannot, packets come: as good, but slower
    const DWORD yes = 1;                                             // small answers go out at once
    ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, reinterpret_cast<const char*>(&yes), sizeof yes);

    const std::size_t open = connections_.size();
    // A client that is refused takes a place for as long as it takes to tell it; so these are bounded too.
    if (open >= options_.max_connections + std::max<std::size_t>(16, options_.max_connections / 8)) {
        add(statistics_.refused);
        return reset_on_close(socket);
    }
    std::string refusal;
    if (open >= options_.max_connections) {
        add(statistics_.refused);
        refusal =
            "server full: " + std::to_string(options_.max_connections) + " connections are open, try again later\n";
    }
    // Made before the connection is in the list: from there on nothing may fail until it has been started.
    const std::string line = "accepted " + client.remote;
    Connection& connection =
        connections_.add(std::make_shared<Connection>(*this, port_, std::move(socket), client.remote, refusal));
    if (options_.verbose && refusal.empty()) print_line(line);  // from now on the chat finds it
    connection.start();
}

void FullServer::accept_failed(DWORD error) noexcept {
    if (options_.verbose) std::fprintf(stderr, "accept failed: %s\n", error_name(error).c_str());
}

void FullServer::received(Connection& connection, const Piece& block) noexcept {
    if (!is_chat_) return connection.send(std::span(&block, 1));
    try {
        chat(connection, block);
    } catch (const std::bad_alloc&) {
        connection.drop(End::no_memory);
    }
}

// Every line that ends in this block goes to all others, in one send each; what follows the last of them waits.
void FullServer::chat(Connection& from, const Piece& block) {
    ByteQueue& line = from.unfinished_line();
    const auto first_end = std::find(block.bytes.begin(), block.bytes.end(), '\n');
    if (line.size() + static_cast<std::size_t>(first_end - block.bytes.begin()) >= longest_line) {
        return from.drop(End::line_too_long);
    }
    if (first_end == block.bytes.end()) return line.push(buffers_, block);

    const auto last_end = std::find(block.bytes.rbegin(), block.bytes.rend(), '\n').base();  // behind it
    const auto whole = static_cast<std::size_t>(last_end - block.bytes.begin());
    line.push(buffers_, Piece{block.buffer, block.bytes.first(whole)});
    connections_.for_each([&](Connection& to) {
        if (&to != &from) to.send(line.pieces());
    });
    line.clear();
    if (whole < block.bytes.size()) line.push(buffers_, Piece{block.buffer, block.bytes.subspan(whole)});
}

void FullServer::ended(Connection& connection, End end, DWORD error) noexcept {
    const auto limit = [&](double seconds) { return seconds_text(seconds) + " s"; };
    std::string drop_reason;
    std::string line;
    switch (end) {
        case End::idle:
            drop_reason = "idle for " + limit(options_.idle_timeout);
            break;
        case End::silent:
            drop_reason = "silent for " + limit(options_.silent_timeout);
            break;
        case End::too_slow:
            drop_reason = "too slow, more than " + std::to_string(options_.send_queue) + " bytes wait for it";
            break;
        case End::no_end:
            drop_reason = "no end from the client within " + limit(options_.drain);
            break;
        case End::line_too_long:
            drop_reason = "a line longer than " + std::to_string(longest_line) + " bytes";
            break;
        case End::no_memory:
            drop_reason = "no memory is left";
            break;
        case End::client_finished:
            line = "finished " + connection.address() + ": the client closed first";
            break;
        case End::server_stops:
            line = "closed " + connection.address() + ": the server stops";
            break;
        case End::refused:
            line = "refused " + connection.address() + ": " + std::to_string(options_.max_connections) +
                   " connections are open";
            break;
        case End::lost:
        case End::none:
            line = "lost " + connection.address() + ": " + error_name(error).c_str();
            break;
    }
    if (!drop_reason.empty()) {
        add(statistics_.dropped);
        print_line("dropped " + connection.address() + ": " + drop_reason);
    } else if (options_.verbose) {
        print_line(line);
    }
    connections_.remove(connection);
}

void FullServer::tick() {
    if (!stopping_) listener_.replenish();
    const ULONGLONG now = ::GetTickCount64();
    connections_.for_each([&](Connection& connection) { connection.tick(now); });
}

//[ stop
//? accept no more, let everyone finish, wait until nothing is pending
void FullServer::stop() {
    stopping_ = true;
    while (port_.pending() > 0 || connections_.size() > 0) {
        // Again and again, for those that a worker was just accepting. The first time counts.
        listener_.stop();
        connections_.for_each([&](Connection& connection) { connection.finish(End::server_stops, options_.drain); });
        ::Sleep(10);
        tick();
    }
}
//]

void FullServer::print_statistics() const {
    const auto number = [](std::uint64_t value) { return std::to_string(value); };
    const std::uint64_t completed = port_.completed();
    const std::uint64_t posted = port_.posted();
    print_line("statistics: " + number(connections_.size()) + " connections, " + number(statistics_.accepted) +
               " accepted, " + number(statistics_.refused) + " refused, " + number(statistics_.dropped) + " dropped, " +
               number(statistics_.bytes_received) + " bytes received, " + number(statistics_.bytes_sent) +
               " bytes sent, " + number(posted) + " operations posted, " + number(completed) + " completed, " +
               number(posted - completed) + " pending, " + number(statistics_.receive_calls) + " WSARecv calls, " +
               number(statistics_.send_calls) + " WSASend calls, " + number(statistics_.dequeue_calls) +
               " dequeue calls, " + number(statistics_.post_calls) + " post calls");
}
