#include "06-full-server/connection.hpp"

#include "06-full-server/server.hpp"

#include <array>
#include <cstring>
#include <limits>

namespace {

constexpr ULONGLONG never = std::numeric_limits<ULONGLONG>::max();

ULONGLONG milliseconds(double seconds) { return static_cast<ULONGLONG>(seconds * 1000); }

bool is_drop(End end) { return end >= End::idle; }

}  // namespace

Connection::Connection(FullServer& server, CompletionPort& port, Socket socket, std::string address,
                       const std::string& refusal)
    : server_(server),
      socket_(std::move(socket)),
      address_(std::move(address)),
      born_(::GetTickCount64()),
      active_(born_),
      deadline_(never),
      receive_size_(server.buffers()),
      receive_(port, *this),
      send_(port, *this) {
    pending_.add();
    if (refusal.empty()) return;
    end_ = End::refused;
    deadline_ = born_ + milliseconds(server_.options().drain);
    Piece text{server_.buffers().get(refusal.size()), {}};
    if (!text.buffer) return;
    text.bytes = text.buffer.bytes().first(std::min(refusal.size(), text.buffer.size()));
    std::memcpy(text.bytes.data(), refusal.data(), text.bytes.size());
    queue_.push(server_.buffers(), text);
}

void Connection::start() noexcept {
    {
        const std::lock_guard lock(mutex_);
        ask_for_turn();
    }
    release();
}

void Connection::send(std::span<const Piece> pieces) noexcept {
    const std::lock_guard lock(mutex_);
    if (end_ != End::none) return;
    if (queue_.size() >= server_.options().send_queue) return end_locked(End::too_slow);
    try {
        for (const Piece& piece : pieces)
            queue_.push(server_.buffers(), piece);
    } catch (const std::bad_alloc&) {
        return end_locked(End::no_memory);
    }
    if (!sending_) ask_for_turn();
}

void Connection::finish(End end, double seconds) noexcept {
    const std::lock_guard lock(mutex_);
    // Also for a client that has finished already, and does not take what is left for it.
    if (deadline_ == never) deadline_ = ::GetTickCount64() + milliseconds(seconds);
    if (end_ != End::none) return;
    end_ = end;
    pump();
}

void Connection::drop(End end) noexcept {
    const std::lock_guard lock(mutex_);
    end_locked(end);
}

void Connection::tick(ULONGLONG now) noexcept {
    const Options& options = server_.options();
    if (options.idle_timeout > 0 && now >= active_ + milliseconds(options.idle_timeout)) return drop(End::idle);
    if (options.silent_timeout > 0 && !heard_ && now >= born_ + milliseconds(options.silent_timeout)) {
        return drop(End::silent);
    }
    if (now >= deadline_) drop(End::no_end);
}

void Connection::received(DWORD bytes, DWORD error) noexcept {
    if (error == 0 && bytes > 0) {
        add(server_.statistics().bytes_received, bytes);
        active_ = ::GetTickCount64();
        heard_ = true;
        // Without the lock: the chat sends to other connections, and two that did so to each other would wait for ever.
        if (end_ == End::none) server_.received(*this, Piece{buffer_, buffer_.bytes().first(bytes)});
    }
    {
        const std::lock_guard lock(mutex_);
        reading_ = false;
        if (error != 0) {
            lose(error);
        } else if (bytes == 0) {
            client_finished_ = true;
            if (end_ == End::none) end_ = End::client_finished;
            pump();  // the rest of the queue, then our FIN
        } else {
            receive_size_.received(bytes);
            pump();  // an answer does not wait for its turn
            if (may_receive()) ask_for_turn();
        }
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
        if (error != 0) {
            lose(error);
        } else {
            pump();
            // Once it is half empty, and not at the first byte of room: each change of direction costs a call.
            if (queue_.size() <= server_.options().send_queue / 2 && may_receive()) ask_for_turn();
        }
    }
    release();
}
//]

// Not if it receives already, or the client does not take what we send.
bool Connection::may_receive() const noexcept {
    if (reading_ || closing_ || client_finished_) return false;
    return end_ != End::none || queue_.size() < server_.options().send_queue;
}

void Connection::ask_for_turn() noexcept {
    if (turn_asked_) return;
    turn_asked_ = true;
    pending_.add();
    server_.turns().push(*this);
}

//[ receive
//? send what others have queued; start the receive; three outcomes; what is there at once is handled here => return 0;
DWORD Connection::take_turn() noexcept {
    Started started{Start::failed, 0, 0};
    {
        const std::lock_guard lock(mutex_);
        turn_asked_ = false;
        pump();
        if (may_receive() && has_buffer()) {
            reading_ = true;
            pending_.add();
            add(server_.statistics().receive_calls);
            started = receive_.start(socket_, buffer_.bytes());  // buffer_ stays until received()
            if (started.how == Start::failed) {
                reading_ = false;
                (void)pending_.remove();  // not the last: the turn is counted
                lose(started.error);
            }
        }
    }
    if (started.how == Start::done) received(started.bytes, 0);
    release();
    return started.bytes;
}
//]

// The buffer of the last receive, if it may be used again; else another.
bool Connection::has_buffer() noexcept {
    if (buffer_ && !buffer_.shared() && buffer_.size() == receive_size_.next()) return true;
    buffer_ = BufferRef();  // given back first: it may be the one that we get
    buffer_ = server_.buffers().get(receive_size_.next());
    if (!buffer_) end_locked(End::no_memory);
    return static_cast<bool>(buffer_);
}

// Sends what is queued, in order, one send at a time; and our FIN when the last byte is out and no more will come.
//? send what is queued, one send at a time; our FIN when it was the last
void Connection::pump() noexcept {
    //[ pump
    while (!sending_ && !closing_ && !queue_.empty()) {
        std::array<WSABUF, SendOperation::most_buffers> buffers;
        const std::size_t count = queue_.gather(std::span(buffers).first(server_.options().gather));
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
        (void)pending_.remove();  // not the last: this thread is counted, or a receive is
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
}

void Connection::end_locked(End end) noexcept {
    if (closing_) return;
    closing_ = true;
    if (end_ == End::none || is_drop(end)) end_ = end;
    cancel_pending(socket_);  // what is pending completes, and the last of it closes the socket
}

void Connection::lose(DWORD error) noexcept {
    if (!closing_) error_ = error;
    end_locked(End::lost);
}

void Connection::release() noexcept {
    if (!pending_.remove()) return;
    End end;
    {
        const std::lock_guard lock(mutex_);
        closing_ = true;  // a visitor that still finds this connection leaves it alone
        end = end_;
    }
    // FIN says "that was all", so not to a client that did not get all.
    if (end == End::too_slow || end == End::no_end || end == End::no_memory) reset_on_close(socket_);
    server_.ended(*this, end, error_);
}
