// One client of the full server: it receives and sends at the same time, talks to a session, and ends in exactly one
// way.
//
// A connection is open from start() until end_ says why it ends; from then on nothing that only an open one does is
// started. What needs it is counted (stage 05): being open, each operation in flight, the turn that it waits for.
// Only workers take it to zero, and end the session; what others give back is not the last. The socket is closed with
// the last owner; nothing is pending on it then.
//
// Owner: the server's list, and whoever has found it there, for as long as they use it. Threads: any may send, stop,
// close, drop and tick; they note what is wanted and ask for a turn, in which a worker does it.
#pragma once

#include "03-recv/receive.hpp"
#include "04-send/send.hpp"
#include "05-disconnect/disconnect.hpp"
#include "06-full-server/application.hpp"
#include "06-full-server/buffer.hpp"
#include "06-full-server/end.hpp"
#include "06-full-server/places.hpp"
#include "06-full-server/worker.hpp"

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

// A time that never comes, in milliseconds as GetTickCount64 counts them.
constexpr ULONGLONG no_time = ~ULONGLONG{0};
constexpr ULONGLONG milliseconds(double seconds) { return static_cast<ULONGLONG>(seconds * 1000); }
inline ULONGLONG after(double seconds) { return seconds > 0 ? ::GetTickCount64() + milliseconds(seconds) : no_time; }

// For the rest of the program: names a connection, and keeps nothing alive. Copy it as you like.
class ConnectionHandle {
public:
    explicit ConnectionHandle(std::weak_ptr<Connection> connection) : connection_(std::move(connection)) {}

    // Any thread, at any time. Copies the text behind what is queued for this client, and has it sent soon. False: the
    // client has gone, or we have finished, or it is dropped because more than --send-queue bytes wait for it already;
    // none of these is an error.
    bool send(std::string_view text) const noexcept;
    // As Connection::close(). If the session is in a call, what it answers after this is thrown away.
    void close(std::string_view why) const noexcept;

private:
    std::weak_ptr<Connection> connection_;
};

class Connection final : public ReceiveOperation::Handler,
                         public SendOperation::Handler,
                         public Turn,
                         public std::enable_shared_from_this<Connection> {
public:
    Connection(FullServer& server, CompletionPort& port, Socket socket, std::string address, Places::Place place,
               std::unique_ptr<Session> session);

    // Opens it; or only tells the client why not. Once, by whoever has made it and still owns it; it may have ended
    // when this returns.
    void start() noexcept;
    void refuse(std::string_view why) noexcept;

    // Queues the pieces, together and in order, to be sent in this connection's turn with all that has come until then.
    // False: it is no longer open, or is dropped because more than --send-queue bytes wait for it already.
    bool send(std::span<const Piece> pieces) noexcept;
    bool send(std::string_view text) noexcept;  // a copy

    // Receives no more, and finishes when the session says that all is answered. Session and client have `seconds` for
    // all of this. Again and again: the connection may not have been started yet. The first call counts.
    void stop(double seconds) noexcept;

    // Now and then: time-outs, and the session's timer.
    void tick(ULONGLONG now) noexcept;

    std::size_t queued() const noexcept;  // bytes
    const std::string& address() const { return address_; }

    // ---- for the calls of its own session: see session.cpp ----

    // Sent at the latest when the session's call returns. What other threads send may come between two answers, so
    // a message that must stay whole is one. Throws std::bad_alloc, which the session need not catch. There is no
    // bound: ask is_full() between two answers.
    void answer(const Piece& piece);     // refers to the buffer until it is sent
    void answer(std::string_view text);  // a copy
    bool is_full() const noexcept;       // --send-queue bytes wait for the client, or memory is short

    // close: what is queued is sent, then our FIN, and from then on the client has --drain seconds to finish too; what
    // still comes is thrown away. drop: cancels what is pending and closes without waiting for the client. `why` is
    // printed after the session has gone: a literal, or the application's. Any thread.
    void close(std::string_view why) noexcept;
    void drop(std::string_view why) noexcept;

    // Session::timer() comes once, after so many seconds; the server looks once a second. 0: not at all. Replaces what
    // was asked for before.
    void set_timer(double seconds) noexcept;

    ConnectionHandle handle() { return ConnectionHandle(weak_from_this()); }

private:
    void received(DWORD bytes, DWORD error) noexcept override;
    void sent(DWORD bytes, DWORD error) noexcept override;
    DWORD take_turn() noexcept override;
    void release() noexcept;

    // All of these with the lock held; serve gives it up while it is in the session.
    DWORD go_on(std::unique_lock<std::mutex>& lock) noexcept;
    void serve(std::unique_lock<std::mutex>& lock) noexcept;
    bool has_offer() const noexcept;
    bool is_full_locked() const noexcept;
    bool is_half_empty() const noexcept;
    bool may_receive() const noexcept;
    void ask_for_turn() noexcept;
    void receive() noexcept;
    bool has_buffer() noexcept;
    void account_received(DWORD bytes, DWORD error) noexcept;
    void pump() noexcept;
    void account_sent(DWORD bytes, DWORD error) noexcept;
    void open() noexcept;
    void set_deadline(double seconds) noexcept;
    void end_locked(End end) noexcept;
    void drop_locked(End end) noexcept;
    void lose(DWORD error) noexcept;

    FullServer& server_;
    const Socket socket_;
    const std::string address_;
    Places::Place place_;  // among the served, or among the refused

    PendingCount pending_;
    mutable std::mutex mutex_;
    End end_ = End::not_started;
    DWORD error_ = 0;               // with End::lost
    bool closing_ = false;          // nothing more is started: what is pending was cancelled, or failed
    bool client_finished_ = false;  // no receive will be started
    bool server_stops_ = false;     // nor while it is open
    bool turn_asked_ = false;       // it waits in the queue of turns
    bool reading_ = false;          // a receive is pending
    bool sending_ = false;          // a send is pending; one at a time keeps the order
    bool fin_sent_ = false;
    ByteQueue queue_;  // waits to be sent; the bytes of the pending send are its first

    // The times are GetTickCount64's.
    ULONGLONG active_ = ::GetTickCount64();  // when the last byte went either way
    ULONGLONG silent_deadline_;              // for the client's first byte
    ULONGLONG deadline_ = no_time;           // for the client's end, once we have finished
    ULONGLONG timer_ = no_time;              // the session's

    BufferRef buffer_;  // the receive's; used again when nobody else refers to it
    ReceiveSize receive_size_;
    Piece rest_;  // what has come and the session has not used yet

    std::unique_ptr<Session> session_;
    std::string_view why_;
    bool serving_ = false;    // a thread is in the session
    bool greeted_ = false;    // started() has been called
    bool timed_out_ = false;  // timer() is to be called
    bool offer_ = false;      // rest_, the client's end or the stop is to be offered

    ReceiveOperation receive_;
    SendOperation send_;
};
