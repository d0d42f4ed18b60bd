// The claims of notes/06-full-server.md.
#include "tests/claims/support.hpp"

#include <array>
#include <deque>
#include <vector>

using namespace claims;

namespace {

void skip_packets_on_success(const Socket& socket) {
    REQUIRE(::SetFileCompletionNotificationModes(socket.handle(), FILE_SKIP_COMPLETION_PORT_ON_SUCCESS));
}

// Several packets at once. Returns how many came; 0 with GetLastError untouched when the call returned FALSE.
template <std::size_t Size>
ULONG get_packets(const Port& port, std::array<OVERLAPPED_ENTRY, Size>& entries, DWORD milliseconds) {
    ULONG count = 0;
    const BOOL taken = ::GetQueuedCompletionStatusEx(port.get(), entries.data(), static_cast<ULONG>(entries.size()),
                                                     &count, milliseconds, FALSE);
    return taken ? count : 0;
}

// Sends to a peer that does not read, until a send pends. The system buffers much on the way.
class StuckSends {
public:
    StuckSends(const Socket& socket, Port& port) : block_(16 << 20, 's') {
        const int nothing = 0;
        ::setsockopt(socket, SOL_SOCKET, SO_SNDBUF, reinterpret_cast<const char*>(&nothing), sizeof nothing);
        for (int i = 0; i < 64; ++i) {
            const int error = operations_.emplace_back().send(socket, block_.data(), block_.size());
            if (error == WSA_IO_PENDING) return;
            REQUIRE(error == 0);
            CHECK(port.get_packet().overlapped == &operations_.back());
        }
        FAIL("no send pended");
    }
    OVERLAPPED* pending() { return &operations_.back(); }
    std::size_t bytes() const { return operations_.size() * block_.size(); }

private:
    std::vector<char> block_;
    std::deque<Operation> operations_;
};

}  // namespace

// Windows: https://learn.microsoft.com/windows/win32/fileio/getqueuedcompletionstatusex-func, Remarks,
// and Wine's test kernel32/tests/file.c
TEST_CASE("06.1 GetQueuedCompletionStatusEx takes several packets in one call, in the order of the queue") {
    Port port;
    for (ULONG_PTR key = 1; key <= 5; ++key)
        REQUIRE(::PostQueuedCompletionStatus(port.get(), 0, key, nullptr));
    std::array<OVERLAPPED_ENTRY, 3> entries;
    CHECK(get_packets(port, entries, patience) == 3);
    for (ULONG_PTR i = 0; i < 3; ++i)
        CHECK(entries[i].lpCompletionKey == i + 1);
    CHECK(get_packets(port, entries, patience) == 2);
    CHECK(entries[0].lpCompletionKey == 4);
    CHECK(entries[1].lpCompletionKey == 5);
}

// Windows: https://learn.microsoft.com/windows/win32/fileio/getqueuedcompletionstatusex-func, Remarks,
// and Wine's test kernel32/tests/file.c
TEST_CASE("06.2 GetQueuedCompletionStatusEx does not wait until its array is full: one packet is enough") {
    Port port;
    REQUIRE(::PostQueuedCompletionStatus(port.get(), 0, 7, nullptr));
    std::array<OVERLAPPED_ENTRY, 64> entries;
    CHECK(get_packets(port, entries, patience) == 1);  // a wait for 63 more would end as FALSE
    CHECK(entries[0].lpCompletionKey == 7);
}

// Windows: https://learn.microsoft.com/windows/win32/fileio/getqueuedcompletionstatusex-func, Parameters,
// and Wine's test kernel32/tests/file.c
TEST_CASE("06.3 With a time-out of 0 GetQueuedCompletionStatusEx takes what is there, or fails at once with 258") {
    Port port;
    std::array<OVERLAPPED_ENTRY, 4> entries;
    ::SetLastError(0);
    CHECK(get_packets(port, entries, 0) == 0);
    CHECK(::GetLastError() == WAIT_TIMEOUT);
    REQUIRE(::PostQueuedCompletionStatus(port.get(), 0, 7, nullptr));
    CHECK(get_packets(port, entries, 0) == 1);
}

// Windows: https://learn.microsoft.com/windows/win32/api/winbase/nf-winbase-setfilecompletionnotificationmodes,
// Parameters
TEST_CASE("06.4 With FILE_SKIP_COMPLETION_PORT_ON_SUCCESS an operation that finishes in its call queues no packet") {
    for (const bool skips : {false, true}) {
        CAPTURE(skips);
        Pair pair = connected_pair();
        REQUIRE(::send(pair.client, "hello", 5, 0) == 5);
        // The bytes are there for certain once a receive that only looks has found them.
        char looked[5];
        REQUIRE(::recv(pair.server, looked, 5, MSG_PEEK) > 0);
        Port port;
        port.associate(pair.server);
        if (skips) skip_packets_on_success(pair.server);

        Operation receive;
        char buffer[16];
        CHECK(receive.receive(pair.server, buffer, sizeof buffer) == 0);
        CHECK(receive.bytes > 0);
        CHECK(port.is_empty() == skips);
    }
}

// Windows: https://learn.microsoft.com/windows/win32/api/winbase/nf-winbase-setfilecompletionnotificationmodes,
// Parameters, and Wine's test ws2_32/tests/sock.c
TEST_CASE("06.5 With FILE_SKIP_COMPLETION_PORT_ON_SUCCESS an operation that pended still queues its packet") {
    Pair pair = connected_pair();
    Port port;
    port.associate(pair.server, 7);
    skip_packets_on_success(pair.server);
    Operation receive;
    char buffer[16];
    REQUIRE(receive.receive(pair.server, buffer, sizeof buffer) == WSA_IO_PENDING);
    REQUIRE(::send(pair.client, "hello", 5, 0) == 5);
    const Packet packet = port.get_packet();
    CHECK(packet.overlapped == &receive);
    CHECK(packet.key == 7);
    CHECK(packet.bytes > 0);
}

// Windows: https://learn.microsoft.com/windows/win32/api/winbase/nf-winbase-setfilecompletionnotificationmodes,
// Parameters, and Wine's test ntdll/tests/file.c
TEST_CASE("06.6 A notification mode that was set cannot be cleared again") {
    Pair pair = connected_pair();
    Port port;
    port.associate(pair.server);
    skip_packets_on_success(pair.server);
    ::SetFileCompletionNotificationModes(pair.server.handle(), 0);  // changes nothing, whatever it returns
    Operation send;
    REQUIRE(send.send(pair.server, "x", 1) == 0);
    CHECK(port.is_empty());
}

// Windows: no source; the two directions of a connection are independent
TEST_CASE("06.7 A receive completes while a send on the same socket is pending") {
    Pair pair = connected_pair();
    Port port;
    port.associate(pair.server);
    StuckSends sends(pair.server, port);
    Operation receive;
    char buffer[16];
    REQUIRE(::send(pair.client, "hello", 5, 0) == 5);
    const int error = receive.receive(pair.server, buffer, sizeof buffer);
    REQUIRE((error == 0 || error == WSA_IO_PENDING));
    const Packet packet = port.get_packet();
    CHECK(packet.returned_true);
    CHECK(packet.overlapped == &receive);
    CHECK(port.is_empty());  // the send is still pending

    pair.client.reset();
    CHECK(port.get_packet().overlapped == sends.pending());
}

// Windows: https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsasend, Remarks,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("06.8 A send to a peer that does not read pends, and completes when the peer has read enough") {
    Pair pair = connected_pair();
    Port port;
    port.associate(pair.server);
    StuckSends sends(pair.server, port);
    CHECK(port.is_empty());
    std::vector<char> buffer(1 << 20);
    std::size_t came = 0;
    Packet packet;
    while (packet.overlapped == nullptr && came < sends.bytes()) {
        const int bytes = ::recv(pair.client, buffer.data(), static_cast<int>(buffer.size()), 0);
        REQUIRE(bytes > 0);
        came += static_cast<std::size_t>(bytes);
        packet = port.wait(0);
    }
    if (packet.overlapped == nullptr) packet = port.get_packet();
    CHECK(packet.overlapped == sends.pending());
    CHECK(packet.returned_true);
    CHECK(packet.bytes == 16 << 20);  // all of it, not a part
}

// Windows: https://learn.microsoft.com/windows/win32/winsock/dual-stack-sockets
TEST_CASE("06.9 An IPv6 listener with IPV6_V6ONLY off accepts IPv4 clients, and shows mapped addresses") {
    Socket listener = tcp_socket(AF_INET6);
    const DWORD no = 0;
    REQUIRE(::setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, reinterpret_cast<const char*>(&no), sizeof no) == 0);
    sockaddr_in6 any{};
    any.sin6_family = AF_INET6;
    if (::bind(listener, reinterpret_cast<const sockaddr*>(&any), sizeof any) != 0) {
        MESSAGE("skipped: this machine has no IPv6");
        return;
    }
    REQUIRE(::listen(listener, SOMAXCONN) == 0);
    Port port;
    port.associate(listener);
    const auto accept_ex = extension<LPFN_ACCEPTEX>(listener, WSAID_ACCEPTEX);
    const Socket accepting = tcp_socket(AF_INET6);
    Operation accept;
    constexpr DWORD room = sizeof(sockaddr_storage) + 16;
    std::array<char, 2 * room> buffer;
    REQUIRE_FALSE(accept_ex(listener, accepting, buffer.data(), 0, room, room, &accept.bytes, &accept));
    REQUIRE(::WSAGetLastError() == ERROR_IO_PENDING);

    int length = sizeof any;
    REQUIRE(::getsockname(listener, reinterpret_cast<sockaddr*>(&any), &length) == 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = any.sin6_port;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const Socket client = tcp_socket();
    REQUIRE(::connect(client, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    CHECK(port.get_packet().returned_true);

    const auto get_addresses = extension<LPFN_GETACCEPTEXSOCKADDRS>(listener, WSAID_GETACCEPTEXSOCKADDRS);
    sockaddr* local = nullptr;
    sockaddr* remote = nullptr;
    int local_length = 0;
    int remote_length = 0;
    get_addresses(buffer.data(), 0, room, room, &local, &local_length, &remote, &remote_length);
    REQUIRE(remote->sa_family == AF_INET6);
    CHECK(IN6_IS_ADDR_V4MAPPED(&reinterpret_cast<const sockaddr_in6*>(remote)->sin6_addr));
}

// Windows: https://learn.microsoft.com/windows/win32/fileio/cancelioex-func, Remarks
TEST_CASE("06.10 CancelIoEx with a null OVERLAPPED ends all that is pending on a socket, and each packet comes") {
    Pair pair = connected_pair();
    Port port;
    port.associate(pair.server);
    StuckSends sends(pair.server, port);
    Operation receive;
    char buffer[16];
    REQUIRE(receive.receive(pair.server, buffer, sizeof buffer) == WSA_IO_PENDING);
    REQUIRE(::CancelIoEx(pair.server.handle(), nullptr));
    bool seen_receive = false;
    bool seen_send = false;
    for (int i = 0; i < 2; ++i) {
        const Packet packet = port.get_packet();
        CHECK_FALSE(packet.returned_true);
        // On Windows the cancelled send ends the connection, and the receive perhaps with it.
        if (packet.overlapped == &receive && packet.error != ERROR_OPERATION_ABORTED) {
            CHECK_FALSE(on_wine());
            CHECK(packet.error == ERROR_CONNECTION_ABORTED);
        }
        seen_receive = seen_receive || packet.overlapped == &receive;
        seen_send = seen_send || packet.overlapped == sends.pending();
    }
    CHECK(seen_receive);
    CHECK(seen_send);
    CHECK(port.is_empty());
}
