// The claims of notes/05-disconnect.md about CancelIoEx, closesocket and DisconnectEx.
#include "tests/claims/peer.hpp"

#include <algorithm>
#include <array>
#include <thread>
#include <vector>

using namespace claims;

namespace {

BOOL disconnect_ex(const Socket& socket, OVERLAPPED* overlapped, DWORD flags) {
    return extension<LPFN_DISCONNECTEX>(socket, WSAID_DISCONNECTEX)(socket, overlapped, flags, 0);
}

}  // namespace

// Windows: https://learn.microsoft.com/windows/win32/fileio/cancelioex-func, Remarks
TEST_CASE("05.1 CancelIoEx without an OVERLAPPED ends every operation of the socket: each one's packet comes") {
    Connection connection;
    PendingReceive first(connection.server);
    PendingReceive second(connection.server);
    CHECK(::CancelIoEx(connection.server.handle(), nullptr));
    const Packet packets[] = {connection.port.get_packet(), connection.port.get_packet()};
    for (const Packet& packet : packets) {
        CHECK_FALSE(packet.returned_true);
        CHECK(packet.error == ERROR_OPERATION_ABORTED);
        CHECK((packet.overlapped == &first || packet.overlapped == &second));
    }
    CHECK(packets[0].overlapped != packets[1].overlapped);
    CHECK(first.result(connection.server) == WSA_OPERATION_ABORTED);
}

// Windows: https://learn.microsoft.com/windows/win32/fileio/cancelioex-func, Parameters;
// of the other receives, .NET's maintainers: https://github.com/dotnet/corefx/pull/36516
TEST_CASE(
    "05.2 CancelIoEx with an OVERLAPPED ends that operation and no send; on Windows perhaps all receives with one") {
    Connection connection;
    PendingReceive first(connection.server);
    PendingReceive second(connection.server);
    StuckSend send(connection.port, connection.server);
    CHECK(::CancelIoEx(connection.server.handle(), &first));
    std::vector<const OVERLAPPED*> ended;
    for (Packet packet = connection.port.get_packet(); packet.overlapped != nullptr;
         packet = connection.port.wait(200)) {
        CHECK(packet.error == ERROR_OPERATION_ABORTED);
        ended.push_back(packet.overlapped);
    }
    CHECK(std::count(ended.begin(), ended.end(), &first) == 1);
    const auto others = std::count(ended.begin(), ended.end(), &second);
    CHECK(ended.size() == static_cast<std::size_t>(1 + others));
    if (on_wine()) CHECK(others == 0);
    CHECK(drain(connection.client, send.total()).bytes == send.total());
    CHECK(connection.port.get_packet().overlapped == &send.operation);
    if (others == 1) return;
    send_text(connection.client, "hello");
    const Packet received = connection.port.get_packet();
    CHECK(received.overlapped == &second);
    CHECK(received.bytes == 5);
}

// Windows: https://learn.microsoft.com/windows/win32/fileio/cancelioex-func, Remarks
TEST_CASE("05.3 CancelIo ends only what its own thread has started, CancelIoEx what any thread has") {
    Connection connection;
    PendingReceive receive(connection.server);
    std::thread([&] { (void)::CancelIo(connection.server.handle()); }).join();
    CHECK(connection.port.is_empty());
    std::thread([&] { (void)::CancelIoEx(connection.server.handle(), nullptr); }).join();
    CHECK(connection.port.get_packet().error == ERROR_OPERATION_ABORTED);
}

// Windows: https://learn.microsoft.com/windows/win32/fileio/cancelioex-func, Return value,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("05.4 CancelIoEx that finds nothing fails with ERROR_NOT_FOUND; on Wine 8.0 it returns TRUE") {
    Connection connection;
    const BOOL cancelled = ::CancelIoEx(connection.server.handle(), nullptr);
    const DWORD error = ::GetLastError();
    if (wine_version() == 8) {
        CHECK(cancelled);
    } else {
        CHECK_FALSE(cancelled);
        CHECK(error == ERROR_NOT_FOUND);
    }
    CHECK(connection.port.is_empty());
}

// Windows: https://learn.microsoft.com/windows/win32/fileio/cancelioex-func, Remarks
TEST_CASE("05.5 CancelIoEx comes too late for an operation that has completed: its packet stays as it was") {
    Connection connection;
    Operation receive;
    char buffer[16] = {};
    send_text(connection.client, "hello");
    wait_until_readable(connection.server, 5);
    REQUIRE(receive.receive(connection.server, buffer, sizeof buffer) == 0);  // its packet is queued
    (void)::CancelIoEx(connection.server.handle(), nullptr);
    const Packet packet = connection.port.get_packet();
    CHECK(packet.returned_true);
    CHECK(packet.bytes == 5);
    CHECK(connection.port.is_empty());
}

// Windows: no source; by https://learn.microsoft.com/windows/win32/winsock/overlapped-i-o-and-event-objects-2
// it is undefined what a socket does after a cancel
TEST_CASE("05.6 After a cancelled receive the socket is as good as before: it receives and sends") {
    Connection connection;
    PendingReceive cancelled(connection.server);
    REQUIRE(::CancelIoEx(connection.server.handle(), nullptr));
    REQUIRE(connection.port.get_packet().error == ERROR_OPERATION_ABORTED);
    PendingReceive again(connection.server);
    send_text(connection.client, "hello");
    CHECK(connection.port.get_packet().bytes == 5);
    Operation send;
    CHECK(send.send(connection.server, "world", 5) == 0);
    CHECK(connection.port.get_packet().returned_true);
    CHECK(receive_text(connection.client, 5) == "world");
}

// Windows: https://learn.microsoft.com/windows/win32/winsock/winsock-tracing-event-details, AFD-Initiated Abort
TEST_CASE("05.7 A cancelled send has sent a part or nothing, and the peer sees RST; under Wine it sees FIN") {
    Connection connection;
    const StuckSend send(connection.port, connection.server);
    CHECK(::CancelIoEx(connection.server.handle(), nullptr));
    const Packet packet = connection.port.get_packet();
    CHECK(packet.overlapped == &send.operation);
    CHECK_FALSE(packet.returned_true);
    connection.server.close();
    const Drained seen = drain(connection.client);
    CHECK(seen.bytes < send.total());
    CHECK(seen.error == (on_wine() ? 0 : WSAECONNRESET));
}

// Windows: https://learn.microsoft.com/windows/win32/api/mswsock/nc-mswsock-lpfn_disconnectex, Return value,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("05.8 DisconnectEx on a socket that is not connected fails at once, and no packet comes") {
    Port port;
    const Socket unconnected = tcp_socket();
    port.associate(unconnected);
    Operation disconnect;
    CHECK_FALSE(disconnect_ex(unconnected, &disconnect, 0));
    CHECK(::WSAGetLastError() == WSAENOTCONN);
    CHECK(port.is_empty());
}

// Windows: Wine's test ws2_32/tests/sock.c, which passes there
TEST_CASE("05.9 DisconnectEx with flags 0 is our FIN with a packet: it pends, succeeds, and receiving goes on") {
    Connection connection;
    PendingReceive receive(connection.server);
    Operation disconnect;
    CHECK_FALSE(disconnect_ex(connection.server, &disconnect, 0));
    CHECK(::WSAGetLastError() == WSA_IO_PENDING);
    const Packet packet = connection.port.get_packet();
    CHECK(packet.returned_true);
    CHECK(packet.overlapped == &disconnect);
    CHECK(receive_text(connection.client, 1).empty());  // the peer sees the end
    Operation send;
    CHECK(send.send(connection.server, "late", 4) == WSAESHUTDOWN);
    send_text(connection.client, "still here");
    CHECK(connection.port.get_packet().bytes == 10);
}

// Windows: https://learn.microsoft.com/windows/win32/api/mswsock/nc-mswsock-lpfn_disconnectex, Parameters
TEST_CASE("05.10 DisconnectEx with TF_REUSE_SOCKET makes a socket fit for AcceptEx; under Wine it cannot send then") {
    Port port;
    const Socket listener = listening_socket();
    port.associate(listener);
    const auto accept_ex = extension<LPFN_ACCEPTEX>(listener, WSAID_ACCEPTEX);
    constexpr DWORD size = sizeof(sockaddr_storage) + 16;
    std::array<char, 2 * size> addresses;
    Operation accept;
    const Socket socket = tcp_socket();
    port.associate(socket);
    const auto accept_client = [&] {
        DWORD bytes = 0;
        accept.Internal = 0;
        const BOOL accepted = accept_ex(listener, socket, addresses.data(), 0, size, size, &bytes, &accept);
        if (!accepted) REQUIRE(::WSAGetLastError() == WSA_IO_PENDING);
        Socket client = connected_to(listener);
        REQUIRE(port.get_packet().returned_true);
        const SOCKET from = listener;
        REQUIRE(::setsockopt(socket, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, reinterpret_cast<const char*>(&from),
                             sizeof from) == 0);
        return client;
    };

    Socket first = accept_client();
    first.close();  // the client closes first: the side that does keeps the connection in TIME_WAIT
    Operation receive;
    char buffer[16];
    const int error = receive.receive(socket, buffer, sizeof buffer);
    REQUIRE((error == 0 || error == WSA_IO_PENDING));
    REQUIRE(port.get_packet().bytes == 0);
    Operation disconnect;
    if (!disconnect_ex(socket, &disconnect, TF_REUSE_SOCKET)) REQUIRE(::WSAGetLastError() == WSA_IO_PENDING);
    REQUIRE(port.get_packet().returned_true);

    const Socket second = accept_client();
    Operation send;
    const int sent = send.send(socket, "hello", 5);
    if (on_wine()) {
        CHECK(sent == WSAESHUTDOWN);
        return;
    }
    CHECK(sent == 0);
    CHECK(port.get_packet().overlapped == &send);
    CHECK(receive_text(second, 5) == "hello");
}

// Windows: https://learn.microsoft.com/windows/win32/api/winsock/nf-winsock-closesocket, Remarks, of the receive;
// of the reset, which the page does not have, libuv's tcp.c
TEST_CASE("05.11 closesocket with a receive pending fails it and resets the peer; under Wine the peer sees FIN") {
    Connection connection;
    PendingReceive receive(connection.server);
    Port client_port;
    client_port.associate(connection.client);
    PendingReceive peer(connection.client);  // only so can Wine 8.0 tell a reset from an end
    connection.server.close();
    const Packet packet = connection.port.get_packet();
    const Packet seen = client_port.get_packet();
    CHECK_FALSE(packet.returned_true);
    CHECK(packet.overlapped == &receive);
    if (on_wine()) {
        CHECK(packet.error == handles_closed);
        CHECK(seen.returned_true);
        CHECK(seen.bytes == 0);
    } else {
        CHECK(is_one_of(packet.error, {ERROR_CONNECTION_ABORTED, ERROR_OPERATION_ABORTED, ERROR_NETNAME_DELETED}));
        CHECK_FALSE(seen.returned_true);
    }
}

// Windows: https://learn.microsoft.com/windows/win32/api/winsock/nf-winsock-closesocket, Remarks
TEST_CASE("05.12 closesocket with a send pending ends the send on Windows; under Wine the send goes on by itself") {
    Connection connection;
    StuckSend send(connection.port, connection.server);
    connection.server.close();
    if (!on_wine()) {
        const Packet packet = connection.port.get_packet();
        CHECK_FALSE(packet.returned_true);
        CHECK(packet.overlapped == &send.operation);
        return;
    }
    CHECK(connection.port.is_empty());  // and would be for as long as the peer does not read
    (void)drain(connection.client);
    const Packet packet = connection.port.get_packet();
    CHECK(packet.overlapped == &send.operation);
    CHECK_FALSE(packet.returned_true);
}

// Windows: https://learn.microsoft.com/windows/win32/api/winsock/nf-winsock-closesocket, Remarks,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("05.13 closesocket after linger {1, 0} sends a reset") {
    Connection connection;
    PendingReceive receive(connection.server);
    const linger at_once{1, 0};
    REQUIRE(::setsockopt(connection.client, SOL_SOCKET, SO_LINGER, reinterpret_cast<const char*>(&at_once),
                         sizeof at_once) == 0);
    connection.client.close();
    const Packet packet = connection.port.get_packet();
    CHECK(packet.error == ERROR_NETNAME_DELETED);
    CHECK(receive.result(connection.server) == WSAECONNRESET);
}

// Windows: Wine's test ws2_32/tests/sock.c, which passes there
TEST_CASE("05.14 DisconnectEx on a socket that skips packets on success: a packet on Windows, none under Wine") {
    Connection connection;
    REQUIRE(::SetFileCompletionNotificationModes(connection.server.handle(), FILE_SKIP_COMPLETION_PORT_ON_SUCCESS));
    Operation disconnect;
    CHECK_FALSE(disconnect_ex(connection.server, &disconnect, 0));
    CHECK(::WSAGetLastError() == WSA_IO_PENDING);
    CHECK(receive_text(connection.client, 1).empty());  // the FIN is there, so Wine has nothing left to do
    if (on_wine()) {
        CHECK(connection.port.is_empty());
    } else {
        CHECK(connection.port.get_packet().overlapped == &disconnect);
    }
}
