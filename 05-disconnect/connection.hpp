// The connection of stage 05: an echo that counts what is pending on it.
//
// A second actor appears: a timer on main's thread cancels what takes too long, while workers handle packets. And two
// operations may be pending at once: our FIN and the receive that waits for the client's. So nobody can say "mine is
// the only operation, I close the socket"; the count of pending operations says who is the last.
#pragma once

#include "01-create-port/program.hpp"
#include "03-recv/receive.hpp"
#include "04-send/send.hpp"
#include "05-disconnect/disconnect.hpp"
#include "05-disconnect/server.hpp"

#include <array>
#include <chrono>

enum class End { none, client_finished, lost, server_closed, no_end, on_request, idle, server_stops };

// One client (per-socket data).
class Connection final : public ReceiveOperation::Handler,
                         public SendOperation::Handler,
                         public DisconnectOperation::Handler {
public:
    Connection(Server<Connection>& server, CompletionPort& port, Socket socket, const Accepted& client)
        : server_(static_cast<DisconnectServer&>(server)),
          socket_(std::move(socket)),
          address_(client.remote),
          receive_(port, *this),
          send_(port, *this),
          disconnect_(port, *this) {
        expect_within(server_.settings.idle_seconds);  // before the timer can find it
    }
    ~Connection() {
        if (reusable_) server_.use_again(std::move(socket_));
    }

    void start() {
        print_line("accepted ", address_);
        pending_.add();  // this thread, until release()
        receive();
        release();
    }

    // The timer, on main's thread. Cancels again each time: a worker may just have started one more operation.
    //[ tick
    //? end what is late, and cancel it, again each time
    void tick(Clock::time_point now) {
        const bool closing = closing_;  // read first: its deadline is set before it
        const bool late = now.time_since_epoch().count() >= deadline_;
        if (late) end_with(closing ? End::no_end : End::idle);
        if (late || end_ == End::idle || end_ == End::no_end) cancel_pending(socket_);
    }
    //]
    void cancel() {
        end_with(End::server_stops);
        cancel_pending(socket_);
    }

    //[ received
    //? lost, finished, ending, closing, or something to echo; release() at the end
    void received(DWORD bytes, DWORD error) noexcept override {
        if (error != 0) {
            lose(error);
        } else if (bytes == 0) {
            end_with(closing_ ? End::server_closed : End::client_finished);
        } else if (end_ != End::none) {
            // Start nothing more: that is all it takes to end.
        } else if (closing_) {
            receive();  // what a client still says after our FIN is thrown away
        } else {
            expect_within(server_.settings.idle_seconds);
            send(find_command(bytes));
        }
        release();
    }
    //]

    //[ sent
    //? lost, to be aborted, already ending, to be closed, or on with the next receive; release() at the end
    void sent(DWORD, DWORD error) noexcept override {
        if (error != 0) {
            lose(error);
        } else if (command_ == "abort") {
            end_with(End::on_request);
        } else if (end_ == End::none) {
            const bool bye = command_ == "bye";
            expect_within(bye ? server_.settings.deadline_seconds : server_.settings.idle_seconds);
            closing_ = bye;  // after the new deadline, for the timer reads both
            if (bye) disconnect(0);
            receive();
        }
        release();
    }
    //]

    void disconnected(DWORD error) noexcept override {
        reusable_ = reusing_ && error == 0;
        release();
    }

private:
    // Each of these three is called by a thread that is counted, so the count cannot reach zero inside.
    //[ receive
    void receive() {
        pending_.add();
        handle(receive_.start(socket_, buffer_));
    }
    //]
    void send(DWORD bytes) {
        pending_.add();
        const WSABUF echo{bytes, buffer_.data()};
        handle(send_.start(socket_, std::span(&echo, 1)));
    }
    void disconnect(DWORD flags) {
        pending_.add();
        handle(disconnect_.start(socket_, server_.disconnect_ex, flags));
    }
    //[ handle
    void handle(const Started& started) {
        switch (started.how) {
            case Start::pending:
                return;
            case Start::done:
                return;  // never here: this socket does not skip packets, so one comes (see stage 06)
            case Start::failed:
                lose(started.error);
                (void)pending_.remove();  // not the last: this thread is counted
                return;
        }
    }
    //]

    // The completion that is being handled no longer counts. If it was the last, the connection closes.
    //[ release
    //? no longer counted; the last closes the connection, or uses its socket again
    void release() {
        if (!pending_.remove()) return;
        if (end_ == End::client_finished && server_.reuses_sockets && !reusing_) {
            // Our FIN, and the socket for the next client. Only where the client closed first: the side that does
            // waits for minutes (TIME_WAIT), and so would the socket.
            reusing_ = true;
            expect_within(server_.settings.deadline_seconds);
            pending_.add();
            disconnect(TF_REUSE_SOCKET);
            return release();
        }
        if (end_ == End::no_end || end_ == End::on_request) reset_on_close(socket_);
        print_end();
        if (reusable_) print_line("reusing the socket of ", address_);
        server_.ended(*this);  // destroys this connection, and closes its socket
    }
    //]

    void lose(DWORD error) {
        error_ = error;
        end_with(End::lost);
    }
    // The first reason wins.
    void end_with(End end) {
        End none = End::none;
        end_.compare_exchange_strong(none, end);
    }

    void expect_within(double seconds) {
        const auto span = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
        deadline_ = (Clock::now() + span).time_since_epoch().count();
    }

    // Looks for a command line in what came. Returns how many bytes to echo: up to the end of that line, else all.
    DWORD find_command(DWORD bytes) {
        for (DWORD i = 0; i < bytes; ++i) {
            if (buffer_[i] != '\n') {
                if (line_.size() < 8) line_ += buffer_[i];  // longer lines are no command
                continue;
            }
            if (line_.ends_with('\r')) line_.pop_back();
            if (line_ == "bye" || line_ == "abort") {
                command_ = line_;
                return i + 1;
            }
            line_.clear();
        }
        return bytes;
    }

    void print_end() const {
        switch (end_) {
            case End::client_finished:
                return print_line("finished ", address_, ": the client closed first");
            case End::server_closed:
                return print_line("closed ", address_, ": the server closed first");
            case End::no_end:
                return print_line("aborted ", address_, ": no end from the client within ",
                                  server_.settings.deadline_seconds, " s");
            case End::on_request:
                return print_line("aborted ", address_, ": on request");
            case End::idle:
                return print_line("cancelled ", address_, ": idle for ", server_.settings.idle_seconds, " s");
            case End::server_stops:
                return print_line("cancelled ", address_, ": the server stops");
            default:  // lost
                return print_line("lost ", address_, ": ", error_name(error_));
        }
    }

    DisconnectServer& server_;
    Socket socket_;
    const std::string address_;
    PendingCount pending_;
    std::atomic<End> end_{End::none};
    std::atomic<bool> closing_{false};               // our FIN is on its way
    std::atomic<Clock::duration::rep> deadline_{0};  // when the timer loses its patience
    std::atomic<DWORD> error_{0};                    // with End::lost
    bool reusing_ = false;
    bool reusable_ = false;
    std::string line_;     // the beginning of the line that is coming in
    std::string command_;  // the command that was found, if any
    ReceiveOperation receive_;
    SendOperation send_;
    DisconnectOperation disconnect_;
    std::array<char, 4096> buffer_;
};
