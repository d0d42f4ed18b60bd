// Claims of notes/02-acceptex.md: AcceptEx, GetAcceptExSockaddrs, SO_UPDATE_ACCEPT_CONTEXT, and silent clients.
#include "tests/claims/support.hpp"

#include <array>
#include <set>
#include <string_view>

using namespace claims;

namespace {

constexpr ULONG_PTR key_of_listener = 7;
constexpr DWORD address_size = sizeof(sockaddr_in) + 16;

// A listener on a port.
struct Listening {
    Port port;
    Socket listener = listening_socket();
    LPFN_ACCEPTEX accept_ex = extension<LPFN_ACCEPTEX>(listener, WSAID_ACCEPTEX);
    LPFN_GETACCEPTEXSOCKADDRS get_addresses =
        extension<LPFN_GETACCEPTEXSOCKADDRS>(listener, WSAID_GETACCEPTEXSOCKADDRS);

    Listening() { port.associate(listener, key_of_listener); }
};

// One AcceptEx: the socket that its client gets, and the buffer. Must live until its packet has come.
struct Accept : Operation {
    // Returns 0 or the error: ERROR_IO_PENDING says that the accept has begun.
    int start(const Listening& on, DWORD receive_size = 0, DWORD local_size = address_size,
              DWORD remote_size = address_size) {
        return start(on, on.listener, receive_size, local_size, remote_size);
    }
    int start(const Listening& on, const Socket& listener, DWORD receive_size = 0, DWORD local_size = address_size,
              DWORD remote_size = address_size) {
        returned = on.accept_ex(listener, socket, buffer.data(), receive_size, local_size, remote_size, &bytes, this);
        return returned ? 0 : ::WSAGetLastError();
    }
    int update_context(const Listening& on) {
        const SOCKET listener = on.listener;
        return ::setsockopt(socket, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, reinterpret_cast<const char*>(&listener),
                            sizeof listener);
    }
    // Seconds since the client connected; all ones before.
    DWORD connect_time() const {
        DWORD seconds = 0;
        int length = sizeof seconds;
        REQUIRE(::getsockopt(socket, SOL_SOCKET, SO_CONNECT_TIME, reinterpret_cast<char*>(&seconds), &length) == 0);
        return seconds;
    }
    void wait_for_client() const {
        const ULONGLONG end = ::GetTickCount64() + patience;
        while (connect_time() == 0xFFFFFFFF && ::GetTickCount64() < end)
            ::Sleep(1);
        REQUIRE(connect_time() != 0xFFFFFFFF);
    }

    Socket socket = tcp_socket();
    std::array<char, 64 + 2 * address_size> buffer{};
    BOOL returned = FALSE;
};

bool has_begun(int error) { return error == 0 || error == ERROR_IO_PENDING; }

void send_all(const Socket& socket, std::string_view bytes) {
    const int size = static_cast<int>(bytes.size());
    REQUIRE(::send(socket, bytes.data(), size, 0) == size);
}

// The server has ended the connection in some way: the client reads an end or an error, and does not wait in vain.
bool sees_an_end(const Socket& client) {
    const DWORD limit = patience;
    REQUIRE(::setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, reinterpret_cast<const char*>(&limit), sizeof limit) == 0);
    char byte = 0;
    const int received = ::recv(client, &byte, 1, 0);
    return received == 0 || (received == SOCKET_ERROR && ::WSAGetLastError() != WSAETIMEDOUT);
}

bool same_address(const sockaddr* one, const sockaddr_in& other) {
    if (one == nullptr || one->sa_family != AF_INET) return false;
    sockaddr_in copy;
    std::memcpy(&copy, one, sizeof copy);
    return copy.sin_port == other.sin_port && copy.sin_addr.s_addr == other.sin_addr.s_addr;
}

// Windows: https://learn.microsoft.com/windows/win32/api/mswsock/nf-mswsock-acceptex, Remarks,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("02.1 WSAIoctl gives the address of AcceptEx for its GUID, and refuses a GUID it does not know with 10022") {
    const Socket socket = tcp_socket();
    GUID id = WSAID_ACCEPTEX;
    LPFN_ACCEPTEX function = nullptr;
    DWORD bytes = 0;
    CHECK(::WSAIoctl(socket, SIO_GET_EXTENSION_FUNCTION_POINTER, &id, sizeof id, &function, sizeof function, &bytes,
                     nullptr, nullptr) == 0);
    CHECK((function != nullptr));
    CHECK(bytes == sizeof function);
    id.Data1 ^= 0x12345678;
    CHECK(::WSAIoctl(socket, SIO_GET_EXTENSION_FUNCTION_POINTER, &id, sizeof id, &function, sizeof function, &bytes,
                     nullptr, nullptr) == SOCKET_ERROR);
    CHECK(::WSAGetLastError() == WSAEINVAL);
}

// Windows: https://learn.microsoft.com/windows/win32/api/mswsock/nf-mswsock-acceptex, Return value,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("02.2 AcceptEx returns a BOOL: FALSE with ERROR_IO_PENDING is its normal success, and a packet comes") {
    Listening on;
    Accept accept;
    const int error = accept.start(on);
    CHECK(accept.returned != SOCKET_ERROR);
    CHECK(accept.returned == FALSE);
    CHECK(error == ERROR_IO_PENDING);
    const Socket client = connected_to(on.listener);
    CHECK(on.port.get_packet().overlapped == &accept);

    // A call that starts nothing returns FALSE as well: only the error tells the two apart.
    Accept refused;
    CHECK(refused.start(on, Socket()) == WSAENOTSOCK);
    CHECK(refused.returned == FALSE);
}

// Windows: https://learn.microsoft.com/windows/win32/api/mswsock/nf-mswsock-acceptex, Parameters,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("02.3 A bound accept socket, or a listener that does not listen, is refused on Windows and taken by Wine") {
    Listening on;
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    Accept with_bound_socket;
    REQUIRE(::bind(with_bound_socket.socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    const int bound = with_bound_socket.start(on);

    Socket not_listening = tcp_socket();
    REQUIRE(::bind(not_listening, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    on.port.associate(not_listening);
    Accept without_listener;
    const int not_listened = without_listener.start(on, not_listening);

    CHECK(bound == (on_wine() ? ERROR_IO_PENDING : WSAEINVAL));
    CHECK(not_listened == (on_wine() ? ERROR_IO_PENDING : WSAEINVAL));
    // What has begun must end before its memory goes.
    with_bound_socket.socket.close();
    without_listener.socket.close();
    for (const int error : {bound, not_listened}) {
        if (has_begun(error)) CHECK_FALSE(on.port.get_packet().returned_true);
    }
}

// Windows: Wine's test ws2_32/tests/sock.c, which passes there
TEST_CASE("02.4 A socket that already waits in one AcceptEx is refused by the next with WSAEINVAL") {
    Listening on;
    Accept first;
    REQUIRE(has_begun(first.start(on)));
    Operation second;
    DWORD bytes = 0;
    std::array<char, 2 * address_size> buffer;
    CHECK_FALSE(on.accept_ex(on.listener, first.socket, buffer.data(), 0, address_size, address_size, &bytes, &second));
    CHECK(::WSAGetLastError() == WSAEINVAL);
    const Socket client = connected_to(on.listener);
    CHECK(on.port.get_packet().overlapped == &first);
}

// Windows: https://learn.microsoft.com/windows/win32/api/mswsock/nf-mswsock-acceptex, Parameters,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("02.5 With a receive length of 0 an accept completes when a client connects, or at once if one waits") {
    Listening on;
    Accept before;
    REQUIRE(has_begun(before.start(on)));
    const Socket first = connected_to(on.listener);
    const Packet packet = on.port.get_packet();
    CHECK(packet.returned_true);
    CHECK(packet.overlapped == &before);
    CHECK(packet.bytes == 0);
    CHECK(packet.key == key_of_listener);

    const Socket second = connected_to(on.listener);  // into the backlog
    Accept after;
    REQUIRE(has_begun(after.start(on)));
    const Packet late = on.port.get_packet();
    CHECK(late.returned_true);
    CHECK(late.overlapped == &after);
}

// Windows: https://learn.microsoft.com/windows/win32/api/mswsock/nf-mswsock-acceptex, Parameters,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("02.6 With a receive length an accept completes with the first data, at the buffer's front, and its count") {
    Listening on;
    Accept accept;
    REQUIRE(has_begun(accept.start(on, 64)));
    const Socket client = connected_to(on.listener);
    send_all(client, "hello");
    const Packet packet = on.port.get_packet();
    CHECK(packet.returned_true);
    CHECK(packet.bytes == 5);
    CHECK(std::string_view(accept.buffer.data(), 5) == "hello");
}

// Windows: https://learn.microsoft.com/windows/win32/api/mswsock/nf-mswsock-acceptex, Parameters,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("02.7 An address length short of the 16 extra bytes fails the accept on Windows; Wine accepts with it") {
    Listening on;
    Accept accept;
    REQUIRE(has_begun(accept.start(on, 0, sizeof(sockaddr_in) + 4, address_size)));
    const Socket client = connected_to(on.listener);
    const Packet packet = on.port.get_packet();
    CHECK(packet.overlapped == &accept);
    CHECK(packet.returned_true == on_wine());
    CHECK(packet.error == (on_wine() ? 0 : DWORD{ERROR_INSUFFICIENT_BUFFER}));
    if (!on_wine()) {  // that client is still in the backlog
        Accept another;
        REQUIRE(has_begun(another.start(on)));
        CHECK(on.port.get_packet().returned_true);
    }
}

// Windows: https://learn.microsoft.com/windows/win32/api/mswsock/nf-mswsock-acceptex, Parameters,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("02.8 AcceptEx without room for the client's address fails at once with WSAEFAULT") {
    Listening on;
    Accept accept;
    CHECK(accept.start(on, 0, address_size, 0) == WSAEFAULT);
    CHECK(on.port.is_empty());
}

// Windows: https://learn.microsoft.com/windows/win32/api/mswsock/nf-mswsock-getacceptexsockaddrs, Parameters,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("02.9 GetAcceptExSockaddrs, given the lengths that AcceptEx was given, finds both addresses in the buffer") {
    for (const DWORD receive_size : {DWORD{0}, DWORD{64}}) {
        CAPTURE(receive_size);
        Listening on;
        Accept accept;
        REQUIRE(has_begun(accept.start(on, receive_size)));
        const Socket client = connected_to(on.listener);
        send_all(client, "hello");
        REQUIRE(on.port.get_packet().returned_true);
        sockaddr* local = nullptr;
        sockaddr* remote = nullptr;
        int local_length = 0;
        int remote_length = 0;
        on.get_addresses(accept.buffer.data(), receive_size, address_size, address_size, &local, &local_length, &remote,
                         &remote_length);
        CHECK(same_address(local, local_address(on.listener)));
        CHECK(same_address(remote, local_address(client)));
        // Not copies: they go with the buffer.
        for (const sockaddr* address : {local, remote}) {
            const auto* const place = reinterpret_cast<const char*>(address);
            CHECK((place >= accept.buffer.data() && place < accept.buffer.data() + accept.buffer.size()));
        }
    }
}

// Windows: https://learn.microsoft.com/windows/win32/api/mswsock/nf-mswsock-acceptex, Remarks
TEST_CASE("02.10 Before SO_UPDATE_ACCEPT_CONTEXT, getpeername and shutdown fail on an accepted socket") {
    if (on_wine()) {
        MESSAGE("skipped under Wine: the accepted socket is whole from the start, and the option does nothing");
        return;
    }
    Listening on;
    Accept accept;
    REQUIRE(has_begun(accept.start(on)));
    const Socket client = connected_to(on.listener);
    REQUIRE(on.port.get_packet().returned_true);
    sockaddr_in peer{};
    int length = sizeof peer;
    CHECK(::getpeername(accept.socket, reinterpret_cast<sockaddr*>(&peer), &length) == SOCKET_ERROR);
    CHECK(::shutdown(accept.socket, SD_SEND) == SOCKET_ERROR);
}

// Windows: https://learn.microsoft.com/windows/win32/api/mswsock/nf-mswsock-acceptex, Remarks
TEST_CASE("02.11 After SO_UPDATE_ACCEPT_CONTEXT, getpeername, getsockname and shutdown work on an accepted socket") {
    Listening on;
    Accept accept;
    REQUIRE(has_begun(accept.start(on)));
    const Socket client = connected_to(on.listener);
    REQUIRE(on.port.get_packet().returned_true);
    CHECK(accept.update_context(on) == 0);
    sockaddr_in peer{};
    int length = sizeof peer;
    CHECK(::getpeername(accept.socket, reinterpret_cast<sockaddr*>(&peer), &length) == 0);
    CHECK(same_address(reinterpret_cast<const sockaddr*>(&peer), local_address(client)));
    const sockaddr_in own = local_address(accept.socket);
    CHECK(same_address(reinterpret_cast<const sockaddr*>(&own), local_address(on.listener)));
    CHECK(::shutdown(accept.socket, SD_SEND) == 0);
    CHECK(sees_an_end(client));
}

// Windows: no source; libuv's tcp.c does keep several accepts pending on a listener
TEST_CASE("02.12 Several accepts may be pending on one listener, and each takes one client") {
    Listening on;
    std::array<Accept, 3> accepts;
    for (Accept& accept : accepts)
        REQUIRE(has_begun(accept.start(on)));
    const std::array<Socket, 3> clients{connected_to(on.listener), connected_to(on.listener),
                                        connected_to(on.listener)};
    std::set<OVERLAPPED*> completed;
    std::set<u_short> ports;
    for (std::size_t i = 0; i < accepts.size(); ++i) {
        const Packet packet = on.port.get_packet();
        CHECK(packet.returned_true);
        Accept& accept = *static_cast<Accept*>(packet.overlapped);
        completed.insert(&accept);
        REQUIRE(accept.update_context(on) == 0);
        sockaddr_in peer{};
        int length = sizeof peer;
        REQUIRE(::getpeername(accept.socket, reinterpret_cast<sockaddr*>(&peer), &length) == 0);
        ports.insert(peer.sin_port);
    }
    CHECK(completed.size() == 3);
    CHECK(ports.size() == 3);
    for (const Socket& client : clients)
        CHECK(ports.count(local_address(client).sin_port) == 1);
}

// Windows: https://learn.microsoft.com/windows/win32/api/mswsock/nf-mswsock-acceptex, Remarks
TEST_CASE("02.13 Wine 8.0 leaves out the addresses of a client that only finished; getpeername knows them everywhere") {
    Listening on;
    Accept accept;
    REQUIRE(has_begun(accept.start(on, 64)));
    const Socket client = connected_to(on.listener);
    REQUIRE(::shutdown(client, SD_SEND) == 0);
    REQUIRE(on.port.get_packet().returned_true);
    REQUIRE(accept.update_context(on) == 0);
    sockaddr* local = nullptr;
    sockaddr* remote = nullptr;
    int local_length = 0;
    int remote_length = 0;
    on.get_addresses(accept.buffer.data(), 64, address_size, address_size, &local, &local_length, &remote,
                     &remote_length);
    if (wine_version() == 8) CHECK(remote_length == 0);
    sockaddr_in peer{};
    int length = sizeof peer;
    CHECK(::getpeername(accept.socket, reinterpret_cast<sockaddr*>(&peer), &length) == 0);
    CHECK(same_address(reinterpret_cast<const sockaddr*>(&peer), local_address(client)));
}

// Windows: https://learn.microsoft.com/windows/win32/api/mswsock/nf-mswsock-acceptex, Example Code,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE(
    "02.14 An accepted socket does not inherit the listener's port: it is associated by itself, before or after") {
    for (const bool before : {true, false}) {
        CAPTURE(before);
        Listening on;
        Accept accept;
        if (before) on.port.associate(accept.socket, 8);
        REQUIRE(has_begun(accept.start(on)));
        const Socket client = connected_to(on.listener);
        CHECK(on.port.get_packet().key == key_of_listener);  // the accept is the listener's operation, in both cases
        REQUIRE(accept.update_context(on) == 0);
        if (!before) on.port.associate(accept.socket, 8);  // a socket that had a port would be refused
        std::array<char, 5> buffer;
        Operation receive;
        const int error = receive.receive(accept.socket, buffer.data(), buffer.size());
        REQUIRE((error == 0 || error == WSA_IO_PENDING));
        send_all(client, "hello");
        const Packet packet = on.port.get_packet();
        CHECK(packet.overlapped == &receive);
        CHECK(packet.key == 8);
    }
}

// Windows: https://learn.microsoft.com/windows/win32/api/mswsock/nf-mswsock-acceptex, Return value,
// and Go's internal/poll/fd_windows.go
TEST_CASE("02.15 A client that resets before its turn may fail one AcceptEx, and the next one serves the next client") {
    Listening on;
    Socket gone = connected_to(on.listener);
    gone.reset();
    const Socket next = connected_to(on.listener);
    // True when this accept is the one that got the next client.
    const auto serves_next = [&](Accept& accept) {
        sockaddr_in peer{};
        int length = sizeof peer;
        return accept.update_context(on) == 0 &&
               ::getpeername(accept.socket, reinterpret_cast<sockaddr*>(&peer), &length) == 0 &&
               peer.sin_port == local_address(next).sin_port;
    };
    unsigned failures = 0;
    for (bool served = false; !served;) {
        Accept accept;
        DWORD error = static_cast<DWORD>(accept.start(on));
        if (has_begun(static_cast<int>(error))) {
            const Packet packet = on.port.get_packet();
            CHECK(packet.overlapped == &accept);
            error = packet.error;
            served = packet.returned_true && serves_next(accept);
        }
        if (!served) {
            if (on_wine()) CHECK(error == ERROR_UNEXP_NET_ERR);
            REQUIRE(++failures < 3);
        }
    }
    if (on_wine()) CHECK(failures == 1);
}

// Windows: Wine's test ws2_32/tests/sock.c, which passes there
TEST_CASE("02.16 A client that only finishes completes an accept that waits for data, with success and 0 bytes") {
    Listening on;
    Accept accept;
    REQUIRE(has_begun(accept.start(on, 64)));
    const Socket client = connected_to(on.listener);
    REQUIRE(::shutdown(client, SD_SEND) == 0);
    const Packet packet = on.port.get_packet();
    CHECK(packet.returned_true);
    CHECK(packet.bytes == 0);
}

// Windows: Go's internal/poll/fd_windows.go, which meets it there
TEST_CASE("02.17 A client that resets while an accept waits for its data fails that accept, as the packet says") {
    Listening on;
    Accept accept;
    REQUIRE(has_begun(accept.start(on, 64)));
    Socket client = connected_to(on.listener);
    accept.wait_for_client();
    client.reset();
    const Packet packet = on.port.get_packet();
    CHECK_FALSE(packet.returned_true);
    CHECK(packet.overlapped == &accept);
    if (on_wine()) CHECK(packet.error == ERROR_NETNAME_DELETED);
}

// Windows: https://learn.microsoft.com/windows/win32/api/mswsock/nf-mswsock-acceptex, Remarks
TEST_CASE("02.18 A silent client holds an accept that waits for data; the next client needs another accept") {
    Listening on;
    Accept held;
    REQUIRE(has_begun(held.start(on, 64)));
    const Socket silent = connected_to(on.listener);
    held.wait_for_client();
    const Socket speaker = connected_to(on.listener);
    send_all(speaker, "hello");
    CHECK(on.port.wait(100).error == WAIT_TIMEOUT);

    Accept another;
    REQUIRE(has_begun(another.start(on, 64)));
    const Packet packet = on.port.get_packet();
    CHECK(packet.overlapped == &another);
    CHECK(packet.bytes == 5);

    send_all(silent, "!");
    CHECK(on.port.get_packet().overlapped == &held);
}

// Windows: https://learn.microsoft.com/windows/win32/api/mswsock/nf-mswsock-acceptex, Remarks,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE(
    "02.19 SO_CONNECT_TIME on the accept socket is all ones until a client is there, and then its age in seconds") {
    Listening on;
    Accept accept;
    REQUIRE(has_begun(accept.start(on, 64)));
    CHECK(accept.connect_time() == 0xFFFFFFFF);
    const Socket client = connected_to(on.listener);
    accept.wait_for_client();
    CHECK(accept.connect_time() <= patience / 1000);
    send_all(client, "!");
    CHECK(on.port.get_packet().returned_true);
}

// Windows: https://learn.microsoft.com/windows/win32/api/mswsock/nf-mswsock-acceptex, Remarks,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("02.20 Closing the accept socket ends the accept with a failed packet, and its silent client sees an end") {
    Listening on;
    Accept accept;
    REQUIRE(has_begun(accept.start(on, 64)));
    const Socket client = connected_to(on.listener);
    accept.wait_for_client();
    accept.socket.close();
    const Packet packet = on.port.get_packet();
    CHECK_FALSE(packet.returned_true);
    CHECK(packet.overlapped == &accept);
    CHECK(sees_an_end(client));
}

// Windows: https://learn.microsoft.com/windows/win32/fileio/cancelioex-func, Remarks,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("02.21 CancelIoEx on the listener fails every pending accept with 995, and the listener can still accept") {
    Listening on;
    std::array<Accept, 3> accepts;
    for (Accept& accept : accepts)
        REQUIRE(has_begun(accept.start(on)));
    CHECK(::CancelIoEx(on.listener.handle(), nullptr));
    for (std::size_t i = 0; i < accepts.size(); ++i) {
        const Packet packet = on.port.get_packet();
        CHECK_FALSE(packet.returned_true);
        CHECK(packet.error == ERROR_OPERATION_ABORTED);
    }
    CHECK(on.port.is_empty());
    Accept again;
    REQUIRE(has_begun(again.start(on)));
    const Socket client = connected_to(on.listener);
    CHECK(on.port.get_packet().returned_true);
}

}  // namespace
