// The claims of notes/which-false-is-it.md.
#include "tests/claims/support.hpp"

#include <array>
#include <thread>

using namespace claims;

namespace {

// What AcceptEx needs, and keeps until the packet.
struct Accept {
    Accept(const Socket& listener, DWORD data_size = 0)
        : accept_ex(extension<LPFN_ACCEPTEX>(listener, WSAID_ACCEPTEX)), size(data_size) {}

    // 0 or the error.
    int start(const Socket& listener) { return start(listener, socket, operation); }
    int start(const Socket& listener, const Socket& accepting, Operation& with) {
        const DWORD address = sizeof(sockaddr_storage) + 16;
        const BOOL done =
            accept_ex(listener, accepting, buffer.data(), size, address, address, &operation.bytes, &with);
        return done ? 0 : ::WSAGetLastError();
    }

    LPFN_ACCEPTEX accept_ex;
    DWORD size;
    Socket socket = tcp_socket();
    Operation operation;
    std::array<char, 1024> buffer{};
};

// A connection that the peer has reset while a receive was pending on it: `packet` told so.
struct Lost {
    Pair pair = connected_pair();
    Port port;
    Operation receive;
    char buffer[16];
    Packet packet;

    explicit Lost(ULONG_PTR key = 0) {
        port.associate(pair.server, key);
        REQUIRE(receive.receive(pair.server, buffer, sizeof buffer) == WSA_IO_PENDING);
        pair.client.reset();
        packet = port.get_packet();
    }
};

}  // namespace

// ---- GetQueuedCompletionStatus ----

// Windows: https://learn.microsoft.com/windows/win32/api/ioapiset/nf-ioapiset-getqueuedcompletionstatus, Remarks
TEST_CASE("wf.1 TRUE with an OVERLAPPED: an operation has succeeded, and its key and byte count are set") {
    Pair pair = connected_pair();
    Port port;
    port.associate(pair.server, 42);
    Operation receive;
    char buffer[16];
    REQUIRE(receive.receive(pair.server, buffer, sizeof buffer) == WSA_IO_PENDING);
    REQUIRE(::send(pair.client, "a", 1, 0) == 1);
    const Packet packet = port.get_packet();
    CHECK(packet.returned_true);
    CHECK(packet.overlapped == &receive);
    CHECK(packet.key == 42);
    CHECK(packet.bytes == 1);
}

// Windows: https://learn.microsoft.com/windows/win32/fileio/postqueuedcompletionstatus, Remarks,
// and Wine's test ntdll/tests/sync.c
TEST_CASE("wf.2 TRUE with a null OVERLAPPED: a packet was posted by hand, with values of its poster's own choice") {
    Port port;
    REQUIRE(::PostQueuedCompletionStatus(port.get(), 0xFFFFFFFF, ~ULONG_PTR{1}, nullptr));
    const Packet packet = port.wait(patience);
    CHECK(packet.returned_true);
    CHECK(packet.overlapped == nullptr);
    CHECK(packet.bytes == 0xFFFFFFFF);
    CHECK(packet.key == ~ULONG_PTR{1});
}

// Windows: https://learn.microsoft.com/windows/win32/api/ioapiset/nf-ioapiset-getqueuedcompletionstatus, Remarks,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("wf.3 FALSE with an OVERLAPPED: a packet of an operation that failed; its key is set as for any other") {
    const Lost lost(42);
    CHECK_FALSE(lost.packet.returned_true);
    CHECK(lost.packet.overlapped == &lost.receive);
    CHECK(lost.packet.key == 42);
    CHECK(lost.packet.bytes == 0);
}

// Windows: https://learn.microsoft.com/windows/win32/api/ioapiset/nf-ioapiset-getqueuedcompletionstatus, Remarks,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("wf.4 FALSE with a null OVERLAPPED and 258: no packet came in time, and key and bytes were not written") {
    Port port;
    DWORD bytes = 123;
    ULONG_PTR key = 456;
    OVERLAPPED other{};
    OVERLAPPED* overlapped = &other;
    CHECK_FALSE(::GetQueuedCompletionStatus(port.get(), &bytes, &key, &overlapped, 0));
    CHECK(::GetLastError() == WAIT_TIMEOUT);
    CHECK(overlapped == nullptr);
    CHECK(bytes == 123);
    CHECK(key == 456);
}

// Windows: https://learn.microsoft.com/windows/win32/api/ioapiset/nf-ioapiset-getqueuedcompletionstatus, Remarks,
// and Wine's test ntdll/tests/sync.c
TEST_CASE("wf.5 FALSE with a null OVERLAPPED and 735: the port was closed while this thread waited") {
    if (on_wine() && wine_version() < 10) {
        MESSAGE("skipped under Wine: before 10.0 closing the port wakes nobody, and the thread would wait for ever");
        return;
    }
    // Nobody can see from outside that a thread waits. Where it was late, its call found a closed port (6): once more,
    // with more time.
    Packet packet;
    for (DWORD milliseconds = 1; milliseconds < patience; milliseconds *= 4) {
        Port port;
        std::thread waiting([&] { packet = port.wait(patience); });
        ::Sleep(milliseconds);
        ::CloseHandle(port.get());
        waiting.join();
        port.forget();
        if (packet.error != ERROR_INVALID_HANDLE) break;
    }
    CHECK_FALSE(packet.returned_true);
    CHECK(packet.overlapped == nullptr);
    CHECK(packet.error == ERROR_ABANDONED_WAIT_0);
}

// Windows: Wine's test ntdll/tests/sync.c, which passes there; of posting, no source
TEST_CASE("wf.6 FALSE with a null OVERLAPPED and 6: the port had been closed before the call") {
    Port port;
    const HANDLE closed = port.get();
    port.close();
    DWORD bytes = 0;
    ULONG_PTR key = 0;
    OVERLAPPED* overlapped = nullptr;
    CHECK_FALSE(::GetQueuedCompletionStatus(closed, &bytes, &key, &overlapped, 0));
    CHECK(::GetLastError() == ERROR_INVALID_HANDLE);
    CHECK(overlapped == nullptr);
    CHECK_FALSE(::PostQueuedCompletionStatus(closed, 0, 0, nullptr));
    CHECK(::GetLastError() == ERROR_INVALID_HANDLE);
}

// ---- GetQueuedCompletionStatusEx ----

// Windows: https://learn.microsoft.com/windows/win32/fileio/getqueuedcompletionstatusex-func, Remarks
TEST_CASE("wf.7 GetQueuedCompletionStatusEx returns TRUE for a failed operation too: each entry must be asked") {
    Pair pair = connected_pair();
    Port port;
    port.associate(pair.server, 42);
    Operation receive;
    char buffer[16];
    REQUIRE(receive.receive(pair.server, buffer, sizeof buffer) == WSA_IO_PENDING);
    pair.client.reset();
    OVERLAPPED_ENTRY entries[4];
    ULONG count = 0;
    CHECK(::GetQueuedCompletionStatusEx(port.get(), entries, 4, &count, patience, FALSE));
    REQUIRE(count == 1);
    CHECK(entries[0].lpOverlapped == &receive);
    CHECK(entries[0].lpCompletionKey == 42);
    CHECK(static_cast<LONG>(receive.Internal) < 0);  // an NTSTATUS, of which only the low 32 bits count
    CHECK(receive.result(pair.server) == WSAECONNRESET);
}

// ---- The numbers ----

// Windows: Wine's test ws2_32/tests/sock.c, which passes there
TEST_CASE("wf.8 The port and Winsock number the same failure differently: a reset is 64 and 10054") {
    Lost lost;
    CHECK(lost.packet.error == ERROR_NETNAME_DELETED);
    CHECK(lost.receive.result(lost.pair.server) == WSAECONNRESET);
}

// Windows: Wine's tests ntdll/tests/error.c and ws2_32/tests/sock.c, which pass there
TEST_CASE("wf.9 Both numbers come from one NTSTATUS, by the table in the note") {
    struct Row {
        ULONG status;
        DWORD at_the_port;
        int at_winsock;
    };
    const Row table[] = {
        {0xC000020D, 64, 10054},    // STATUS_CONNECTION_RESET
        {0xC0000241, 1236, 10053},  // STATUS_CONNECTION_ABORTED
        {0xC000013B, 64, 10053},    // STATUS_LOCAL_DISCONNECT
        {0xC0000120, 995, 995},     // STATUS_CANCELLED
        {0xC00000B5, 121, 10060},   // STATUS_IO_TIMEOUT
        {0xC0000140, 59, 10057},    // STATUS_INVALID_CONNECTION
        {0xC0000236, 1225, 10061},  // STATUS_CONNECTION_REFUSED
        {0xC000023C, 1231, 10051},  // STATUS_NETWORK_UNREACHABLE
        {0xC000023D, 1232, 10065},  // STATUS_HOST_UNREACHABLE
        {0x8000000A, 676, 10022},   // STATUS_HANDLES_CLOSED
    };
    const auto to_error = reinterpret_cast<ULONG(WINAPI*)(LONG)>(
        reinterpret_cast<void*>(::GetProcAddress(::GetModuleHandleW(L"ntdll.dll"), "RtlNtStatusToDosError")));
    REQUIRE((to_error != nullptr));
    const Socket socket = tcp_socket();
    for (const Row& row : table) {
        CAPTURE(row.status);
        CHECK(to_error(static_cast<LONG>(row.status)) == row.at_the_port);
        Operation finished;
        finished.Internal = row.status;
        CHECK(finished.result(socket) == row.at_winsock);
    }
}

// ---- WSARecv and WSASend ----

// Windows: https://learn.microsoft.com/windows/win32/winsock/overlapped-i-o-and-event-objects-2
TEST_CASE("wf.10 A return value of 0 says that the operation is done, and a packet comes all the same") {
    Pair pair = connected_pair();
    Port port;
    port.associate(pair.server);
    Operation send;
    REQUIRE(send.send(pair.server, "hello", 5) == 0);
    CHECK(send.bytes == 5);
    const Packet packet = port.get_packet();
    CHECK(packet.overlapped == &send);
    CHECK(packet.bytes == 5);
    CHECK(port.is_empty());
}

// Windows: https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsarecv, Return value
TEST_CASE("wf.11 SOCKET_ERROR with 997 says that the operation has begun: the packet comes later") {
    Pair pair = connected_pair();
    Port port;
    port.associate(pair.server);
    Operation receive;
    char buffer[16];
    CHECK(receive.receive(pair.server, buffer, sizeof buffer) == WSA_IO_PENDING);
    CHECK(WSA_IO_PENDING == 997);
    CHECK(port.is_empty());
    REQUIRE(::send(pair.client, "a", 1, 0) == 1);
    CHECK(port.get_packet().overlapped == &receive);
}

// Windows: https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsarecv, Return value,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("wf.12 SOCKET_ERROR with any other number says that nothing has begun, and no packet will ever come") {
    Port port;
    const Socket socket = tcp_socket();
    port.associate(socket);
    Operation receive;
    char buffer[16];
    CHECK(receive.receive(socket, buffer, sizeof buffer) == WSAENOTCONN);
    CHECK(port.is_empty());
}

// Windows: https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsasend, Return value,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("wf.13 A send after our own FIN fails in its call with 10058") {
    Pair pair = connected_pair();
    Port port;
    port.associate(pair.server);
    REQUIRE(::shutdown(pair.server, SD_SEND) == 0);
    Operation send;
    CHECK(send.send(pair.server, "a", 1) == WSAESHUTDOWN);
    CHECK(port.is_empty());
}

// Windows: https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsasend, Return value,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("wf.14 The first send after the peer's reset fails in its call with 10054") {
    Lost lost;
    Operation send;
    CHECK(send.send(lost.pair.server, "a", 1) == WSAECONNRESET);
    CHECK(lost.port.is_empty());
}

// Windows: https://learn.microsoft.com/windows/win32/fileio/cancelioex-func, Remarks,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("wf.15 A cancelled receive has a packet with 995, and 995 is also what Winsock says") {
    Pair pair = connected_pair();
    Port port;
    port.associate(pair.server);
    Operation receive;
    char buffer[16];
    REQUIRE(receive.receive(pair.server, buffer, sizeof buffer) == WSA_IO_PENDING);
    REQUIRE(::CancelIoEx(pair.server.handle(), &receive));
    CHECK(port.get_packet().error == ERROR_OPERATION_ABORTED);
    CHECK(receive.result(pair.server) == WSA_OPERATION_ABORTED);
}

// Windows: Wine's test ws2_32/tests/sock.c, which passes there; Microsoft's page on closesocket says 995
TEST_CASE("wf.16 Closing a socket ends its pending receive with 1236 or 995 on Windows, with 676 under Wine") {
    Pair pair = connected_pair();
    Port port;
    port.associate(pair.server);
    Operation receive;
    char buffer[16];
    REQUIRE(receive.receive(pair.server, buffer, sizeof buffer) == WSA_IO_PENDING);
    pair.server.close();
    const Packet packet = port.get_packet();
    CHECK_FALSE(packet.returned_true);
    CHECK(packet.overlapped == &receive);
    if (on_wine()) {
        CHECK(packet.error == handles_closed);
    } else {
        CHECK(is_one_of(packet.error, {ERROR_CONNECTION_ABORTED, ERROR_OPERATION_ABORTED, ERROR_NETNAME_DELETED}));
    }
}

// ---- AcceptEx ----

// Windows: https://learn.microsoft.com/windows/win32/api/mswsock/nf-mswsock-acceptex, Return value,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("wf.17 AcceptEx is a BOOL: FALSE with 997 is its normal return, and the packet has the listener's key") {
    const Socket listener = listening_socket();
    Port port;
    port.associate(listener, 42);
    Accept accept(listener);
    CHECK(accept.start(listener) == ERROR_IO_PENDING);
    const Socket client = connected_to(listener);
    const Packet packet = port.get_packet();
    CHECK(packet.returned_true);
    CHECK(packet.overlapped == &accept.operation);
    CHECK(packet.key == 42);
    CHECK(packet.bytes == 0);
}

// Windows: Wine's test ws2_32/tests/sock.c, which passes there
TEST_CASE("wf.18 AcceptEx with a socket on which an accept is pending fails in its call with 10022: no packet comes") {
    const Socket listener = listening_socket();
    Port port;
    port.associate(listener);
    Accept accept(listener);
    REQUIRE(accept.start(listener) == ERROR_IO_PENDING);
    Operation second;
    CHECK(accept.start(listener, accept.socket, second) == WSAEINVAL);
    CHECK(port.is_empty());
    REQUIRE(::CancelIoEx(listener.handle(), nullptr));
    CHECK(port.get_packet().overlapped == &accept.operation);
}

// Windows: https://learn.microsoft.com/windows/win32/fileio/cancelioex-func, Remarks,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("wf.19 A cancelled accept, and one whose listener is closed, have a packet with 995") {
    for (const bool closes : {false, true}) {
        CAPTURE(closes);
        Socket listener = listening_socket();
        Port port;
        port.associate(listener, 42);
        Accept accept(listener);
        REQUIRE(accept.start(listener) == ERROR_IO_PENDING);
        if (closes) {
            listener.close();
        } else {
            REQUIRE(::CancelIoEx(listener.handle(), &accept.operation));
        }
        const Packet packet = port.get_packet();
        CHECK(packet.error == ERROR_OPERATION_ABORTED);
        CHECK(packet.key == 42);
    }
}

// Windows: Go's internal/poll/fd_windows.go, which meets it there
TEST_CASE("wf.20 An accept that waits for data has a packet with 64 when its client resets: that concerns one client") {
    const Socket listener = listening_socket();
    Port port;
    port.associate(listener);
    Accept accept(listener, 100);
    REQUIRE(accept.start(listener) == ERROR_IO_PENDING);
    Socket client = connected_to(listener);
    DWORD seconds = 0xFFFFFFFF;
    const ULONGLONG deadline = ::GetTickCount64() + patience;
    while (seconds == 0xFFFFFFFF && ::GetTickCount64() < deadline) {  // until the accept has this client
        int length = sizeof seconds;
        REQUIRE(::getsockopt(accept.socket, SOL_SOCKET, SO_CONNECT_TIME, reinterpret_cast<char*>(&seconds), &length) ==
                0);
        ::Sleep(1);
    }
    REQUIRE(seconds != 0xFFFFFFFF);
    client.reset();
    CHECK(port.get_packet().error == ERROR_NETNAME_DELETED);

    Accept next(listener);
    REQUIRE(next.start(listener) == ERROR_IO_PENDING);
    const Socket other = connected_to(listener);
    CHECK(port.get_packet().returned_true);
}
