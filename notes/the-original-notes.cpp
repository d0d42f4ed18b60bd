// The system of the original notes, made right: their structures, their names, their switch over the type. A comment
// stands where the text was wrong. Read it beside the-original-notes.md; it keeps every promise of stage 04, an echo.
//
// Exactly one operation is pending for each client, so whoever has its packet has that client to itself.
#include "01-create-port/program.hpp"

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <new>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace {

enum Type { accept_posted = 0, recv_posted = 1, send_posted = 2 };  // the text's numbers

// One operation (per-I/O data).
struct IO_CONTEXT {
    OVERLAPPED m_Overlapped{};                       // the text leaves it as it finds the memory
    Socket mSockClient;                              // of an accept: who will be the client
    char m_szBuffer[4096];                           // 1024 in the text
    WSABUF m_wsaBuf{sizeof m_szBuffer, m_szBuffer};  // the text never points it at the buffer
    Type m_type = accept_posted;
    std::atomic<bool> idle{true};  // of an accept: it could not be posted, and waits for the next tick
};

// One socket (per-socket data). Its address is the completion key, so it must not move.
struct CLIENT_CONTEXT {
    Socket m_socket;            // closes it with the context, so only when nothing is pending
    sockaddr_storage m_addr{};  // the text has room for IPv4 only
    std::string address;
    std::vector<std::unique_ptr<IO_CONTEXT>> mIOContexts;  // filled before anything is posted, so it needs no lock
    std::uint64_t total_received = 0;
    std::uint64_t total_sent = 0;
};

class Server {
public:
    Server(std::uint16_t port_number, bool greets, bool waits_for_data)
        : greets_(greets), data_size_(waits_for_data ? sizeof IO_CONTEXT::m_szBuffer - 2 * address_size : 0) {
        m_hIOCompletionPort = ::CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, 0);
        if (m_hIOCompletionPort == nullptr) throw_error(::GetLastError(), "CreateIoCompletionPort");
        m_pListenSocket.m_socket = listen_on("127.0.0.1", port_number);
        if (!associate(m_pListenSocket)) throw_error(::GetLastError(), "CreateIoCompletionPort");
        load(WSAID_ACCEPTEX, m_lpfnAcceptEx);
        load(WSAID_GETACCEPTEXSOCKADDRS, m_lpfnGetAcceptExSockAddrs);
        for (int i = 0; i < 8; ++i)  // one in the text: then one client at a time can be accepted
            m_pListenSocket.mIOContexts.push_back(std::make_unique<IO_CONTEXT>());
    }
    ~Server() {
        stop();
        ::CloseHandle(m_hIOCompletionPort);
    }

    void start() {
        const unsigned count = std::max(2u, std::thread::hardware_concurrency());
        for (unsigned i = 0; i < count; ++i)
            workers_.emplace_back([this] { worker_thread(); });
    }

    std::string address() const { return local_address(m_pListenSocket.m_socket); }

    // Posts every accept that is not posted. Ten times a second: one that fails must neither be lost nor spin.
    void tick() {
        for (const auto& pIoContext : m_pListenSocket.mIOContexts) {
            if (pIoContext->idle.exchange(false)) post_accept(pIoContext.get());
        }
    }

    // The text has no end. Cancel, again and again, for a worker may just be about to post; then nothing is pending.
    void stop() {
        stopping_ = true;
        while (pending() > 0) {
            ::CancelIoEx(reinterpret_cast<HANDLE>(m_pListenSocket.m_socket.get()), nullptr);
            {
                const std::lock_guard lock(mutex_);
                for (const CLIENT_CONTEXT* client : clients_)
                    ::CancelIoEx(reinterpret_cast<HANDLE>(client->m_socket.get()), nullptr);
            }
            ::Sleep(10);
        }
        for (std::size_t i = 0; i < workers_.size(); ++i) {  // the text forgets the call's first parameter
            while (!::PostQueuedCompletionStatus(m_hIOCompletionPort, 0, 0, nullptr))
                ::Sleep(10);
        }
        for (std::thread& worker : workers_)
            worker.join();
        workers_.clear();
    }

    std::uint64_t posted() const { return posted_; }
    std::uint64_t completed() const { return completed_; }
    std::uint64_t pending() const {
        const std::uint64_t completed = completed_;  // read first, so that what is left is never too small
        return posted_ - completed;
    }

private:
    static constexpr DWORD address_size = sizeof(sockaddr_storage) + 16;

    template <class Function>
    void load(GUID id, Function& function) {
        DWORD dwBytes = 0;
        if (::WSAIoctl(m_pListenSocket.m_socket.get(), SIO_GET_EXTENSION_FUNCTION_POINTER, &id, sizeof id, &function,
                       sizeof function, &dwBytes, nullptr, nullptr) == SOCKET_ERROR) {
            throw_error(static_cast<DWORD>(::WSAGetLastError()), "WSAIoctl(SIO_GET_EXTENSION_FUNCTION_POINTER)");
        }
    }
    // The key is as wide as a pointer; the text cuts it to a DWORD, and does not look at the result.
    bool associate(CLIENT_CONTEXT& context) {
        return ::CreateIoCompletionPort(reinterpret_cast<HANDLE>(context.m_socket.get()), m_hIOCompletionPort,
                                        reinterpret_cast<ULONG_PTR>(&context), 0) != nullptr;
    }

    void worker_thread() {
        for (;;) {
            OVERLAPPED* pOverlapped = nullptr;
            CLIENT_CONTEXT* pSocketContext = nullptr;
            DWORD dwBytesTransfered = 0;
            const BOOL bReturn =
                ::GetQueuedCompletionStatus(m_hIOCompletionPort, &dwBytesTransfered,
                                            reinterpret_cast<ULONG_PTR*>(&pSocketContext), &pOverlapped, INFINITE);
            // The text does nothing when bReturn is FALSE. But with an OVERLAPPED it is an operation that has failed,
            // and its contexts would be lost. So: the OVERLAPPED first.
            if (pOverlapped == nullptr) return;  // posted by stop()
            IO_CONTEXT* const pIoContext = CONTAINING_RECORD(pOverlapped, IO_CONTEXT, m_Overlapped);
            const DWORD error = bReturn ? 0 : error_of(*pSocketContext, pOverlapped);
            switch (pIoContext->m_type) {
                case accept_posted:
                    Deal_AcceptEvent(pIoContext, dwBytesTransfered, error);
                    break;
                case recv_posted:
                    Deal_ReadEvent(pSocketContext, pIoContext, dwBytesTransfered, error);
                    break;
                case send_posted:
                    Deal_WriteEvent(pSocketContext, pIoContext, dwBytesTransfered, error);
                    break;
            }
            ++completed_;
        }
    }
    static DWORD error_of(const CLIENT_CONTEXT& context, OVERLAPPED* pOverlapped) {
        DWORD bytes = 0;
        DWORD flags = 0;
        if (::WSAGetOverlappedResult(context.m_socket.get(), pOverlapped, &bytes, FALSE, &flags)) return 0;
        return static_cast<DWORD>(::WSAGetLastError());
    }

    // Right before each call that starts an operation.
    void begin(IO_CONTEXT* pIoContext, Type type) {
        pIoContext->m_Overlapped = OVERLAPPED{};
        pIoContext->m_type = type;
        ++posted_;  // the text counts nothing, so it cannot know when all is over
    }
    // Right after it. 0, or why no packet will come. The text looks at no result.
    DWORD outcome(bool succeeded) {
        const DWORD error = succeeded ? 0 : static_cast<DWORD>(::WSAGetLastError());
        if (error == 0 || error == ERROR_IO_PENDING) return 0;
        --posted_;
        return error;
    }

    void post_accept(IO_CONTEXT* pIoContext) {
        if (stopping_) return;
        begin(pIoContext, accept_posted);
        pIoContext->mSockClient = make_tcp_socket(AF_INET);  // the text does not make it
        DWORD dwBytes = 0;
        // With a data size of 0 it waits for no data: in the text, a silent client holds the only accept for ever.
        // Until the packet: the context with its buffer, and both sockets.
        const DWORD error = outcome(pIoContext->mSockClient &&
                                    m_lpfnAcceptEx(m_pListenSocket.m_socket.get(), pIoContext->mSockClient.get(),
                                                   pIoContext->m_szBuffer, data_size_, address_size, address_size,
                                                   &dwBytes, &pIoContext->m_Overlapped));
        if (error == 0) return;  // touch nothing: a worker may have it
        pIoContext->mSockClient = Socket();
        pIoContext->idle = true;
    }

    void Deal_AcceptEvent(IO_CONTEXT* pIoContext, DWORD dwBytes, DWORD error) noexcept {
        CLIENT_CONTEXT* const client = error == 0 ? make_client(pIoContext, dwBytes) : nullptr;
        post_accept(pIoContext);  // again, whatever has become of this one; the text does not
        if (client == nullptr) return;
        IO_CONTEXT* const first = client->mIOContexts.front().get();
        if (dwBytes > 0) {
            Deal_ReadEvent(client, first, dwBytes, 0);  // the text throws the first data away
        } else if (greets_) {
            const std::string greeting = "hello " + client->address + "\n";
            first->m_wsaBuf = {static_cast<ULONG>(greeting.copy(first->m_szBuffer, greeting.size())),
                               first->m_szBuffer};
            post_send(client, first);
        } else {
            post_recv(client, first);
        }
    }

    // What the accept has left in its buffer becomes a client; null, and it is lost.
    CLIENT_CONTEXT* make_client(IO_CONTEXT* pIoContext, DWORD dwBytes) noexcept {
        // The text forgets it: shutdown and getpeername would fail.
        const SOCKET listening = m_pListenSocket.m_socket.get();
        if (::setsockopt(pIoContext->mSockClient.get(), SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT,
                         reinterpret_cast<const char*>(&listening), sizeof listening) == SOCKET_ERROR) {
            return nullptr;
        }
        sockaddr* LocalAddr = nullptr;
        sockaddr* ClientAddr = nullptr;
        int localLen = 0;
        int remoteLen = 0;
        // It gets addresses, and no data: the data is in front of them already. The sizes are those of AcceptEx.
        m_lpfnGetAcceptExSockAddrs(pIoContext->m_szBuffer, data_size_, address_size, address_size, &LocalAddr,
                                   &localLen, &ClientAddr, &remoteLen);
        try {
            auto client = std::make_unique<CLIENT_CONTEXT>();
            client->m_socket = std::move(pIoContext->mSockClient);
            std::memcpy(&client->m_addr, ClientAddr, static_cast<std::size_t>(remoteLen));
            client->address = address_text(ClientAddr, remoteLen);
            client->mIOContexts.push_back(std::make_unique<IO_CONTEXT>());
            std::copy_n(pIoContext->m_szBuffer, dwBytes, client->mIOContexts.front()->m_szBuffer);
            if (!associate(*client)) return nullptr;
            const std::lock_guard lock(mutex_);
            clients_.insert(client.get());
            print_line("accepted ", client->address);
            return client.release();  // the list has it; remove() deletes it
        } catch (const std::bad_alloc&) {
            return nullptr;
        }
    }

    void post_recv(CLIENT_CONTEXT* client, IO_CONTEXT* pIoContext) {
        begin(pIoContext, recv_posted);
        pIoContext->m_wsaBuf = {sizeof pIoContext->m_szBuffer, pIoContext->m_szBuffer};
        DWORD dwFlags = 0;
        // Until the packet: the contexts, the buffer, the socket. What it returns is no number of bytes.
        const DWORD error = outcome(::WSARecv(client->m_socket.get(), &pIoContext->m_wsaBuf, 1, nullptr, &dwFlags,
                                              &pIoContext->m_Overlapped, nullptr) == 0);
        if (error != 0) remove(client, "lost ", error);
    }
    void Deal_ReadEvent(CLIENT_CONTEXT* client, IO_CONTEXT* pIoContext, DWORD dwBytes, DWORD error) {
        client->total_received += dwBytes;
        if (stopping_) return remove(client, "cancelled ", 0);
        if (error != 0) return remove(client, "lost ", error);
        if (dwBytes == 0) {  // not a broken connection, as the text has it: the client has finished sending
            ::shutdown(client->m_socket.get(), SD_SEND);
            return remove(client, "finished ", 0);
        }
        pIoContext->m_wsaBuf = {dwBytes, pIoContext->m_szBuffer};
        post_send(client, pIoContext);
    }

    // The text leaves it out.
    void post_send(CLIENT_CONTEXT* client, IO_CONTEXT* pIoContext) {
        begin(pIoContext, send_posted);
        const DWORD error = outcome(::WSASend(client->m_socket.get(), &pIoContext->m_wsaBuf, 1, nullptr, 0,
                                              &pIoContext->m_Overlapped, nullptr) == 0);
        if (error != 0) remove(client, "lost ", error);
    }
    void Deal_WriteEvent(CLIENT_CONTEXT* client, IO_CONTEXT* pIoContext, DWORD dwBytes, DWORD error) {
        client->total_sent += dwBytes;
        if (stopping_) return remove(client, "cancelled ", 0);
        if (error != 0) return remove(client, "lost ", error);
        pIoContext->m_wsaBuf.buf += dwBytes;
        pIoContext->m_wsaBuf.len -= dwBytes;
        pIoContext->m_wsaBuf.len > 0 ? post_send(client, pIoContext) : post_recv(client, pIoContext);
    }

    // Nothing is pending for it, and nothing more is started.
    void remove(CLIENT_CONTEXT* client, const char* how, DWORD error) noexcept {
        const std::unique_ptr<CLIENT_CONTEXT> gone(client);
        {
            const std::lock_guard lock(mutex_);
            clients_.erase(client);
        }
        const auto name = error_name(error);
        const std::string_view why = error != 0 ? std::string_view(name) : *how == 'c' ? "the server stops" : "";
        print_line(how, client->address, ": ", why, why.empty() ? "" : ", ", client->total_received,
                   " bytes received, ", client->total_sent, " sent");
    }

    const bool greets_;
    const DWORD data_size_;
    HANDLE m_hIOCompletionPort = nullptr;
    CLIENT_CONTEXT m_pListenSocket;
    LPFN_ACCEPTEX m_lpfnAcceptEx = nullptr;
    LPFN_GETACCEPTEXSOCKADDRS m_lpfnGetAcceptExSockAddrs = nullptr;
    std::atomic<bool> stopping_{false};
    std::atomic<std::uint64_t> posted_{0};
    std::atomic<std::uint64_t> completed_{0};
    std::mutex mutex_;  // of the next
    std::set<CLIENT_CONTEXT*> clients_;
    std::vector<std::thread> workers_;
};

}  // namespace

int main(int argc, char** argv) {
    return run_program("04-the-original-notes", "[port] [--greet] [--first-data]", [&] {
        Arguments arguments(argc, argv);
        const bool greets = arguments.flag("--greet");
        const bool waits_for_data = arguments.flag("--first-data");
        const std::uint16_t port_number = arguments.port();
        const Winsock winsock;
        Server server(port_number, greets, waits_for_data);
        server.start();
        print_line("listening on ", server.address());
        run_until_stdin_ends([&] { server.tick(); });
        server.stop();
        print_stopped(server);
    });
}
