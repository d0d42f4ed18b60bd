// One client of the full server: receives and sends at the same time, and ends in exactly one way.
//
// A connection is open until end_ is set; from then on nothing that only an open one does is started. What is pending
// is counted (stage 05), with the handlers that are running, and whoever takes the count to zero destroys the
// connection. While it is open, at least one of these is counted: its receive, its turn, a running handler, or, while
// reading is paused, its send. So a visitor that finds it open under the lock may ask for a turn.
//
// Threads: handlers run on workers; send, finish, drop and tick are for any thread that a handler of this connection
// runs on, or that visits it through Connections::for_each.
#pragma once

#include "03-recv/receive.hpp"
#include "04-send/send.hpp"
#include "05-disconnect/disconnect.hpp"
#include "06-full-server/buffer.hpp"
#include "06-full-server/worker.hpp"

#include <mutex>
#include <string>

class FullServer;

// Why a connection ends. The first reason wins.
enum class End {
    none,
    client_finished,
    lost,
    // The server says that it has finished and waits for the client to do so too:
    server_stops,
    refused,
    // The server drops it:
    idle,
    silent,
    too_slow,
    no_end,
    line_too_long,
    no_memory
};

class Connection final : public ReceiveOperation::Handler, public SendOperation::Handler, public Turn {
public:
    // With a `refusal` the client is told that, and nothing else ever. Counted, for the worker that accepts it, until
    // start(): others may find the connection before.
    Connection(FullServer& server, CompletionPort& port, Socket socket, std::string address,
               const std::string& refusal);

    // Begins to receive. Once, on the accepting worker; the connection may be gone when it returns.
    void start() noexcept;

    // Queues the pieces, together and in order. They are sent when this connection's own handler returns, or in its
    // turn, with all that others have queued until then. Drops the connection if more than the limit waits already.
    // Only on a worker.
    void send(std::span<const Piece> pieces) noexcept;

    // What is queued is sent, then our FIN; what still comes is thrown away. The client has `seconds` to finish too.
    void finish(End end, double seconds) noexcept;

    // Cancels what is pending and closes without waiting for the client.
    void drop(End end) noexcept;

    // Drops the connection if it has been idle or silent for too long, or has not finished in time.
    void tick(ULONGLONG now) noexcept;

    // The bytes of a line that has not ended yet, for the chat. Only in FullServer's received().
    ByteQueue& unfinished_line() { return unfinished_line_; }

    const std::string& address() const { return address_; }

private:
    void received(DWORD bytes, DWORD error) noexcept override;
    void sent(DWORD bytes, DWORD error) noexcept override;
    DWORD take_turn() noexcept override;
    void release() noexcept;

    // These seven with the lock held.
    void ask_for_turn() noexcept;
    bool may_receive() const noexcept;
    bool has_buffer() noexcept;
    void pump() noexcept;
    void account_sent(DWORD bytes) noexcept;
    void end_locked(End end) noexcept;
    void lose(DWORD error) noexcept;

    FullServer& server_;
    const Socket socket_;
    const std::string address_;
    const ULONGLONG born_;             // milliseconds, as GetTickCount64 counts them
    std::atomic<ULONGLONG> active_;    // when the last byte went either way
    std::atomic<ULONGLONG> deadline_;  // for the client's end, once we have finished
    std::atomic<bool> heard_{false};   // the client has sent something

    PendingCount pending_;
    std::mutex mutex_;
    std::atomic<End> end_{End::none};  // set with the lock held
    DWORD error_ = 0;                  // with End::lost
    bool closing_ = false;             // nothing more is started: what is pending was cancelled, or failed
    bool client_finished_ = false;     // no receive will be started
    bool turn_asked_ = false;          // it waits in the queue of turns
    bool reading_ = false;             // a receive is pending, or is being handled
    bool sending_ = false;             // a send is pending; one at a time keeps the order
    bool fin_sent_ = false;
    ByteQueue queue_;  // waits to be sent; the bytes of the pending send are its first

    BufferRef buffer_;  // the receive's; used again when nobody else refers to it
    ReceiveSize receive_size_;
    ByteQueue unfinished_line_;
    ReceiveOperation receive_;
    SendOperation send_;
};
