// The claims of notes/the-original-notes.md: what a test shows of the text that this project began from.
#include "tests/claims/support.hpp"

#include <array>
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

using namespace claims;

namespace {

// The text's own two structures, as far as the claims need them.
struct IoContext {
    int before = 0;  // so that the OVERLAPPED is not at the beginning
    OVERLAPPED m_Overlapped{};
    int m_type = 0;
};

constexpr DWORD address_room = sizeof(sockaddr_storage) + 16;

struct Accept {
    explicit Accept(const Socket& listener, DWORD data_size = 0, int family = AF_INET)
        : accept_ex(extension<LPFN_ACCEPTEX>(listener, WSAID_ACCEPTEX)),
          get_addresses(extension<LPFN_GETACCEPTEXSOCKADDRS>(listener, WSAID_GETACCEPTEXSOCKADDRS)),
          size(data_size),
          socket(tcp_socket(family)) {}

    void start(const Socket& listener) {
        if (!accept_ex(listener, socket, buffer.data(), size, address_room, address_room, &operation.bytes,
                       &operation)) {
            REQUIRE(::WSAGetLastError() == ERROR_IO_PENDING);
        }
    }

    LPFN_ACCEPTEX accept_ex;
    LPFN_GETACCEPTEXSOCKADDRS get_addresses;
    DWORD size;
    Socket socket;
    Operation operation;
    std::array<char, 4096> buffer{};
};

struct Addresses {
    sockaddr* local = nullptr;
    sockaddr* remote = nullptr;
    int local_length = 0;
    int remote_length = 0;
};
Addresses addresses(Accept& accept, DWORD data_size) {
    Addresses found;
    accept.get_addresses(accept.buffer.data(), data_size, address_room, address_room, &found.local, &found.local_length,
                         &found.remote, &found.remote_length);
    return found;
}

}  // namespace

// Windows: https://learn.microsoft.com/windows/win32/fileio/i-o-completion-ports, Threads and Concurrency
TEST_CASE("on.1 Any number of threads may wait: with a concurrency of 1, three that block all get a packet") {
    Port port(1);
    constexpr int count = 3;
    std::atomic<int> taken{0};
    const HANDLE all_have_one = ::CreateEventW(nullptr, TRUE, FALSE, nullptr);
    std::atomic<int> in_time{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < count; ++i) {
        threads.emplace_back([&] {
            if (!port.wait(patience).returned_true) return;
            if (++taken == count) ::SetEvent(all_have_one);
            // Blocked here, it no longer counts as running, so the port wakes the next.
            if (::WaitForSingleObject(all_have_one, patience) == WAIT_OBJECT_0) ++in_time;
        });
    }
    for (int i = 0; i < count; ++i)
        CHECK(::PostQueuedCompletionStatus(port.get(), 0, 0, nullptr));
    for (std::thread& thread : threads)
        thread.join();
    ::CloseHandle(all_have_one);
    CHECK(in_time == count);
}

// Windows: https://learn.microsoft.com/windows/win32/fileio/createiocompletionport, Parameters
TEST_CASE("on.2 The concurrency bounds the threads that run: with 1, no second one runs while one computes") {
    if (on_wine()) {
        MESSAGE("skipped under Wine: it takes the number and does nothing with it");
        return;
    }
    const auto two_run = [] {
        Port port(1);
        std::atomic<int> taken{0};
        std::atomic<bool> both_ran{false};
        std::vector<std::thread> threads;
        for (int i = 0; i < 2; ++i) {
            threads.emplace_back([&] {
                if (!port.wait(patience).returned_true) return;
                const int before = ++taken;
                // The first computes, and does not wait for anything, for as long as a second could need to get going.
                const ULONGLONG end = ::GetTickCount64() + 200;
                while (before == 1 && ::GetTickCount64() < end) {
                    if (taken == 2) both_ran = true;
                }
            });
        }
        for (int i = 0; i < 2; ++i)
            CHECK(::PostQueuedCompletionStatus(port.get(), 0, 0, nullptr));
        for (std::thread& thread : threads)
            thread.join();
        CHECK(taken == 2);
        return both_ran.load();
    };
    // A page fault blocks a thread too, and then a second may run for a moment: but not each time.
    int times = 0;
    while (times < 5 && two_run())
        ++times;
    CHECK(times < 5);
}

// Windows: https://learn.microsoft.com/windows/win32/fileio/createiocompletionport, Syntax
TEST_CASE("on.3 The key is as wide as a pointer and arrives whole; a 64-bit pointer that was cast to DWORD does not") {
    Pair pair = connected_pair();
    Port port;
    constexpr ULONG_PTR context = ~ULONG_PTR{0} / 7;  // as wide as a pointer
    port.associate(pair.server, context);
    REQUIRE(::send(pair.client, "a", 1, 0) == 1);
    Operation receive;
    char buffer[16];
    const int error = receive.receive(pair.server, buffer, sizeof buffer);
    REQUIRE((error == 0 || error == WSA_IO_PENDING));
    const ULONG_PTR key = port.get_packet().key;
    CHECK(key == context);
    // In a 32-bit program, for which the text was written, a DWORD is as wide as a pointer.
    const ULONG_PTR cut = static_cast<DWORD>(key);
    CHECK((cut == context) == (sizeof(void*) == sizeof(DWORD)));
}

// Windows: https://learn.microsoft.com/windows/win32/api/ioapiset/nf-ioapiset-getqueuedcompletionstatus, Remarks,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("on.4 When GetQueuedCompletionStatus returns FALSE for a reset, it hands out the context of the operation") {
    Pair pair = connected_pair();
    Port port;
    port.associate(pair.server);
    IoContext context;
    context.m_type = 1;
    char buffer[16];
    WSABUF where{sizeof buffer, buffer};
    DWORD flags = 0;
    REQUIRE(::WSARecv(pair.server, &where, 1, nullptr, &flags, &context.m_Overlapped, nullptr) == SOCKET_ERROR);
    REQUIRE(::WSAGetLastError() == WSA_IO_PENDING);
    pair.client.reset();
    const Packet packet = port.get_packet();
    CHECK_FALSE(packet.returned_true);
    REQUIRE(packet.overlapped != nullptr);
    CHECK(CONTAINING_RECORD(packet.overlapped, IoContext, m_Overlapped) == &context);
    CHECK(port.is_empty());  // it comes once: who leaves it lying has lost it
}

// Windows: https://learn.microsoft.com/windows/win32/fileio/postqueuedcompletionstatus, Parameters
TEST_CASE("on.5 A posted packet goes to the port that is named, which is the first parameter of the call") {
    Port one;
    Port other;
    OVERLAPPED overlapped{};
    REQUIRE(::PostQueuedCompletionStatus(other.get(), 11, 22, &overlapped));
    CHECK(one.is_empty());
    const Packet packet = other.get_packet();
    CHECK(packet.bytes == 11);
    CHECK(packet.key == 22);
    CHECK(packet.overlapped == &overlapped);
}

// Windows: https://learn.microsoft.com/windows/win32/api/ntdef/nf-ntdef-containing_record
TEST_CASE("on.6 CONTAINING_RECORD finds the context when the OVERLAPPED is not its first member; a cast does not") {
    Port port;
    IoContext context;
    REQUIRE(::PostQueuedCompletionStatus(port.get(), 0, 0, &context.m_Overlapped));
    const Packet packet = port.get_packet();
    CHECK(CONTAINING_RECORD(packet.overlapped, IoContext, m_Overlapped) == &context);
    CHECK(static_cast<void*>(packet.overlapped) != &context);
}

// Windows: https://learn.microsoft.com/windows/win32/api/ioapiset/nf-ioapiset-getqueuedcompletionstatus, Parameters,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("on.7 An OVERLAPPED must be zeroed: an hEvent whose lowest bit happens to be set keeps the packet away") {
    const HANDLE event = ::CreateEventW(nullptr, TRUE, FALSE, nullptr);
    REQUIRE(event != nullptr);
    for (const bool odd : {false, true}) {
        CAPTURE(odd);
        Pair pair = connected_pair();
        Port port;
        port.associate(pair.server);
        ::ResetEvent(event);
        Operation send;
        if (odd) send.hEvent = reinterpret_cast<HANDLE>(reinterpret_cast<ULONG_PTR>(event) | 1);
        REQUIRE(send.send(pair.server, "a", 1) == 0);
        if (odd) CHECK(::WaitForSingleObject(event, patience) == WAIT_OBJECT_0);  // it has ended
        CHECK(port.is_empty() == odd);
    }
    ::CloseHandle(event);
}

// Windows: https://learn.microsoft.com/windows/win32/api/mswsock/nf-mswsock-acceptex, Remarks
TEST_CASE("on.8 One AcceptEx accepts one client: the second waits until AcceptEx is called again") {
    const Socket listener = listening_socket();
    Port port;
    port.associate(listener);
    Accept first(listener);
    first.start(listener);
    const Socket one = connected_to(listener);
    const Socket two = connected_to(listener);
    CHECK(port.get_packet().overlapped == &first.operation);
    CHECK(port.is_empty());
    Accept second(listener);
    second.start(listener);
    CHECK(port.get_packet().overlapped == &second.operation);
}

// Windows: https://learn.microsoft.com/windows/win32/api/mswsock/nf-mswsock-acceptex, Remarks,
// and Wine's test ws2_32/tests/sock.c
TEST_CASE("on.9 With a data length above 0 AcceptEx waits for the client's first bytes: one that is silent holds it") {
    const Socket listener = listening_socket();
    Port port;
    port.associate(listener);
    Accept accept(listener, 100);
    accept.start(listener);
    const Socket client = connected_to(listener);
    DWORD seconds = 0xFFFFFFFF;
    const ULONGLONG deadline = ::GetTickCount64() + patience;
    while (seconds == 0xFFFFFFFF && ::GetTickCount64() < deadline) {
        int length = sizeof seconds;
        REQUIRE(::getsockopt(accept.socket, SOL_SOCKET, SO_CONNECT_TIME, reinterpret_cast<char*>(&seconds), &length) ==
                0);
        ::Sleep(1);
    }
    CHECK(seconds != 0xFFFFFFFF);  // this accept has the client
    CHECK(port.is_empty());        // and has not completed
    REQUIRE(::send(client, "hello", 5, 0) == 5);
    const Packet packet = port.get_packet();
    CHECK(packet.returned_true);
    CHECK(packet.bytes > 0);
    CHECK(accept.buffer[0] == 'h');  // the first block is in front of the addresses
}

// Windows: https://learn.microsoft.com/windows/win32/api/mswsock/nf-mswsock-getacceptexsockaddrs, Parameters
TEST_CASE("on.10 GetAcceptExSockaddrs finds the addresses only with the data length that AcceptEx was given") {
    const Socket listener = listening_socket();
    Port port;
    port.associate(listener);
    Accept accept(listener);
    accept.start(listener);
    const Socket client = connected_to(listener);
    REQUIRE(port.get_packet().returned_true);
    const sockaddr_in expected = local_address(client);

    const Addresses right = addresses(accept, 0);
    REQUIRE(right.remote != nullptr);
    CHECK(std::memcmp(right.remote, &expected, 8) == 0);  // family, port, address
    const Addresses wrong = addresses(accept, 1024);
    CHECK((wrong.remote == nullptr || std::memcmp(wrong.remote, &expected, 8) != 0));
}

// Windows: https://learn.microsoft.com/windows/win32/winsock/sockaddr-2
TEST_CASE("on.11 The address of an IPv6 client is longer than the sockaddr_in that the text copies it to") {
    Socket listener = tcp_socket(AF_INET6);
    sockaddr_in6 loopback{};
    loopback.sin6_family = AF_INET6;
    loopback.sin6_addr = in6addr_loopback;
    if (::bind(listener, reinterpret_cast<const sockaddr*>(&loopback), sizeof loopback) != 0) {
        MESSAGE("skipped: this machine has no IPv6");
        return;
    }
    REQUIRE(::listen(listener, SOMAXCONN) == 0);
    Port port;
    port.associate(listener);
    Accept accept(listener, 0, AF_INET6);
    accept.start(listener);
    int length = sizeof loopback;
    REQUIRE(::getsockname(listener, reinterpret_cast<sockaddr*>(&loopback), &length) == 0);
    const Socket client = tcp_socket(AF_INET6);
    REQUIRE(::connect(client, reinterpret_cast<const sockaddr*>(&loopback), sizeof loopback) == 0);
    REQUIRE(port.get_packet().returned_true);
    const Addresses found = addresses(accept, 0);
    CHECK(found.remote->sa_family == AF_INET6);
    CHECK(found.remote_length > static_cast<int>(sizeof(sockaddr_in)));
}

// Windows: Wine's test ws2_32/tests/sock.c, which passes there
TEST_CASE("on.12 Zero bytes is no end by itself: a receive into no room completes with 0 when bytes are there") {
    Pair pair = connected_pair();
    Port port;
    port.associate(pair.server);
    Operation nothing;
    char buffer[16];
    REQUIRE(nothing.receive(pair.server, buffer, 0) == WSA_IO_PENDING);
    REQUIRE(::send(pair.client, "a", 1, 0) == 1);
    const Packet packet = port.get_packet();
    CHECK(packet.returned_true);
    CHECK(packet.bytes == 0);
    Operation receive;
    REQUIRE(receive.receive(pair.server, buffer, sizeof buffer) == 0);
    CHECK(port.get_packet().bytes == 1);  // the connection lives, and has lost nothing
}

// Windows: https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsasend, Remarks
TEST_CASE("on.13 WSASend takes several buffers as one operation: one packet, with the bytes of all") {
    Pair pair = connected_pair();
    Port port;
    port.associate(pair.server);
    char hello[] = "hello ";
    char world[] = "world";
    WSABUF parts[] = {{6, hello}, {5, world}};
    Operation send;
    REQUIRE(::WSASend(pair.server, parts, 2, nullptr, 0, &send, nullptr) == 0);
    CHECK(port.get_packet().bytes == 11);
    CHECK(port.is_empty());
    std::string came;
    while (came.size() < 11) {
        char buffer[16];
        const int bytes = ::recv(pair.client, buffer, sizeof buffer, 0);
        REQUIRE(bytes > 0);
        came.append(buffer, static_cast<std::size_t>(bytes));
    }
    CHECK(came == "hello world");
}
