// The claims of notes/04-send.md about WSASend.
#include "tests/claims/peer.hpp"

#include <algorithm>
#include <array>

using namespace claims;

// Windows: https://learn.microsoft.com/windows/win32/winsock/overlapped-i-o-and-event-objects-2,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("04.1 A small send returns 0 at once, and its packet with the whole count comes all the same") {
    Connection connection;
    Operation operation;
    CHECK(operation.send(connection.server, "hello", 5) == 0);
    CHECK(operation.bytes == 5);
    const Packet packet = connection.port.get_packet();
    CHECK(packet.returned_true);
    CHECK(packet.overlapped == &operation);
    CHECK(packet.bytes == 5);
    CHECK(connection.port.is_empty());
    CHECK(receive_text(connection.client, 5) == "hello");
}

// Windows: https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsasend, Remarks
TEST_CASE("04.2 One send gathers its buffers in their order, as one piece, and counts them together") {
    Connection connection;
    Operation operation;
    char first[] = "hello ";
    char second[] = "wor";
    char third[] = "ld\n";
    std::array<WSABUF, 3> parts{WSABUF{6, first}, {3, second}, {3, third}};
    if (::WSASend(connection.server, parts.data(), 3, nullptr, 0, &operation, nullptr) != 0) {
        CHECK(::WSAGetLastError() == WSA_IO_PENDING);
    }
    CHECK(connection.port.get_packet().bytes == 12);
    CHECK(connection.port.is_empty());
    CHECK(receive_text(connection.client, 12) == "hello world\n");
}

// Windows: https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsasend, Remarks
// (its Parameters, lpBuffers, would have the array stay valid until the end of the send)
TEST_CASE("04.3 The WSABUFs may be gone when WSASend has returned, the bytes that they point to may not") {
    Connection connection;
    Operation operation;
    constexpr std::size_t half = std::size_t{8} << 20;
    std::string head(half, 'h');
    std::string tail(half, 't');
    std::string other(half, 'x');
    keep_no_copy(connection.server);
    std::array<WSABUF, 2> parts{WSABUF{half, head.data()}, {half, tail.data()}};
    REQUIRE(::WSASend(connection.server, parts.data(), 2, nullptr, 0, &operation, nullptr) == SOCKET_ERROR);
    REQUIRE(::WSAGetLastError() == WSA_IO_PENDING);
    parts = {WSABUF{half, other.data()}, {1, other.data()}};
    const bool head_came = receive_text(connection.client, half) == head;  // a failed CHECK would print it all
    const bool tail_came = receive_text(connection.client, half) == tail;
    CHECK(head_came);
    CHECK(tail_came);
    CHECK(connection.port.get_packet().bytes == 2 * half);
}

// Windows: https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsasend, Remarks
TEST_CASE("04.4 A completed send says nothing of the peer: it completes before anybody has accepted the connection") {
    Port port;
    Operation operation;
    const Socket listener = listening_socket();
    const Socket sender = connected_to(listener);
    port.associate(sender);
    CHECK(operation.send(sender, "hello", 5) == 0);
    const Packet packet = port.get_packet();  // by now the bytes are in some buffer: nobody can have received them
    CHECK(packet.returned_true);
    CHECK(packet.bytes == 5);
}

// Windows: https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsasend, Remarks,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("04.5 A send to a peer that does not read stays pending, and completes when the peer has read enough") {
    Connection connection;
    const StuckSend send(connection.port, connection.server);
    CHECK(connection.port.is_empty());
    CHECK(drain(connection.client, send.total()).bytes == send.total());
    CHECK(connection.port.get_packet().returned_true);
}

// Windows: Wine's test ws2_32/tests/sock.c, which passes there
TEST_CASE("04.6 A send that was pending completes with the whole count, not with a part") {
    Connection connection;
    const StuckSend send(connection.port, connection.server);
    CHECK(drain(connection.client, send.total()).bytes == send.total());
    const Packet packet = connection.port.get_packet();
    CHECK(packet.overlapped == &send.operation);
    CHECK(packet.bytes == send.size());
    CHECK(connection.port.is_empty());
}

// Windows: https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsasend, Remarks, of the bytes' order;
// that of the packets may differ: https://learn.microsoft.com/windows/win32/winsock/overlapped-i-o-and-event-objects-2
TEST_CASE(
    "04.7 Sends that one thread starts one after the other go out in the order of the calls; each has its packet") {
    Connection connection;
    StuckSend first(connection.port, connection.server);
    Operation second;
    Operation third;
    const std::string b(100000, 'b');
    const std::string c(100000, 'c');
    REQUIRE(second.send(connection.server, b.data(), b.size()) == WSA_IO_PENDING);
    REQUIRE(third.send(connection.server, c.data(), c.size()) == WSA_IO_PENDING);
    CHECK(drain(connection.client, first.total()).bytes == first.total());
    const bool b_came = receive_text(connection.client, b.size()) == b;
    const bool c_came = receive_text(connection.client, c.size()) == c;
    CHECK(b_came);
    CHECK(c_came);
    const std::array<const OVERLAPPED*, 3> started{&first.operation, &second, &third};
    std::array<const OVERLAPPED*, 3> completed{};
    for (const OVERLAPPED*& one : completed)
        one = connection.port.get_packet().overlapped;
    CHECK(std::is_permutation(started.begin(), started.end(), completed.begin()));
    if (on_wine()) CHECK(completed == started);
}

// Windows: https://learn.microsoft.com/windows/win32/api/winsock/nf-winsock-shutdown, Remarks
TEST_CASE("04.8 Our FIN waits for a send that is pending: the peer receives every byte of it, and then the end") {
    Connection connection;
    const StuckSend send(connection.port, connection.server);
    REQUIRE(::shutdown(connection.server, SD_SEND) == 0);
    CHECK(connection.port.is_empty());
    const Drained all = drain(connection.client);
    CHECK(all.bytes == send.total());
    CHECK(all.error == 0);
    const Packet packet = connection.port.get_packet();
    CHECK(packet.returned_true);
    CHECK(packet.bytes == send.size());
}

// Windows: https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsasend, Return value,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("04.9 A send after our own FIN fails at once with WSAESHUTDOWN, and no packet comes") {
    Connection connection;
    Operation operation;
    REQUIRE(::shutdown(connection.server, SD_SEND) == 0);
    CHECK(operation.send(connection.server, "hello", 5) == WSAESHUTDOWN);
    CHECK(connection.port.is_empty());
}

// Windows: no source; TCP itself (RFC 9293, 3.10.7.4) says so of outstanding sends
TEST_CASE("04.10 A send fails when the peer resets the connection while it is pending") {
    Connection connection;
    StuckSend send(connection.port, connection.server);
    connection.client.reset();
    const Packet packet = connection.port.get_packet();
    CHECK_FALSE(packet.returned_true);
    CHECK(packet.overlapped == &send.operation);
    if (!on_wine()) return;  // Windows' code is not known to us
    CHECK(packet.error == ERROR_NETNAME_DELETED);
    CHECK(send.operation.result(connection.server) == WSAECONNRESET);
}

// Windows: https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsasend, Return value,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("04.11 A send that is started after the peer's reset fails at once with WSAECONNRESET, and no packet comes") {
    Connection connection;
    Operation receive;
    Operation operation;
    char buffer[16];
    REQUIRE(receive.receive(connection.server, buffer, sizeof buffer) == WSA_IO_PENDING);
    connection.client.reset();
    REQUIRE_FALSE(connection.port.get_packet().returned_true);  // so the reset is here
    CHECK(operation.send(connection.server, "hello", 5) == WSAECONNRESET);
    CHECK(connection.port.is_empty());
}
