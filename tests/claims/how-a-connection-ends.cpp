// The claims of notes/how-a-connection-ends.md about FIN, RST and what closes them.
#include "tests/claims/peer.hpp"

using namespace claims;

namespace {

// Both ends report, each to a port of its own.
struct TwoPorts : Connection {
    Port client_port;

    TwoPorts() { client_port.associate(client); }
};

}  // namespace

// Windows: https://learn.microsoft.com/windows/win32/api/winsock/nf-winsock-recv, Remarks
TEST_CASE("he.1 The peer's FIN comes behind all its bytes: they are received first, then zero bytes") {
    TwoPorts connection;
    send_text(connection.client, "hello");
    REQUIRE(::shutdown(connection.client, SD_SEND) == 0);
    std::string all;
    for (int i = 0; i < 3; ++i) {
        Operation receive;
        char buffer[3];
        const int error = receive.receive(connection.server, buffer, sizeof buffer);
        CHECK((error == 0 || error == WSA_IO_PENDING));
        const Packet packet = connection.port.get_packet();
        CHECK(packet.returned_true);
        CHECK((packet.bytes == 0) == (i == 2));
        all.append(buffer, packet.bytes);
    }
    CHECK(all == "hello");
}

// Windows: https://learn.microsoft.com/windows/win32/winsock/graceful-shutdown-linger-options-and-socket-closure-2,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("he.2 The peer's FIN ends one direction only: it still receives what we send") {
    TwoPorts connection;
    PendingReceive receive(connection.server);
    REQUIRE(::shutdown(connection.client, SD_SEND) == 0);
    REQUIRE(connection.port.get_packet().bytes == 0);
    Operation send;
    CHECK(send.send(connection.server, "answer", 6) == 0);
    CHECK(connection.port.get_packet().returned_true);
    CHECK(receive_text(connection.client, 6) == "answer");
}

// Windows: Wine's test ws2_32/tests/sock.c, which passes there
TEST_CASE("he.3 A FIN does not tell whether the peer still listens: the first send to one that has closed succeeds") {
    TwoPorts connection;
    PendingReceive receive(connection.server);
    connection.client.close();  // nothing was unread, so this is a FIN
    const Packet packet = connection.port.get_packet();
    CHECK(packet.returned_true);
    CHECK(packet.bytes == 0);
    Operation send;
    CHECK(send.send(connection.server, "anyone?", 7) == 0);
    CHECK(connection.port.get_packet().returned_true);
}

// Windows: Wine's test ws2_32/tests/sock.c, which passes there (of a later receive)
TEST_CASE("he.4 What is sent to a peer that has closed is answered by a reset, so a later send fails") {
    TwoPorts connection;
    PendingReceive receive(connection.server);
    connection.client.close();
    REQUIRE(connection.port.get_packet().bytes == 0);
    const ULONGLONG end = ::GetTickCount64() + patience;
    for (DWORD error = 0; error == 0;) {
        REQUIRE(::GetTickCount64() < end);
        Operation send;
        error = static_cast<DWORD>(send.send(connection.server, "anyone?", 7));
        if (error == 0) {
            CHECK(connection.port.get_packet().returned_true);
        } else {
            CHECK((error == WSAECONNRESET || error == WSAECONNABORTED));
            CHECK(connection.port.is_empty());
        }
    }
}

// Windows: no source; TCP itself (RFC 9293, 3.10.7.4) says so of all that is outstanding
TEST_CASE("he.5 A reset fails everything that is pending: each operation gets a packet of its own") {
    TwoPorts connection;
    PendingReceive receive(connection.server);
    StuckSend send(connection.port, connection.server);
    connection.client.reset();
    const Packet packets[] = {connection.port.get_packet(), connection.port.get_packet()};
    for (const Packet& packet : packets) {
        CHECK_FALSE(packet.returned_true);
        CHECK((packet.overlapped == &receive || packet.overlapped == &send.operation));
    }
    CHECK(packets[0].overlapped != packets[1].overlapped);
    CHECK(connection.port.is_empty());
}

// Windows: https://learn.microsoft.com/windows/win32/api/winsock/nf-winsock-shutdown, Remarks
TEST_CASE("he.6 Our own FIN completes none of our receives: they go on until the peer's FIN") {
    TwoPorts connection;
    PendingReceive first(connection.server);
    REQUIRE(::shutdown(connection.server, SD_SEND) == 0);
    CHECK(receive_text(connection.client, 1).empty());  // our FIN is there
    CHECK(connection.port.is_empty());
    send_text(connection.client, "last words");
    const Packet received = connection.port.get_packet();
    CHECK(received.returned_true);
    CHECK(received.bytes == 10);
    PendingReceive second(connection.server);
    REQUIRE(::shutdown(connection.client, SD_SEND) == 0);
    const Packet finished = connection.port.get_packet();
    CHECK(finished.returned_true);
    CHECK(finished.bytes == 0);
}

// Windows: https://learn.microsoft.com/windows/win32/winsock/graceful-shutdown-linger-options-and-socket-closure-2
TEST_CASE("he.7 When both have finished and nothing is pending, closesocket disturbs the peer in nothing") {
    TwoPorts connection;
    PendingReceive ours(connection.server);
    send_text(connection.client, "hello");
    REQUIRE(::shutdown(connection.client, SD_SEND) == 0);
    REQUIRE(connection.port.get_packet().bytes == 5);
    Operation end;
    char buffer[16];
    (void)end.receive(connection.server, buffer, sizeof buffer);
    REQUIRE(connection.port.get_packet().bytes == 0);
    Operation send;
    REQUIRE(send.send(connection.server, "answer", 6) == 0);
    REQUIRE(connection.port.get_packet().returned_true);
    REQUIRE(::shutdown(connection.server, SD_SEND) == 0);
    connection.server.close();
    for (const DWORD expected : {6u, 0u, 0u}) {
        Operation theirs;
        (void)theirs.receive(connection.client, buffer, sizeof buffer);
        const Packet packet = connection.client_port.get_packet();
        CHECK(packet.returned_true);
        CHECK(packet.bytes == expected);
    }
}

// Windows: https://learn.microsoft.com/windows/win32/winsock/winsock-tracing-event-details, AFD-Initiated Abort
TEST_CASE("he.8 closesocket with bytes that nobody has received resets the connection") {
    TwoPorts connection;
    PendingReceive peer(connection.client);
    send_text(connection.client, "unheard");
    wait_until_readable(connection.server, 7);
    connection.server.close();
    const Packet packet = connection.client_port.get_packet();
    CHECK_FALSE(packet.returned_true);
    CHECK(packet.error == ERROR_NETNAME_DELETED);
    CHECK(peer.result(connection.client) == WSAECONNRESET);
}

// Windows: https://learn.microsoft.com/windows/win32/winsock/sol-socket-socket-options, SO_RCVTIMEO
TEST_CASE("he.9 Silence completes nothing, whatever SO_RCVTIMEO says") {
    TwoPorts connection;
    const DWORD limit = 1;  // ms
    REQUIRE(::setsockopt(connection.server, SOL_SOCKET, SO_RCVTIMEO, reinterpret_cast<const char*>(&limit),
                         sizeof limit) == 0);
    PendingReceive receive(connection.server);
    const Packet nothing = connection.port.wait(300);
    CHECK(nothing.overlapped == nullptr);
    CHECK(nothing.error == WAIT_TIMEOUT);
    send_text(connection.client, "hello");
    CHECK(connection.port.get_packet().bytes == 5);
}

// Windows: no source; by https://learn.microsoft.com/windows/win32/winsock/overlapped-i-o-and-event-objects-2
// it is undefined what a socket does after a cancel (the aborts of
// https://learn.microsoft.com/windows/win32/winsock/winsock-tracing-event-details name a cancelled send, no receive)
TEST_CASE("he.10 Cancelling a receive is local: the connection stays, and the peer sees nothing of it") {
    TwoPorts connection;
    PendingReceive receive(connection.server);
    PendingReceive peer(connection.client);
    REQUIRE(::CancelIoEx(connection.server.handle(), nullptr));
    CHECK(connection.port.get_packet().error == ERROR_OPERATION_ABORTED);
    Operation send;
    CHECK(send.send(connection.server, "still here", 10) == 0);
    const Packet first_news = connection.client_port.get_packet();
    CHECK(first_news.returned_true);
    CHECK(first_news.bytes == 10);
    CHECK(connection.port.get_packet().overlapped == &send);
}

// Windows: Wine's test ws2_32/tests/sock.c, which passes there
TEST_CASE("he.11 Closing the listener leaves the connections that it has accepted as they are") {
    Port port;
    Socket listener = listening_socket();
    const Socket client = connected_to(listener);
    const Socket server(::accept(listener, nullptr, nullptr));
    REQUIRE(server != INVALID_SOCKET);
    port.associate(server);
    listener.close();
    PendingReceive receive(server);
    send_text(client, "hello");
    CHECK(port.get_packet().bytes == 5);
    Operation send;
    CHECK(send.send(server, "world", 5) == 0);
    CHECK(port.get_packet().returned_true);
    CHECK(receive_text(client, 5) == "world");
}
