// The completion port, and the operation that it hands back.
//
// One port serves the whole program. Any thread may start operations that report to it, any number of workers wait on
// it, and each packet wakes exactly one of them. Owner: main owns the port and joins its workers before it goes.
#pragma once

#include "01-create-port/winsock.hpp"

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

class Operation;

// One completion packet, as the port hands it out.
struct Packet {
    Operation* operation = nullptr;  // null: posted only to tell a worker to stop
    ULONG_PTR key = 0;               // names the handle (per-socket data); pointer-sized, so never cast to DWORD
    DWORD bytes = 0;
    bool succeeded = false;  // false: the operation failed, and its memory must be released all the same
};

//[ start
// What became of a call that starts an operation. The three are told apart after every such call.
enum class Start {
    pending,  // a packet will come: until then the kernel holds the operation; touch neither it nor its owner
    done,     // finished inside the call, and no packet will come (only on a socket that skips packets on success)
    failed    // never started: no packet will come
};
struct Started {
    Start how;
    DWORD bytes;  // with done
    DWORD error;  // with failed
};
//]

class CompletionPort {
public:
    // `concurrency` bounds the workers that run at the same time, not those that wait; 0 means one per processor.
    // https://learn.microsoft.com/windows/win32/fileio/createiocompletionport
    explicit CompletionPort(DWORD concurrency = 0)
        : handle_(::CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, concurrency)) {
        if (handle_ == nullptr) throw_error(::GetLastError(), "CreateIoCompletionPort");
    }
    // Only when no worker waits and no operation is pending: closing the port is not a way to wake anyone.
    ~CompletionPort() { ::CloseHandle(handle_); }
    CompletionPort(const CompletionPort&) = delete;
    CompletionPort& operator=(const CompletionPort&) = delete;

    HANDLE get() const { return handle_; }

    // Every packet of an operation on this socket will come to this port, with this key, until the socket is closed.
    // It completes nothing by itself. A socket can be associated once; for one that already is (stage 05 uses sockets
    // again) there is nothing to do. Returns 0 or the error.
    //? tie the socket to the port, and remember that it is => return ERROR_CALL_NOT_IMPLEMENTED;
    DWORD associate(Socket& socket, ULONG_PTR key) {
        if (socket.associated_) return 0;
        const HANDLE same = ::CreateIoCompletionPort(reinterpret_cast<HANDLE>(socket.get()), handle_, key, 0);
        const DWORD error = same != nullptr ? 0 : ::GetLastError();
        socket.associated_ = error == 0;
        return error;
    }

    //[ wait
    // Waits for one packet. One without an operation tells the worker to stop.
    // https://learn.microsoft.com/windows/win32/api/ioapiset/nf-ioapiset-getqueuedcompletionstatus
    //? call GetQueuedCompletionStatus, and make a Packet of what it gave => return Packet{};
    Packet wait() {
        DWORD bytes = 0;
        ULONG_PTR key = 0;
        OVERLAPPED* overlapped = nullptr;
        const BOOL succeeded = ::GetQueuedCompletionStatus(handle_, &bytes, &key, &overlapped, INFINITE);
        const DWORD error = succeeded ? 0 : ::GetLastError();
        // FALSE has two meanings. With an OVERLAPPED: a packet came, of an operation that failed. Without: no packet,
        // and as we wait without a time-out, only because the port is gone: a mistake in the program.
        if (!succeeded && overlapped == nullptr) {
            std::fprintf(stderr, "GetQueuedCompletionStatus: %s\n", error_name(error).c_str());
        }
        return Packet{to_operation(overlapped), key, bytes, succeeded != FALSE};
    }
    //]

    // Queues a packet by hand. The three values arrive as they are. The operation must live until a worker has it.
    // Returns 0 or the error (the queue lives in non-paged memory, which can run out).
    // https://learn.microsoft.com/windows/win32/fileio/postqueuedcompletionstatus
    //? call PostQueuedCompletionStatus => return 0;
    DWORD post(DWORD bytes, ULONG_PTR key, OVERLAPPED* overlapped) {
        return ::PostQueuedCompletionStatus(handle_, bytes, key, overlapped) ? 0 : ::GetLastError();
    }

    // Queues a packet without an operation: the worker that takes it stops. Retries while the memory is short.
    void post_stop() {
        while (post(0, 0, nullptr) != 0)
            ::Sleep(10);
    }

    static Operation* to_operation(OVERLAPPED* overlapped);

    // Counted at the start and after the handler, so pending() is never too low while a handler may start more.
    std::uint64_t posted() const { return posted_; }
    std::uint64_t completed() const { return completed_; }
    std::uint64_t pending() const {
        const std::uint64_t completed = completed_;  // read first: the other can only be later, so never too small
        return posted_ - completed;
    }

private:
    friend class Operation;
    HANDLE handle_;
    std::atomic<std::uint64_t> posted_{0};
    std::atomic<std::uint64_t> completed_{0};
};

// One asynchronous operation (per-I/O data): the OVERLAPPED that the kernel is given, and what to do when it ends.
// From its start until its packet is handled the kernel owns it: it must not move, be started again, or be destroyed.
class Operation : public OVERLAPPED {
public:
    explicit Operation(CompletionPort& port) : OVERLAPPED{}, port_(port) {}
    Operation(const Operation&) = delete;
    Operation& operator=(const Operation&) = delete;

    //[ dispatch
    // What a worker does with a packet. Afterwards the operation may be gone: complete() may have destroyed it.
    //? no longer pending; complete() it; then count it as completed
    void dispatch(const Packet& packet) noexcept {
        CompletionPort& port = port_;
        pending_ = false;
        complete(packet);
        ++port.completed_;
    }
    //]

    // The operation has ended, well or not. Runs on a worker.
    virtual void complete(const Packet& packet) noexcept = 0;

    // Puts this operation on the port by hand. Returns 0 or the error.
    DWORD post(DWORD bytes, ULONG_PTR key) {
        begin();
        const DWORD error = port_.post(bytes, key, this);  // this must live until a worker has handled its packet
        if (error != 0) failed(error);
        return error;
    }

protected:
    ~Operation() {
        if (!pending_) return;
        std::fputs("an operation was destroyed while the kernel still holds it\n", stderr);
        std::abort();
    }

    //[ begin
    // Call begin() right before the call that starts the operation, and return one of the three right after it.
    void begin() {
        static_cast<OVERLAPPED&>(*this) = OVERLAPPED{};
        pending_ = true;
        ++port_.posted_;  // counted before the call: after it, a worker may already have completed it
    }
    // Touches nothing: by now another worker may have handled the packet and destroyed this operation.
    static Started pending() { return {Start::pending, 0, 0}; }
    Started done(DWORD bytes) {
        pending_ = false;
        ++port_.completed_;
        return {Start::done, bytes, 0};
    }
    Started failed(DWORD error) {
        pending_ = false;
        --port_.posted_;
        return {Start::failed, 0, error};
    }
    //]

    // Why an operation on `socket` failed, in Winsock's numbers: WSAECONNRESET where the port itself says
    // ERROR_NETNAME_DELETED. Only after its packet has come.
    // https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsagetoverlappedresult
    DWORD socket_error(SOCKET socket) {
        DWORD bytes = 0;
        DWORD flags = 0;
        if (::WSAGetOverlappedResult(socket, this, &bytes, FALSE, &flags)) return 0;
        return static_cast<DWORD>(::WSAGetLastError());
    }

private:
    CompletionPort& port_;
    bool pending_ = false;
};

inline Operation* CompletionPort::to_operation(OVERLAPPED* overlapped) {
    return static_cast<Operation*>(overlapped);  // null stays null
}
