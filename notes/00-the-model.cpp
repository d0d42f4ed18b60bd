// The model in the bare calls, to read beside 00-the-model.md: a port, two threads that wait on it, packets posted by
// hand, and then the packet of one real operation. It checks no result, so that nothing stands in the way of the calls;
// the stages check each.
#include <winsock2.h>
#include <ws2tcpip.h>
#include <windows.h>

#include <cstdio>
#include <thread>

int main() {
    const HANDLE port = ::CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, 0);

    const auto worker = [port](const char* name) {
        for (;;) {
            DWORD bytes = 0;
            ULONG_PTR key = 0;
            OVERLAPPED* operation = nullptr;
            ::GetQueuedCompletionStatus(port, &bytes, &key, &operation, INFINITE);  // sleeps until there is a packet
            if (key == 0) return;                                                   // what we mean by 0: stop
            std::printf("%s took the packet with key %u: %u bytes, %s\n", name, static_cast<unsigned>(key),
                        static_cast<unsigned>(bytes), operation == nullptr ? "posted by hand" : "of the receive");
            ::Sleep(10);  // as if it had something to do
        }
    };
    std::thread a(worker, "thread A");
    std::thread b(worker, "thread B");

    for (ULONG_PTR key = 1; key <= 4; ++key)
        ::PostQueuedCompletionStatus(port, 100, key, nullptr);  // one of the two takes it; nobody chooses which

    // A connection to ourselves, to receive on.
    WSADATA data;
    (void)::WSAStartup(MAKEWORD(2, 2), &data);
    const SOCKET listener = ::WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, nullptr, 0, WSA_FLAG_OVERLAPPED);
    sockaddr_in address{};
    int length = sizeof address;
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
    ::bind(listener, reinterpret_cast<sockaddr*>(&address), length);
    ::listen(listener, 1);
    ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length);
    const SOCKET client = ::WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, nullptr, 0, WSA_FLAG_OVERLAPPED);
    ::connect(client, reinterpret_cast<sockaddr*>(&address), length);
    const SOCKET server = ::accept(listener, nullptr, nullptr);

    // From here on this socket's operations report to the port, with the key 5. Association alone puts nothing there.
    ::CreateIoCompletionPort(reinterpret_cast<HANDLE>(server), port, 5, 0);

    OVERLAPPED operation{};  // the kernel's from the call to the packet, like the buffer: both must stay
    char bytes[100];
    WSABUF buffer{sizeof bytes, bytes};
    DWORD flags = 0;
    const int result = ::WSARecv(server, &buffer, 1, nullptr, &flags, &operation, nullptr);
    std::printf("main started a receive: %d, error %d\n", result, ::WSAGetLastError());  // -1 and 997: it is pending
    ::send(client, "hello", 5, 0);                                                       // now it completes
    ::Sleep(100);  // see above: nothing is checked

    for (int i = 0; i < 2; ++i)
        ::PostQueuedCompletionStatus(port, 0, 0, nullptr);
    a.join();
    b.join();
    std::printf("the buffer holds %.5s\n", bytes);  // ours again, since a thread took the packet
    for (const SOCKET socket : {client, server, listener})
        ::closesocket(socket);
    ::CloseHandle(port);
    ::WSACleanup();
}
