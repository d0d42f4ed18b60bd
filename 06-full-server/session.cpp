// The side of a connection that its session sees.
#include "06-full-server/connection.hpp"
#include "06-full-server/server.hpp"

#include <stdexcept>
#include <utility>

bool ConnectionHandle::send(std::string_view text) const noexcept {
    const std::shared_ptr<Connection> connection = connection_.lock();
    return connection != nullptr && connection->send(text);
}

void ConnectionHandle::close(std::string_view why) const noexcept {
    const std::shared_ptr<Connection> connection = connection_.lock();
    if (connection != nullptr) connection->close(why);
}

void Connection::answer(const Piece& piece) {
    const std::lock_guard lock(mutex_);
    if (end_ == End::none) queue_.push(server_.buffers(), piece);
}

void Connection::answer(std::string_view text) {
    const std::lock_guard lock(mutex_);
    if (end_ == End::none) queue_.push(server_.buffers(), text);
}

bool Connection::is_full() const noexcept {
    const std::lock_guard lock(mutex_);
    return is_full_locked();
}

void Connection::close(std::string_view why) noexcept {
    const std::lock_guard lock(mutex_);
    if (end_ != End::none) return;
    why_ = why;
    end_locked(End::session_closes);
}

void Connection::drop(std::string_view why) noexcept {
    const std::lock_guard lock(mutex_);
    if (closing_) return;
    why_ = why;
    drop_locked(End::session_drops);
}

void Connection::set_timer(double seconds) noexcept {
    const std::lock_guard lock(mutex_);
    timer_ = after(seconds);
    timed_out_ = false;  // what was asked for before may have come, and wait for the session's call to return
}

// Calls the session for all that is due. One call at a time: a thread that finds another one in the session leaves what
// is due to that one, which looks again. Without the lock, for a session sends to other connections, and two that did
// so to each other would wait for ever.
//[ serve
//? as long as it is open and something is due, call the session, without the lock
void Connection::serve(std::unique_lock<std::mutex>& lock) noexcept {
    if (serving_) return;
    serving_ = true;
    const auto call = [&](const auto& what) {
        lock.unlock();
        const End failed = server_.call_application(address_, what);
        lock.lock();
        if (failed != End::none) drop_locked(failed);
    };
    while (end_ == End::none) {
        if (!std::exchange(greeted_, true)) {
            call([&] { session_->started(*this); });
        } else if (std::exchange(timed_out_, false)) {
            offer_ = true;  // a session may have waited for this
            call([&] { session_->timer(*this); });
        } else if (!has_offer()) {
            break;
        } else if (offer_ = false; !rest_.bytes.empty()) {
            std::size_t used = 0;
            call([&] {
                const std::size_t count = session_->received(*this, rest_);
                if (count > rest_.bytes.size()) throw std::logic_error("it has used more bytes than it was given");
                used = count;
            });
            rest_.bytes = rest_.bytes.subspan(used);
            if (rest_.bytes.empty()) {
                rest_ = Piece();
                if (server_stops_) offer_ = true;  // which comes next
            }
        } else {
            const End end = client_finished_ ? End::client_finished : End::server_stops;
            bool all_answered = false;
            call([&] {
                all_answered = end == End::client_finished ? session_->finished(*this) : session_->stopping(*this);
            });
            if (all_answered && end_ == End::none) end_locked(end);
        }
    }
    if (end_ != End::none) rest_ = Piece();
    serving_ = false;
}
//]

// Bytes, the client's end or the stop are to be offered to the session.
bool Connection::has_offer() const noexcept {
    const bool is_any = !rest_.bytes.empty() || client_finished_ || server_stops_;
    return offer_ && is_any && end_ == End::none && !is_full_locked();
}

bool Connection::is_full_locked() const noexcept {
    if (queue_.size() >= server_.options().send_queue) return true;
    // When buffers are short, a little may still wait: who holds many of them must not have all others dropped.
    return queue_.size() > server_.options().first_receive && server_.buffers().is_short();
}

bool Connection::is_half_empty() const noexcept { return queue_.size() <= server_.options().send_queue / 2; }
