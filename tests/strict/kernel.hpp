// The kernel of the strict Windows: its objects, its one lock, and what its files share.
//
// One lock guards all of it: this is to be right and strict, not fast. Every public function takes it for its whole
// duration, unless it waits. A thread of the kernel's own (network.cpp) completes what Linux' sockets become ready for.
#pragma once

#include "sanitizers.hpp"

#include <windows.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace strict {

using Clock = std::chrono::steady_clock;

// NTSTATUS, of which two tables make error numbers: the port's and Winsock's.
enum class Status : LONG {
    success = 0,
    pending = 0x103,
    buffer_too_small = static_cast<LONG>(0xC0000023),
    cancelled = static_cast<LONG>(0xC0000120),
    connection_reset = static_cast<LONG>(0xC000020D),
    connection_aborted = static_cast<LONG>(0xC0000241)
};
inline bool failed(Status status) { return static_cast<LONG>(status) < 0; }
DWORD error_at_port(LONG status);
int error_at_winsock(LONG status);
Status status_with(DWORD error_at_port);
int error_of_linux(int number);  // errno, as Winsock's number

// ---- the lock ----

class Lock {
public:
    Lock();
    ~Lock();
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;

    // Gives the lock up until `holds`, or for so many milliseconds. Whoever changes what others wait for calls
    // something_changed(). While it waits, this thread does not count as running on its port.
    template <class Holds>
    bool wait(DWORD milliseconds, Holds holds);

private:
    Inside inside_;
};
void something_changed();

// ---- objects ----

struct Object {
    virtual ~Object() = default;
};
struct Event final : Object {
    bool manual = false;
    bool set = false;
    std::string file;  // of one with a name: it is set while this file exists
};
struct File final : Object {
    bool overlapped = false;
};

struct Request;
struct Packet {
    ULONG_PTR key = 0;
    OVERLAPPED* overlapped = nullptr;
    DWORD bytes = 0;
    LONG status = 0;
    std::shared_ptr<Request> request;  // null: posted by hand
    std::shared_ptr<char> order;       // what its sender did before is known to its taker
    std::uint64_t number = 0;          // the request's, or its own
};

std::shared_ptr<char> released_to_taker();

// Packets come out first in, first out; of the threads that wait, the last that came is the first to get one. Only so
// many threads run at a time; one that waits in a call of ours does not run.
struct Port final : Object {
    struct Waiting {
        std::size_t most = 1;
        std::vector<Packet> packets;
    };
    std::deque<Packet> queue;
    std::vector<Waiting*> waiting;
    unsigned running = 0;
    unsigned concurrency = 1;
    bool closed = false;

    void push(Packet packet);
    void hand_out();
    std::vector<Packet> take(std::size_t most);
};

enum class Kind { receive, send, accept, first_data, disconnect };
const char* name_of(Kind kind);

struct Socket;
// One operation, from its call until its packet is taken.
struct Request {
    Kind kind;
    OVERLAPPED* overlapped;
    std::shared_ptr<Socket> socket;    // whose port gets the packet
    std::shared_ptr<Socket> accepted;  // of an accept: the one that becomes the client's
    std::vector<WSABUF> buffers = {};
    std::size_t done = 0;                   // bytes
    char* output = nullptr;                 // of an accept
    DWORD data = 0, local = 0, remote = 0;  // and its three parts
    DWORD flags = 0;                        // of a disconnect
    std::thread::id thread = std::this_thread::get_id();
    Here where = {};
    std::uint64_t number = 0;  // of all that were begun
    OVERLAPPED copy = {};      // as it must still be when the request completes
    bool holds = false;        // its buffers
    bool handled = false;      // its packet was taken, and the thread that has it asks for the next; or it has none

    std::size_t room() const;
};

struct Socket final : Object {
    int descriptor = -1;
    int family = 0;
    bool overlapped = true;
    bool waits = true;  // blocking calls do
    bool bound = false;
    bool exclusive = false;  // SO_EXCLUSIVEADDRUSE
    bool shares = false;     // SO_REUSEADDR
    bool listening = false;
    bool connected = false;
    bool has_context = true;  // an accepted one gets it by SO_UPDATE_ACCEPT_CONTEXT
    bool in_accept = false;
    bool broken = false;     // the peer has reset it, or we have
    bool resets = false;     // and the peer learns it when it is closed
    bool peer_done = false;  // FIN has come
    bool fin_wanted = false;
    bool fin_sent = false;
    bool closed = false;
    bool skips_packets = false;
    DWORD receive_limit = 0;  // of blocking calls, in milliseconds; 0 is for ever
    DWORD send_limit = 0;
    Clock::time_point connected_at;
    std::shared_ptr<Port> port;
    ULONG_PTR key = 0;
    std::deque<std::shared_ptr<Request>> accepts, receives, sends;
    std::shared_ptr<Request> disconnect;
};

// ---- handles ----

// Windows gives a value that was closed to the next that asks, so a stale one names something else.
class Handles {
public:
    HANDLE add(std::shared_ptr<Object> object);
    void remove(HANDLE handle);
    std::shared_ptr<Object> find(HANDLE handle) const;
    template <class Wanted>
    std::shared_ptr<Wanted> find(HANDLE handle) const {
        return std::dynamic_pointer_cast<Wanted>(find(handle));
    }
    std::vector<std::shared_ptr<Socket>> sockets() const;

private:
    std::map<std::uintptr_t, std::shared_ptr<Object>> objects_;
    std::set<std::uintptr_t> free_;
    std::uintptr_t next_ = 4;
};

struct Kernel {
    std::mutex mutex;
    std::condition_variable_any changed;
    Handles handles;
    std::map<OVERLAPPED*, std::shared_ptr<Request>> held;  // which OVERLAPPED is whose
    std::uint64_t begun = 0;                               // requests, and packets posted by hand
};
Kernel& kernel();  // made at the first call, which may come before main(), and never destroyed

inline HANDLE to_handle(SOCKET socket) { return reinterpret_cast<HANDLE>(socket); }

// ---- what a call returns ----

BOOL fail(DWORD error);       // FALSE
int fail_winsock(int error);  // SOCKET_ERROR

// The error that the plan has for this call (see faults.cpp), or 0. `socket` is the one whose client suffers by it.
DWORD fault(const char* call, const Socket* socket = nullptr);
std::string client_of(const Socket& socket);  // its address, or ""

// What the handle names, for this call; or null, and the error is set: it names nothing of this kind, or the plan has a
// fault for the call.
template <class Wanted>
std::shared_ptr<Wanted> find(HANDLE handle, const char* call, DWORD if_none = ERROR_INVALID_HANDLE) {
    auto found = kernel().handles.find<Wanted>(handle);
    const DWORD error = found == nullptr ? if_none : fault(call, dynamic_cast<const Socket*>(found.get()));
    if (error == 0) return found;
    fail(error);
    return nullptr;
}
inline std::shared_ptr<Socket> find_socket(SOCKET socket, const char* call) {
    return find<Socket>(to_handle(socket), call, WSAENOTSOCK);
}

// One line that says which rule was broken, where, and where to read about it; then the program ends.
[[noreturn]] void broken_rule(const char* subject, const Request& request, const char* what);
[[noreturn]] void not_modelled(const char* what);

// The file of a call, from the repository's root, also where the compiler was given a path from the build folder.
inline const char* file_of(Here where) {
    const char* name = where.file_name();
    while (std::strncmp(name, "../", 3) == 0)
        name += 3;
    return name;
}

// ---- the trace: trace.cpp ----

// A call of the program, from its beginning to its end, and the sockets or files that it is given.
class TracedCall {
public:
    TracedCall(const char* name, Here where, std::initializer_list<HANDLE> handles, const char* thread = "a thread");
    ~TracedCall();
    TracedCall(const TracedCall&) = delete;
    TracedCall& operator=(const TracedCall&) = delete;
};
void trace_begin(const Request& request);           // by this thread
void trace_post(const Packet& packet, Here where);  // likewise
void trace_complete(const Request& request, DWORD bytes, DWORD error, bool inside);
void trace_queued(const Packet& packet);
void trace_end(const Request& request);  // it has been handled, or has no packet
void trace_end(const Packet& packet);
void trace_handling(const std::vector<Packet>& packets);  // from now on this thread has them in its hands
void trace_handled(const std::vector<Packet>& packets);
void trace_queue(const Port& port);
void end_trace();

// ---- requests ----

std::shared_ptr<Request> begin(Kind kind, const std::shared_ptr<Socket>& socket, OVERLAPPED* overlapped, Here here);
void never_began(Request& request);
void hold(Request& request);       // from now on it is pending, and its memory the kernel's
void give_back(Request& request);  // the memory, if it is held; nobody must have freed it meanwhile
// `inside`: the call that began it has not returned yet.
void complete(const std::shared_ptr<Request>& request, Status status, std::size_t bytes, bool inside);
bool cancel(const std::shared_ptr<Socket>& socket, const OVERLAPPED* only, const std::thread::id* thread,
            Status status);

// ---- the network ----

struct Progress {
    bool pending;
    Status status;
    std::size_t bytes;
};
Progress try_receive(Socket& socket, Request& request);
Progress try_send(Socket& socket, Request& request);
void serve(const std::shared_ptr<Socket>& socket);  // completes what is ready
void watch(const std::shared_ptr<Socket>& socket);  // from now on serve() is called when Linux has news of it
void unwatch(Socket& socket);
void serve_soon(std::shared_ptr<Socket> socket);  // on the network's thread

void push_later(std::chrono::microseconds delay, std::shared_ptr<Port> port, Packet packet);

// Linux' calls without the sanitizers' eyes.
long receive_now(int descriptor, void* bytes, std::size_t size, int flags);
long send_now(int descriptor, const void* bytes, std::size_t size);

// ---- threads ----

// The thread's last packets have been handled: it asks for the next, or ends.
void packets_handled();
// While it lives, the thread does not count as running. Made and destroyed with the lock held.
class Pause {
public:
    Pause();
    ~Pause();
    Pause(const Pause&) = delete;
    Pause& operator=(const Pause&) = delete;

private:
    std::shared_ptr<Port> port_;
};
void runs_on(std::shared_ptr<Port> port, std::vector<Packet> packets);

// At the end of a call that has begun an operation: by the schedule, its caller does not go on before others have
// handled it.
void hold_caller(Lock& lock, const Request& request);

// For a call that blocks without the lock.
template <class Blocks>
auto while_paused(Blocks blocks) {
    std::optional<Pause> pause;
    {
        const Lock lock;
        pause.emplace();
    }
    const auto result = blocks();
    const Lock lock;
    pause.reset();
    return result;
}

template <class Holds>
bool Lock::wait(DWORD milliseconds, Holds holds) {
    const Pause pause;
    auto& [mutex, changed, handles, held, begun] = kernel();
    if (milliseconds == INFINITE) {
        changed.wait(mutex, holds);
        return true;
    }
    return changed.wait_for(mutex, std::chrono::milliseconds(milliseconds), holds);
}

}  // namespace strict
