#include "06-full-server/connection.hpp"

#include "06-full-server/server.hpp"

#include <algorithm>
#include <array>

namespace {

// The most that one WSASend takes: its progress shows only when all of it is done. A client that needs longer than
// --idle-timeout for so little is idle indeed.
constexpr std::size_t most_in_flight = 65536;

}  // namespace

Connection::Connection(FullServer& server, CompletionPort& port, Socket socket, std::string address,
                       Places::Place place, std::unique_ptr<Session> session)
    : server_(server),
      socket_(std::move(socket)),
      address_(std::move(address)),
      place_(std::move(place)),
      silent_deadline_(after(server.options().silent_timeout)),
      receive_size_(server.buffers()),
      session_(std::move(session)),
      receive_(port, *this),
      send_(port, *this) {}

void Connection::start() noexcept {
    const std::lock_guard lock(mutex_);
    open();
    ask_for_turn();
}

void Connection::refuse(std::string_view why) noexcept {
    const std::lock_guard lock(mutex_);
    open();
    try {
        queue_.push(server_.buffers(), why);
    } catch (const std::bad_alloc&) {
        return drop_locked(End::no_memory);
    }
    end_locked(End::refused);
}

bool Connection::send(std::span<const Piece> pieces) noexcept {
    const std::lock_guard lock(mutex_);
    if (end_ != End::none) return false;
    if (is_full_locked()) {  // the sender cannot be made to wait, so past the limit the client is dropped
        drop_locked(queue_.size() >= server_.options().send_queue ? End::too_slow : End::no_memory);
        return false;
    }
    try {
        for (const Piece& piece : pieces)
            queue_.push(server_.buffers(), piece);
    } catch (const std::bad_alloc&) {
        return drop_locked(End::no_memory), false;
    }
    offer_ = true;  // a session that waits for this goes on
    if (!sending_ || has_offer()) ask_for_turn();
    return true;
}

bool Connection::send(std::string_view text) noexcept {
    try {
        ByteQueue copy;
        copy.push(server_.buffers(), text);
        return send(copy.pieces());
    } catch (const std::bad_alloc&) {
        const std::lock_guard lock(mutex_);
        return drop_locked(End::no_memory), false;
    }
}

void Connection::stop(double seconds) noexcept {
    const std::lock_guard lock(mutex_);
    set_deadline(seconds);  // also for a client that has finished already, and does not take what is left for it
    if (end_ != End::none || server_stops_) return;
    server_stops_ = true;
    offer_ = true;  // the session is asked whether it still has work
    ask_for_turn();
}

void Connection::tick(ULONGLONG now) noexcept {
    const std::lock_guard lock(mutex_);
    // A send that completed short goes on by itself, and so perhaps behind the cancel of drop_locked().
    if (closing_ && sending_) cancel_pending(socket_);
    const double idle = server_.options().idle_timeout;
    if (idle > 0 && now >= active_ + milliseconds(idle)) return drop_locked(End::idle);
    if (now >= silent_deadline_) return drop_locked(End::silent);
    if (now >= deadline_) return drop_locked(End::no_end);
    if (now < timer_ || end_ != End::none) return;
    timer_ = no_time;
    timed_out_ = true;
    ask_for_turn();
}

std::size_t Connection::queued() const noexcept {
    const std::lock_guard lock(mutex_);
    return queue_.size();
}

void Connection::received(DWORD bytes, DWORD error) noexcept {
    {
        std::unique_lock lock(mutex_);
        account_received(bytes, error);
        go_on(lock);
    }
    release();
}

//[ sent
//? account for it, send on, and perhaps go on
void Connection::sent(DWORD bytes, DWORD error) noexcept {
    {
        std::unique_lock lock(mutex_);
        account_sent(bytes, error);
        pump();
        // Once it is half empty, and not at the first byte of room: each change of direction costs a call.
        if (is_half_empty()) go_on(lock);
    }
    release();
}
//]

//[ turn
//? receive, if nothing is against it, and go on => return 0;
DWORD Connection::take_turn() noexcept {
    DWORD handled = 0;
    {
        std::unique_lock lock(mutex_);
        turn_asked_ = false;
        if (may_receive()) receive();
        handled = go_on(lock);
    }
    release();
    return handled;
}
//]

// Gives the session what is due, sends what is queued, and asks for a turn if something is left to do in it. Returns
// how many bytes that was about.
DWORD Connection::go_on(std::unique_lock<std::mutex>& lock) noexcept {
    const std::size_t offered = rest_.bytes.size();
    serve(lock);
    const std::size_t answered = queue_.size();
    pump();
    if (may_receive() || (has_offer() && !serving_)) ask_for_turn();
    return static_cast<DWORD>(std::max(offered, answered));
}

void Connection::ask_for_turn() noexcept {
    if (turn_asked_) return;
    turn_asked_ = true;
    pending_.add();
    server_.turns().push(*this);
}

// Not while a receive is pending, the session has bytes left to use, too much waits for the client, or the server
// stops.
bool Connection::may_receive() const noexcept {
    if (reading_ || closing_ || client_finished_ || !rest_.bytes.empty()) return false;
    return end_ != End::none || (!server_stops_ && !is_full_locked());
}

//[ receive
//? start the receive, counted; account at once for one that is not pending
void Connection::receive() noexcept {
    if (!has_buffer()) return drop_locked(End::no_memory);
    reading_ = true;
    pending_.add();
    add(server_.statistics().receive_calls);
    const Started started = receive_.start(socket_, buffer_.bytes());  // buffer_ stays until received()
    if (started.how == Start::pending) return;
    (void)pending_.remove();  // not the last: the turn is counted
    account_received(started.bytes, started.error);
}
//]

// The buffer of the last receive, if it may be used again; else another.
bool Connection::has_buffer() noexcept {
    BufferPool& pool = server_.buffers();
    const std::size_t size = pool.is_short() ? pool.smaller(0) : receive_size_.next();
    if (buffer_ && !buffer_.shared() && buffer_.size() == size) return true;
    buffer_ = BufferRef();  // given back first: it may be the one that we get
    buffer_ = pool.get(size);
    return static_cast<bool>(buffer_);
}

void Connection::account_received(DWORD bytes, DWORD error) noexcept {
    reading_ = false;
    if (error != 0) return lose(error);
    offer_ = true;
    client_finished_ = bytes == 0;
    if (bytes == 0) return;
    add(server_.statistics().bytes_received, bytes);
    active_ = ::GetTickCount64();
    silent_deadline_ = no_time;
    receive_size_.received(bytes);
    // Once we have finished, what the client still says is thrown away.
    if (end_ == End::none) rest_ = Piece{buffer_, buffer_.bytes().first(bytes)};
}

// Sends what is queued, in order, one send at a time; and our FIN when the last byte is out and no more will come.
//? send what is queued, one send at a time; our FIN when it was the last
void Connection::pump() noexcept {
    //[ pump
    while (!sending_ && !closing_ && !queue_.empty()) {
        std::array<WSABUF, SendOperation::most_buffers> buffers;
        const std::size_t count = queue_.gather(std::span(buffers).first(server_.options().gather), most_in_flight);
        sending_ = true;
        pending_.add();
        add(server_.statistics().send_calls);
        const Started started = send_.start(socket_, std::span(buffers).first(count));  // queue_ keeps the bytes
        if (started.how == Start::pending) return;
        (void)pending_.remove();  // not the last: this thread is counted, by its operation or its turn
        account_sent(started.bytes, started.error);
    }
    //]
    if (end_ != End::none && queue_.empty() && !closing_ && !fin_sent_) {
        finish_sending(socket_);
        fin_sent_ = true;
        set_deadline(server_.options().drain);
    }
}

void Connection::account_sent(DWORD bytes, DWORD error) noexcept {
    sending_ = false;
    if (bytes > 0) {
        queue_.pop(bytes);
        active_ = ::GetTickCount64();
        add(server_.statistics().bytes_sent, bytes);
        if (is_half_empty()) offer_ = true;
    }
    if (error != 0) lose(error);
}

void Connection::open() noexcept {
    end_ = End::none;
    pending_.add();          // that it is open
    server_.started(*this);  // with the lock: who reads that it has come may send to it, and it cannot have ended yet
}

// The earliest one counts.
void Connection::set_deadline(double seconds) noexcept {
    deadline_ = std::min(deadline_, ::GetTickCount64() + milliseconds(seconds));
}

// It is no longer open. A worker does the rest, in its turn.
void Connection::end_locked(End end) noexcept {
    end_ = end;
    ask_for_turn();
    (void)pending_.remove();  // that it was open; not the last, for the turn is counted
}

void Connection::drop_locked(End end) noexcept {
    if (closing_ || end_ == End::not_started) return;
    closing_ = true;
    if (end_ == End::none) {
        end_locked(end);
    } else if (is_drop(end)) {
        end_ = end;
    }
    cancel_pending(socket_);  // what is pending completes, and the last of it closes the socket
}

void Connection::lose(DWORD error) noexcept {
    if (!closing_) error_ = error;
    drop_locked(End::lost);
}

void Connection::release() noexcept {
    if (!pending_.remove()) return;
    {
        const std::lock_guard lock(mutex_);
        closing_ = true;  // whoever still finds this connection leaves it alone
    }
    session_.reset();
    place_.reset();
    // FIN would say "that was all" to a client that has not got all.
    if (end_ == End::too_slow || end_ == End::no_end || end_ == End::no_memory) reset_on_close(socket_);
    const bool is_session = end_ == End::session_closes || end_ == End::session_drops;
    const ErrorName error = error_name(error_);
    server_.ended(*this, end_, end_ == End::lost ? error : is_session ? why_ : std::string_view());
}
