// A TCP client with a deadline on every wait; a wait in vain fails the test.
//
// To tell RST from FIN, call watch() before whatever makes the server reset: it keeps several overlapped receives
// pending, and Wine 8.0 shows a reset that arrives while none is as a clean end. Otherwise there is one at a time:
// where Wine 8.0 has others pending, one that is posted in the middle of a stream may overtake them. Threads: one at a
// time.
#pragma once

#include "tests/support/failure.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace support {

enum class End {
    finished,  // FIN: the server has sent all it wants to
    reset      // RST
};

struct ClientOptions {
    int receive_buffer = 0;  // SO_RCVBUF, until it reads 128 KiB at a time; on Windows 256 KiB. 0: the system's
};

class Client {
public:
    // `server`: "127.0.0.1:50000" or "[::1]:50000", as the program printed it.
    explicit Client(const std::string& server, ClientOptions options = {}, Where where = Where::current());
    ~Client();  // leaves with FIN, unless reset() came first
    Client(Client&& other) noexcept;
    Client& operator=(Client&& other) noexcept;

    const std::string& address() const;  // its own, as the server sees it

    void send(std::string_view bytes, Where where = Where::current());  // all of them
    // For a server that reads no more: sends until nothing has moved for a while, or `most` bytes have. Returns how
    // many.
    std::size_t send_until_stuck(std::size_t most);
    // Sends what the system takes at once; returns how much.
    std::size_t send_what_fits(std::string_view bytes);
    // False: the connection is gone.
    bool try_send(std::string_view bytes);
    void send_urgent(char byte);  // one byte of urgent data (MSG_OOB)
    void finish_sending();        // FIN; receiving goes on
    void reset();                 // RST, and the client is gone

    void watch();                                                            // starts receiving now
    std::string receive(std::size_t count, Where where = Where::current());  // exactly so many bytes
    void expect(std::string_view bytes, Where where = Where::current());     // exactly these come next
    std::string receive_line(Where where = Where::current());                // up to and with the next \n
    std::string receive_some(Where where = Where::current());                // what comes next; empty: the end
    // Sends `bytes` and receives `count` bytes at the same time, as the two may wait for each other.
    std::string exchange(std::string_view bytes, std::size_t count, Where where = Where::current());
    // Receives until the server ends the connection in this way; returns the bytes that came before. For a reset:
    // watch().
    std::string expect_end(End end, Where where = Where::current());
    std::string expect_any_end(End* seen = nullptr, Where where = Where::current());

private:
    struct State;
    std::unique_ptr<State> state_;
};

// A port that was free a moment ago.
std::uint16_t free_port();

// Every value that a byte can have, NUL first, repeated up to `count` bytes.
std::string all_bytes(std::size_t count = 256);
// Bytes of which every 4-byte word is different, so that no piece can be lost, doubled or moved unseen.
std::string numbered_bytes(std::size_t count);

}  // namespace support
