// The claims of notes/windows-and-wine.md: where the two differ, each says both, and tests the one that it runs on.
#include "tests/claims/support.hpp"

#include <array>
#include <vector>

using namespace claims;

namespace {

bool on_wine_8() { return on_wine() && wine_version() < 10; }

struct Accept {
    explicit Accept(const Socket& listener) : accept_ex(extension<LPFN_ACCEPTEX>(listener, WSAID_ACCEPTEX)) {}

    // 0 or the error.
    int start(const Socket& listener) { return start(listener, socket); }
    int start(const Socket& listener, const Socket& accepting) {
        const DWORD address = sizeof(sockaddr_storage) + 16;
        static_cast<OVERLAPPED&>(operation) = OVERLAPPED{};
        const BOOL done =
            accept_ex(listener, accepting, buffer.data(), 0, address, address, &operation.bytes, &operation);
        return done ? 0 : ::WSAGetLastError();
    }

    LPFN_ACCEPTEX accept_ex;
    Socket socket = tcp_socket();
    Operation operation;
    std::array<char, 512> buffer{};
};

// What is to be read there, or how the connection ended: bytes, 0 for FIN, or minus Winsock's number.
int read_until_deadline(const Socket& socket) {
    char buffer[64];
    const int bytes = ::recv(socket, buffer, sizeof buffer, 0);
    return bytes == SOCKET_ERROR ? -::WSAGetLastError() : bytes;
}

sockaddr_in loopback() {  // any free port
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}
// 0 or the error.
int bind_to(const Socket& socket, const sockaddr_in& address) {
    return ::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? 0 : ::WSAGetLastError();
}
int set_option(const Socket& socket, int option) {
    const BOOL yes = TRUE;
    return ::setsockopt(socket, SOL_SOCKET, option, reinterpret_cast<const char*>(&yes), sizeof yes);
}

// Connects. 0, the error, or WAIT_TIMEOUT if there is no answer in time: Windows asks again after each refusal, for
// about 2 s, before it says so.
DWORD connect_in_time(const Socket& client, const sockaddr_in& address) {
    u_long at_once = 1;
    REQUIRE(::ioctlsocket(client, static_cast<long>(FIONBIO), &at_once) == 0);
    if (::connect(client, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return 0;
    const int error = ::WSAGetLastError();
    if (error != WSAEWOULDBLOCK) return static_cast<DWORD>(error);
    const ULONGLONG deadline = ::GetTickCount64() + (on_wine() ? 1000 : 10000);
    for (; ::GetTickCount64() < deadline; ::Sleep(10)) {
        fd_set connected, failed;
        FD_ZERO(&connected);
        FD_ZERO(&failed);
        FD_SET(client, &connected);
        FD_SET(client, &failed);
        timeval now{0, 0};  // MinGW-w64 asks for one that may be written
        if (::select(0, nullptr, &connected, &failed, &now) <= 0) continue;
        if (FD_ISSET(client, &connected)) return 0;
        DWORD why = 0;
        int size = sizeof why;
        REQUIRE(::getsockopt(client, SOL_SOCKET, SO_ERROR, reinterpret_cast<char*>(&why), &size) == 0);
        return why;
    }
    return WAIT_TIMEOUT;
}

}  // namespace

// Windows: https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsarecv, Return value,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("ww.1 A receive that is started after a reset fails with 10054; under Wine 8.0 it completes with 0 bytes") {
    Pair pair = connected_pair();
    Port port;
    port.associate(pair.server);
    pair.client.reset();
    // Until the reset has arrived: a socket that was reset takes no more bytes.
    const ULONGLONG deadline = ::GetTickCount64() + patience;
    while (::send(pair.server, "x", 1, 0) != SOCKET_ERROR && ::GetTickCount64() < deadline)
        ::Sleep(1);
    Operation receive;
    char buffer[16];
    const int error = receive.receive(pair.server, buffer, sizeof buffer);
    if (on_wine_8()) {
        CHECK(error == 0);
        const Packet packet = port.get_packet();
        CHECK(packet.returned_true);
        CHECK(packet.bytes == 0);
    } else {
        CHECK(error == WSAECONNRESET);
        CHECK(port.is_empty());
    }
}

// Windows: libuv's tcp.c; Microsoft's page on closesocket does not have it
TEST_CASE("ww.2 A socket closed with a receive pending sends RST; under Wine it sends FIN") {
    Pair pair = connected_pair();
    Port port;
    port.associate(pair.server, 1);
    port.associate(pair.client, 2);
    Operation ours;
    Operation theirs;
    char buffer[16];
    char other[16];
    REQUIRE(theirs.receive(pair.client, other, sizeof other) == WSA_IO_PENDING);  // so that a reset is seen as one
    REQUIRE(ours.receive(pair.server, buffer, sizeof buffer) == WSA_IO_PENDING);
    pair.server.close();
    Packet packet = port.get_packet();
    if (packet.overlapped == &ours) packet = port.get_packet();  // the two may come in either order
    REQUIRE(packet.overlapped == &theirs);
    CHECK(packet.bytes == 0);
    CHECK(packet.error == (on_wine() ? 0u : DWORD{ERROR_NETNAME_DELETED}));
}

// Windows: https://learn.microsoft.com/windows/win32/fileio/cancelioex-func, Return value,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("ww.3 CancelIoEx with nothing to cancel returns FALSE and 1168; under Wine 8.0 it returns TRUE") {
    const Pair pair = connected_pair();
    const BOOL cancelled = ::CancelIoEx(pair.server.handle(), nullptr);
    const DWORD error = ::GetLastError();
    if (on_wine_8()) {
        CHECK(cancelled);
    } else {
        CHECK_FALSE(cancelled);
        CHECK(error == ERROR_NOT_FOUND);
    }
}

// Windows: Wine's test ws2_32/tests/sock.c, which passes there
TEST_CASE("ww.4 DisconnectEx on a socket that skips packets has one all the same, as it pends; under Wine none comes") {
    const Pair pair = connected_pair();
    Port port;
    port.associate(pair.server);
    REQUIRE(::SetFileCompletionNotificationModes(pair.server.handle(), FILE_SKIP_COMPLETION_PORT_ON_SUCCESS));
    const auto disconnect_ex = extension<LPFN_DISCONNECTEX>(pair.server, WSAID_DISCONNECTEX);
    Operation disconnect;
    CHECK_FALSE(disconnect_ex(pair.server, &disconnect, 0, 0));
    CHECK(::WSAGetLastError() == WSA_IO_PENDING);
    CHECK(read_until_deadline(pair.client) == 0);  // the FIN is here, so the operation has ended
    if (on_wine()) {
        CHECK(port.is_empty());
    } else {
        CHECK(port.get_packet().overlapped == &disconnect);
    }
}

// Windows: https://learn.microsoft.com/windows/win32/api/mswsock/nc-mswsock-lpfn_disconnectex, Parameters
TEST_CASE("ww.5 After DisconnectEx with TF_REUSE_SOCKET an accepted socket serves the next AcceptEx; not under Wine") {
    const Socket listener = listening_socket();
    Port port;
    port.associate(listener);
    Accept accept(listener);
    REQUIRE(accept.start(listener) == ERROR_IO_PENDING);
    Socket first = connected_to(listener);
    REQUIRE(port.get_packet().returned_true);
    const SOCKET listening = listener;
    REQUIRE(::setsockopt(accept.socket, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, reinterpret_cast<const char*>(&listening),
                         sizeof listening) == 0);
    port.associate(accept.socket);
    first.close();                                   // the client closes first: no TIME_WAIT on our side
    CHECK(read_until_deadline(accept.socket) == 0);  // its FIN is here
    const auto disconnect_ex = extension<LPFN_DISCONNECTEX>(accept.socket, WSAID_DISCONNECTEX);
    Operation disconnect;
    if (!disconnect_ex(accept.socket, &disconnect, TF_REUSE_SOCKET, 0)) {
        REQUIRE(::WSAGetLastError() == WSA_IO_PENDING);
    }
    CHECK(port.get_packet().returned_true);

    REQUIRE(accept.start(listener) == ERROR_IO_PENDING);
    const Socket second = connected_to(listener);
    CHECK(port.get_packet().returned_true);
    Operation send;
    const int error = send.send(accept.socket, "hello", 5);
    if (on_wine()) {
        CHECK(error == WSAESHUTDOWN);  // the socket has a client, and still thinks that it has sent its FIN
    } else {
        CHECK(error == 0);
        CHECK(port.get_packet().overlapped == &send);
        CHECK(read_until_deadline(second) > 0);
    }
}

// Windows: https://learn.microsoft.com/windows/win32/api/mswsock/nf-mswsock-acceptex, Return value,
// and Go's internal/poll/fd_windows.go
TEST_CASE("ww.6 AcceptEx may fail for a client that is gone already: with 64 or 10054 on Windows, with 59 under Wine") {
    const Socket listener = listening_socket();
    Port port;
    port.associate(listener);
    // A reset that comes late finds its client accepted, and one that comes early may leave no trace: then the next
    // client is. So another round.
    DWORD error = 0;
    for (int i = 0; i < 100 && error == 0; ++i) {
        Socket client = connected_to(listener);
        client.reset();
        const Socket next = connected_to(listener);
        Accept accept(listener);
        error = static_cast<DWORD>(accept.start(listener));
        if (error == 0 || error == ERROR_IO_PENDING) error = port.get_packet().error;
    }
    if (on_wine()) {
        CHECK(error == ERROR_UNEXP_NET_ERR);
    } else {
        CHECK((error == 0 || error == ERROR_NETNAME_DELETED || error == WSAECONNRESET));
    }
    // Either way the listener is as good as before.
    const Socket other = connected_to(listener);
    Accept accept(listener);
    const int begun = accept.start(listener);
    REQUIRE((begun == 0 || begun == ERROR_IO_PENDING));
    CHECK(port.get_packet().returned_true);
}

// Windows: https://learn.microsoft.com/windows/win32/api/mswsock/nf-mswsock-acceptex, Parameters,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("ww.7 AcceptEx on a socket that does not listen fails with 10022; under Wine it pends") {
    Socket not_listening = tcp_socket();
    Port port;
    port.associate(not_listening);
    REQUIRE(bind_to(not_listening, loopback()) == 0);
    Accept accept(not_listening);
    const int error = accept.start(not_listening);
    if (on_wine()) {
        CHECK(error == ERROR_IO_PENDING);
        not_listening.close();
        CHECK(port.get_packet().overlapped == &accept.operation);
    } else {
        CHECK(error == WSAEINVAL);
        CHECK(port.is_empty());
    }
}

// Windows: Wine's tests kernel32/tests/file.c and ws2_32/tests/sock.c, which pass there
TEST_CASE("ww.8 Of an OVERLAPPED_ENTRY's Internal only the low 32 bits count; Wine 10.0 leaves rubbish above them") {
    Pair pair = connected_pair();
    Port port;
    port.associate(pair.server);
    Operation receive;
    char buffer[16];
    REQUIRE(receive.receive(pair.server, buffer, sizeof buffer) == WSA_IO_PENDING);
    pair.client.reset();
    OVERLAPPED_ENTRY entry{};
    ULONG count = 0;
    REQUIRE(::GetQueuedCompletionStatusEx(port.get(), &entry, 1, &count, patience, FALSE));
    constexpr ULONG reset = 0xC000020D;  // STATUS_CONNECTION_RESET
    CHECK(static_cast<ULONG>(entry.Internal) == reset);
    CHECK(static_cast<ULONG>(receive.Internal) == reset);
}

// Windows: https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-listen, Remarks
TEST_CASE("ww.9 A full backlog refuses the next client, with 10061; under Wine its connect hangs") {
    Socket listener = tcp_socket();
    REQUIRE(bind_to(listener, loopback()) == 0);
    REQUIRE(::listen(listener, 1) == 0);
    std::vector<Socket> clients;
    DWORD error = 0;
    while (error == 0 && clients.size() < 300) {  // a system may take more than it was asked for
        clients.push_back(tcp_socket());
        error = connect_in_time(clients.back(), local_address(listener));
    }
    CHECK(clients.size() > 1);
    CHECK(error == (on_wine() ? DWORD{WAIT_TIMEOUT} : DWORD{WSAECONNREFUSED}));
}

// Windows: https://learn.microsoft.com/windows/win32/winsock/using-so-reuseaddr-and-so-exclusiveaddruse,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("ww.10 A port that is taken: 10048, and 10013 for a socket that asks to share it by SO_REUSEADDR") {
    for (const bool exclusive : {true, false}) {
        CAPTURE(exclusive);
        Socket first = tcp_socket();
        if (exclusive) REQUIRE(set_option(first, SO_EXCLUSIVEADDRUSE) == 0);
        REQUIRE(bind_to(first, loopback()) == 0);
        REQUIRE(::listen(first, SOMAXCONN) == 0);
        const sockaddr_in taken = local_address(first);
        CHECK(bind_to(tcp_socket(), taken) == WSAEADDRINUSE);
        Socket exclusive_too = tcp_socket();
        REQUIRE(set_option(exclusive_too, SO_EXCLUSIVEADDRUSE) == 0);
        CHECK(bind_to(exclusive_too, taken) == WSAEADDRINUSE);
        Socket sharing = tcp_socket();
        REQUIRE(set_option(sharing, SO_REUSEADDR) == 0);
        CHECK(bind_to(sharing, taken) == WSAEACCES);
    }
}
