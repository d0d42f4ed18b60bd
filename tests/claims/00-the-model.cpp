// Claims of notes/00-the-model.md: the life of one operation, from the call that starts it to its packet.
#include "tests/claims/support.hpp"

#include <array>
#include <string_view>
#include <thread>

using namespace claims;

namespace {

constexpr ULONG_PTR key_of_server = 7;

// A server's end on a port, and its client.
struct Connected {
    Port port;
    Pair pair = connected_pair();

    Connected() { port.associate(pair.server, key_of_server); }
    const Socket& server() const { return pair.server; }
    // Plain, blocking: the client is no part of the claim.
    void client_sends(std::string_view bytes) {
        const int size = static_cast<int>(bytes.size());
        REQUIRE(::send(pair.client, bytes.data(), size, 0) == size);
    }
};

// Windows: https://learn.microsoft.com/windows/win32/winsock/overlapped-i-o-and-event-objects-2
TEST_CASE("00.1 Data that arrives while no operation is pending makes no packet") {
    Connected connected;
    connected.client_sends("hello");
    fd_set sockets;
    FD_ZERO(&sockets);
    FD_SET(connected.server(), &sockets);
    timeval limit{patience / 1000, 0};
    REQUIRE(::select(0, &sockets, nullptr, nullptr, &limit) == 1);  // a reactor hears of it, the port does not
    const Packet none = connected.port.wait(100);
    CHECK_FALSE(none.returned_true);
    CHECK(none.error == WAIT_TIMEOUT);
    CHECK(none.overlapped == nullptr);
}

// Windows: https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsarecv, Return value,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("00.2 A call that fails at once, with another error than pending, never gives a packet") {
    Port port;
    const Socket unconnected = tcp_socket();
    port.associate(unconnected);
    std::array<char, 16> buffer;
    Operation receive;
    CHECK(receive.receive(unconnected, buffer.data(), buffer.size()) == WSAENOTCONN);
    const Packet none = port.wait(100);
    CHECK_FALSE(none.returned_true);
    CHECK(none.overlapped == nullptr);
}

// Windows: https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsarecv, Remarks
TEST_CASE("00.3 When the packet of a receive has come, the bytes already lie in the buffer that the call was given") {
    Connected connected;
    std::array<char, 16> buffer{};
    Operation receive;
    REQUIRE(receive.receive(connected.server(), buffer.data(), buffer.size()) == WSA_IO_PENDING);
    connected.client_sends("hello");
    const Packet packet = connected.port.get_packet();
    CHECK(std::string_view(buffer.data(), packet.bytes) == "hello");
    // Nothing is left to be read, as it would be after a mere sign of readiness.
    u_long left = 99;
    REQUIRE(::ioctlsocket(connected.server(), FIONREAD, &left) == 0);
    CHECK(left == 0);
}

// Windows: https://learn.microsoft.com/windows/win32/fileio/cancelioex-func, Remarks
TEST_CASE("00.4 Cancelling a pending operation does not take its packet away: it comes, as a failure with error 995") {
    Connected connected;
    std::array<char, 16> buffer;
    Operation receive;
    REQUIRE(receive.receive(connected.server(), buffer.data(), buffer.size()) == WSA_IO_PENDING);
    REQUIRE(::CancelIoEx(connected.server().handle(), &receive));
    const Packet packet = connected.port.get_packet();
    CHECK_FALSE(packet.returned_true);
    CHECK(packet.error == ERROR_OPERATION_ABORTED);
    CHECK(packet.overlapped == &receive);
    CHECK(packet.key == key_of_server);
    CHECK(connected.port.is_empty());
}

// Windows: https://learn.microsoft.com/windows/win32/fileio/i-o-completion-ports, How I/O completion ports work
TEST_CASE(
    "00.5 Each operation that was started gives exactly one packet, which carries the address of its OVERLAPPED") {
    Connected connected;
    std::array<char, 5> first;
    std::array<char, 5> second;
    Operation first_receive;
    Operation second_receive;
    REQUIRE(first_receive.receive(connected.server(), first.data(), first.size()) == WSA_IO_PENDING);
    REQUIRE(second_receive.receive(connected.server(), second.data(), second.size()) == WSA_IO_PENDING);
    connected.client_sends("helloagain");  // one send, two operations
    const Packet one = connected.port.get_packet();
    const Packet other = connected.port.get_packet();
    CHECK((one.overlapped == &first_receive || one.overlapped == &second_receive));
    CHECK((other.overlapped == &first_receive || other.overlapped == &second_receive));
    CHECK(one.overlapped != other.overlapped);
    for (const Packet& packet : {one, other}) {
        CHECK(packet.returned_true);
        CHECK(packet.bytes == 5);
        CHECK(packet.key == key_of_server);
    }
    CHECK(connected.port.is_empty());
}

// Windows: https://learn.microsoft.com/windows/win32/api/processthreadsapi/nf-processthreadsapi-exitthread, Remarks,
// and Wine's test ws2_32/tests/afd.c
TEST_CASE("00.6 Any thread may take the packet, and the thread that started the operation may have ended before") {
    Connected connected;
    std::array<char, 16> buffer{};
    Operation receive;
    int started = 0;
    std::thread([&] { started = receive.receive(connected.server(), buffer.data(), buffer.size()); }).join();
    REQUIRE(started == WSA_IO_PENDING);
    connected.client_sends("hello");
    Packet packet;
    std::thread([&] { packet = connected.port.wait(patience); }).join();
    CHECK(packet.returned_true);
    CHECK(packet.overlapped == &receive);
    CHECK(packet.bytes == 5);
    CHECK(std::string_view(buffer.data(), 5) == "hello");
}

}  // namespace
