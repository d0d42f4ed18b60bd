// The seam between what carries and what is served. FullServer and Connection carry: sockets, turns, limits, ends.
// An application is served: it makes a session for each client, which is given bytes and gives bytes.
//
// To add one, write it in a file of its own and name it in applications.cpp: `--app` and `--help` are made from that
// table. echo.hpp is the smallest, chat.hpp the one whose clients meet.
//
// Owner: the server owns its application, a connection its session. Threads: all calls below come from workers. Those
// of one session come one at a time and hold no lock, so what it has to itself needs none; what sessions share, in
// their application, does. A worker that is kept waiting in such a call serves nobody meanwhile: work that blocks
// belongs on another thread (Windows' own pool: SubmitThreadpoolWork), and its answer goes to the connection's
// handle().
#pragma once

#include "06-full-server/buffer.hpp"

#include <cstddef>
#include <memory>
#include <span>

class Connection;
class FullServer;

// If a call throws a std::exception, its client is dropped and the others are served on.
class Session {
public:
    // The connection has ended, in whichever way.
    virtual ~Session() = default;

    // Comes first: for a protocol in which the server speaks before its client does.
    virtual void started(Connection&) {}

    // Bytes have come. Returns how many of them it has used: all; or fewer, if connection.is_full(), or if it waits for
    // work elsewhere. The rest is offered again when at most half of --send-queue waits for the client, something was
    // sent to the handle, or the timer has come; until then nothing more is received. So a client that does not read is
    // not read from. A session with answers left to give leaves a byte unused, or it is not called again for them.
    // `bytes` ends with the call; a copy of the Piece keeps its buffer.
    virtual std::size_t received(Connection& connection, const Piece& bytes) = 0;

    // The client has finished sending; it may still read. True: all is answered, and our end follows what is queued.
    // False: it waits for work elsewhere, and is asked again after each send to the client, to the handle, and after
    // its timer.
    virtual bool finished(Connection&) { return true; }

    // The server stops, and nothing more is received. True: all is answered, and our end follows what is queued. False:
    // it waits for work elsewhere, and is asked again as above, until --drain seconds have gone.
    virtual bool stopping(Connection&) { return true; }

    // The time that connection.set_timer() asked for has come.
    virtual void timer(Connection&) {}
};

class Application {
public:
    virtual ~Application() = default;
    // For a new client; never null. Any number of workers may call it at the same time.
    virtual std::unique_ptr<Session> make_session() = 0;
};

struct ApplicationEntry {
    const char* name;  // for --app
    const char* help;
    std::unique_ptr<Application> (*make)(FullServer& server);  // `server` lives longer
};
std::span<const ApplicationEntry> applications();
