#include "06-full-server/server.hpp"

#include "01-create-port/program.hpp"

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>

namespace {

std::unique_ptr<Application> make_application(const std::string& name, FullServer& server) {
    const auto found = std::ranges::find(applications(), name, &ApplicationEntry::name);
    return found->make(server);  // read_options() has looked that there is one
}

// Whether sockets like this one are handles of the system, with no layered provider between. Only then is it sure that
// one that skips packets puts none on the port.
// https://learn.microsoft.com/windows/win32/api/winbase/nf-winbase-setfilecompletionnotificationmodes (under Remarks)
bool is_system_handle(const Socket& socket) {
    WSAPROTOCOL_INFOW protocol;
    int length = sizeof protocol;
    return ::getsockopt(socket.get(), SOL_SOCKET, SO_PROTOCOL_INFOW, reinterpret_cast<char*>(&protocol), &length) !=
               SOCKET_ERROR &&
           (protocol.dwServiceFlags1 & XP1_IFS_HANDLES) != 0;
}

}  // namespace

FullServer::FullServer(CompletionPort& port, const Options& options, Log& log)
    : options_(options),
      port_(port),
      report_(log, options_, statistics_),
      buffers_(options.first_receive, options.receive_buffer, options.buffer_memory),
      turns_(port, statistics_),
      served_(options.max_connections),
      refused_(std::max<std::size_t>(16, options.max_connections / 8)),
      refusal_("server full: " + std::to_string(options.max_connections) + " connections are open, try again later\n"),
      application_(make_application(options.app, *this)),
      listener_(port, listen_on(options.address, options.port), *this, options.accepts),
      skips_packets_(options.skip_on_success && is_system_handle(listener_.socket())) {}

void FullServer::accepted(Socket socket, const Accepted& client) {
    if (stopping_) return;
    const DWORD error = port_.associate(socket, 1);
    if (error != 0) return accept_failed(error);
    if (skips_packets_) socket.skip_packets_on_success();  // if it cannot, packets come: as good, but slower
    const DWORD yes = 1;                                   // small answers go out at once
    ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, reinterpret_cast<const char*>(&yes), sizeof yes);

    Places::Place place = served_.take();
    const bool full = !place;
    if (full) {
        add(statistics_.refused);
        place = refused_.take();  // it takes a while to tell them, so these are bounded too
        if (!place) return turn_away(socket);
    }
    std::unique_ptr<Session> session;  // who is refused needs none
    if (!full) {
        const End failed = call_application(client.remote, [&] {
            session = application_->make_session();
            if (session == nullptr) throw std::logic_error("it has made no session");
        });
        if (failed != End::none) {
            report_.ended(client.remote, failed, "");
            return turn_away(socket);
        }
    }
    const auto connection = std::make_shared<Connection>(*this, port_, std::move(socket), client.remote,
                                                         std::move(place), std::move(session));
    connections_.add(connection);
    add(statistics_.accepted);
    if (full) return connection->refuse(refusal_);
    connection->start();
}

// Came, and is sent away without a word.
void FullServer::turn_away(const Socket& socket) noexcept {
    add(statistics_.accepted);
    add(statistics_.left);
    reset_on_close(socket);
}

void FullServer::accept_failed(DWORD error) noexcept { report_.accept_failed(error); }

void FullServer::ended(Connection& connection, End end, std::string_view why) noexcept {
    report_.ended(connection.address(), end, why);
    add(statistics_.left);
    connections_.remove(connection);
}

void FullServer::tick() {
    if (!stopping_) listener_.replenish();
    const ULONGLONG now = ::GetTickCount64();
    connections_.for_each([&](Connection& connection) { connection.tick(now); });
    turns_.wake();
    report_.tick(now);
}

void FullServer::report_period() {
    std::size_t queued = 0;
    connections_.for_each([&](Connection& connection) { queued += connection.queued(); });
    report_.period(connections_.size(), queued, buffers_.in_use());
    if (options_.verbose) report_accounts();
}

//[ stop
//? accept no more, let everyone finish, wait until nothing is pending
void FullServer::stop(double drain) {
    stopping_ = true;
    // Again and again, for those that a worker was just accepting.
    while (!listener_.stop() || port_.pending() > 0 || connections_.size() > 0) {
        connections_.for_each([&](Connection& connection) { connection.stop(drain); });
        ::Sleep(10);
        tick();
    }
}
//]
