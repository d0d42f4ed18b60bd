#include "06-full-server/connection.hpp"

#include "06-full-server/server.hpp"

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
      born_(::GetTickCount64()),
      active_(born_),
      deadline_(no_time),
      timer_(no_time),
      place_(std::move(place)),
      receive_size_(server.buffers()),
      session_(std::move(session)),
      receive_(port, *this),
      send_(port, *this) {}

void Connection::start() noexcept {
    pending_.add();  // this thread, until release()
    {
        const std::lock_guard lock(mutex_);
        end_ = End::none;
        pending_.add();  // that it is open
        ask_for_turn();
    }
    server_.started(*this);
    release();
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
        return drop(End::no_memory), false;
    }
}

void Connection::finish(End end, double seconds) noexcept {
    const std::lock_guard lock(mutex_);
    // Also for a client that has finished already, and does not take what is left for it.
    if (deadline_ == no_time) deadline_ = ::GetTickCount64() + milliseconds(seconds);
    if (end_ == End::none) end_locked(end);
}

void Connection::drop(End end) noexcept {
    const std::lock_guard lock(mutex_);
    drop_locked(end);
}

void Connection::tick(ULONGLONG now) noexcept {
    const Options& options = server_.options();
    if (options.idle_timeout > 0 && now >= active_ + milliseconds(options.idle_timeout)) return drop(End::idle);
    if (options.silent_timeout > 0 && !heard_ && now >= born_ + milliseconds(options.silent_timeout)) {
        return drop(End::silent);
    }
    if (now >= deadline_) return drop(End::no_end);
    ULONGLONG due = timer_;
    if (now < due || !timer_.compare_exchange_strong(due, no_time)) return;
    const std::lock_guard lock(mutex_);
    timed_out_ = true;
    if (end_ == End::none) ask_for_turn();
}

std::size_t Connection::queued() const noexcept {
    const std::lock_guard lock(mutex_);
    return queue_.size();
}

void Connection::received(DWORD bytes, DWORD error) noexcept {
    {
        std::unique_lock lock(mutex_);
        reading_ = false;
        offer_ = true;
        if (error != 0) {
            lose(error);
        } else if (bytes == 0) {
            client_finished_ = true;
        } else {
            add(server_.statistics().bytes_received, bytes);
            active_ = ::GetTickCount64();
            heard_ = true;
            receive_size_.received(bytes);
            // Once we have finished, what the client still says is thrown away.
            if (end_ == End::none) rest_ = Piece{buffer_, buffer_.bytes().first(bytes)};
        }
        serve(lock);
        go_on();
    }
    release();
}

//[ sent
//? account for it, send on, and perhaps read again
void Connection::sent(DWORD bytes, DWORD error) noexcept {
    {
        const std::lock_guard lock(mutex_);
        sending_ = false;
        account_sent(bytes);
        if (error != 0) lose(error);
        pump();
        // Once it is half empty, and not at the first byte of room: each change of direction costs a call.
        if (queue_.size() <= server_.options().send_queue / 2) go_on();
    }
    release();
}
//]

// Not while a receive is pending, the session has bytes left to use, or too much waits for the client.
bool Connection::may_receive() const noexcept {
    if (reading_ || closing_ || client_finished_ || !rest_.bytes.empty()) return false;
    return end_ != End::none || !is_full_locked();
}

// Sends what is queued, and asks for a turn if there is something to do in it.
void Connection::go_on() noexcept {
    pump();
    if (may_receive() || (has_offer() && !serving_)) ask_for_turn();
}

void Connection::ask_for_turn() noexcept {
    if (turn_asked_) return;
    turn_asked_ = true;
    pending_.add();
    server_.turns().push(*this);
}

//[ turn
//? serve, send, receive; what a receive brought at once is handled here => return 0;
DWORD Connection::take_turn() noexcept {
    Started started{Start::failed, 0, 0};
    std::size_t answered = 0;
    {
        std::unique_lock lock(mutex_);
        turn_asked_ = false;
        const bool offers = has_offer();
        serve(lock);
        if (offers) answered = queue_.size();
        pump();
        if (may_receive() && has_buffer()) {
            started = receive();
        } else if (has_offer() && !serving_) {
            ask_for_turn();  // the session has not used all, and the client has taken its answers already
        }
    }
    if (started.how == Start::done) received(started.bytes, 0);
    release();
    return started.bytes + static_cast<DWORD>(answered);
}
//]

//[ receive
//? start the receive, counted; three outcomes => return {Start::failed, 0, ERROR_CALL_NOT_IMPLEMENTED};
Started Connection::receive() noexcept {
    reading_ = true;
    pending_.add();
    add(server_.statistics().receive_calls);
    const Started started = receive_.start(socket_, buffer_.bytes());  // buffer_ stays until received()
    if (started.how == Start::failed) {
        reading_ = false;
        (void)pending_.remove();  // not the last: the turn is counted
        lose(started.error);
    }
    return started;
}
//]

// The buffer of the last receive, if it may be used again; else another.
bool Connection::has_buffer() noexcept {
    BufferPool& pool = server_.buffers();
    const std::size_t size = pool.is_short() ? pool.smaller(0) : receive_size_.next();
    if (buffer_ && !buffer_.shared() && buffer_.size() == size) return true;
    buffer_ = BufferRef();  // given back first: it may be the one that we get
    buffer_ = pool.get(size);
    if (!buffer_) drop_locked(End::no_memory);
    return static_cast<bool>(buffer_);
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
        switch (started.how) {
            case Start::pending:
                return;
            case Start::done:
                account_sent(started.bytes);
                break;
            case Start::failed:
                lose(started.error);
                break;
        }
        sending_ = false;
        (void)pending_.remove();  // not the last: this thread is counted, by its operation or its turn
    }
    //]
    if (end_ != End::none && queue_.empty() && !closing_ && !fin_sent_) {
        finish_sending(socket_);
        fin_sent_ = true;
    }
}

void Connection::account_sent(DWORD bytes) noexcept {
    if (bytes == 0) return;
    queue_.pop(bytes);
    active_ = ::GetTickCount64();
    add(server_.statistics().bytes_sent, bytes);
    if (queue_.size() <= server_.options().send_queue / 2) offer_ = true;
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
