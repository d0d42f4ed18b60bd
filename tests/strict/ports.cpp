// Completion ports: the queue, the threads that wait, and how many of them run.
#include "kernel.hpp"
#include "schedule.hpp"

#include <algorithm>
#include <random>

namespace strict {

namespace {

// The port whose packets this thread is handling. A thread that ends has handled them.
struct ThisThread {
    std::shared_ptr<Port> port;
    std::vector<Packet> handling;
    ~ThisThread() {
        const Lock lock;
        packets_handled();
    }
};
thread_local ThisThread this_thread;

// The high half of Internal is nobody's to read: the status is in the low one.
ULONG_PTR with_rubbish(LONG status) {
    thread_local std::mt19937_64 random;
    return (random() << 32) | static_cast<std::uint32_t>(status);
}

}  // namespace

std::vector<Packet> Port::take(std::size_t most) {
    std::vector<Packet> taken;
    while (!queue.empty() && taken.size() < most) {
        taken.push_back(std::move(queue.front()));
        queue.pop_front();
    }
    return taken;
}

void Port::hand_out() {
    while (!queue.empty() && !waiting.empty() && running < concurrency) {
        Waiting* const last = waiting.back();
        waiting.pop_back();
        last->packets = take(last->most);
        ++running;
    }
    trace_queue(*this);
    something_changed();
}

std::shared_ptr<char> released_to_taker() {
    auto order = std::make_shared<char>();
    released(order.get());
    return order;
}

void Port::push(Packet packet) {
    trace_queued(packet);
    queue.push_back(std::move(packet));
    hand_out();
}

void runs_on(std::shared_ptr<Port> port, std::vector<Packet> packets) {
    this_thread.port = std::move(port);
    this_thread.handling = std::move(packets);
    trace_handling(this_thread.handling);
}

void packets_handled() {
    if (this_thread.port == nullptr) return;
    --this_thread.port->running;
    this_thread.port->hand_out();
    this_thread.port = nullptr;
    trace_handled(this_thread.handling);
    for (const Packet& packet : std::exchange(this_thread.handling, {})) {
        if (packet.request != nullptr) packet.request->handled = true;
    }
    something_changed();
}

void hold_caller(Lock& lock, const Request& request) {
    // Not for ever: perhaps nobody handles it while this thread waits.
    if (holds_caller()) lock.wait(30, [&] { return request.handled; });
}

Pause::Pause() : port_(this_thread.port) {
    if (port_ == nullptr) return;
    --port_->running;
    port_->hand_out();
}
Pause::~Pause() {
    if (port_ != nullptr) ++port_->running;  // perhaps one more than may run, until one of them asks for a packet
}

namespace {

// 0, or why there is no packet.
DWORD dequeue(const char* name, HANDLE handle, std::size_t most, DWORD milliseconds, std::vector<Packet>& packets,
              Here here) {
    Lock lock;
    packets_handled();
    std::optional<TracedCall> call;
    const auto traced = [&] { call.emplace(name, here, std::initializer_list<HANDLE>{}, "worker"); };
    const auto port = kernel().handles.find<Port>(handle);
    if (port == nullptr) return ERROR_INVALID_HANDLE;
    if (!port->queue.empty() && port->running < port->concurrency) {
        traced();
        packets = port->take(most);
        ++port->running;
        trace_queue(*port);
    } else {
        if (milliseconds == 0) return WAIT_TIMEOUT;
        traced();
        Port::Waiting self{most, {}};
        port->waiting.push_back(&self);
        lock.wait(milliseconds, [&] { return !self.packets.empty() || port->closed; });
        if (self.packets.empty()) {
            std::erase(port->waiting, &self);
            return port->closed ? ERROR_ABANDONED_WAIT_0 : WAIT_TIMEOUT;
        }
        packets = std::move(self.packets);
    }
    call.reset();
    runs_on(port, packets);
    for (const Packet& packet : packets) {
        acquired(packet.order.get());
        if (packet.request != nullptr) kernel().held.erase(packet.overlapped);
    }
    return 0;
}

}  // namespace
}  // namespace strict

using namespace strict;

HANDLE CreateIoCompletionPort(HANDLE file, HANDLE port, ULONG_PTR key, DWORD concurrency, Here here) {
    const TracedCall call("CreateIoCompletionPort", here, {file});
    const Lock lock;
    Handles& handles = kernel().handles;
    const auto refuse = [](DWORD error) {
        fail(error);
        return HANDLE{nullptr};
    };
    if (file == INVALID_HANDLE_VALUE && port != nullptr) return refuse(ERROR_INVALID_PARAMETER);
    auto target = handles.find<Port>(port);
    if (port != nullptr && target == nullptr) return refuse(ERROR_INVALID_HANDLE);
    const auto socket = handles.find<Socket>(file);
    const auto plain_file = handles.find<File>(file);
    if (file != INVALID_HANDLE_VALUE) {
        if (socket == nullptr && plain_file == nullptr) return refuse(ERROR_INVALID_HANDLE);
        if (socket != nullptr ? !socket->overlapped || socket->port != nullptr : !plain_file->overlapped) {
            return refuse(ERROR_INVALID_PARAMETER);
        }
    }
    if (const DWORD error = fault("CreateIoCompletionPort", socket.get())) return refuse(error);
    if (port == nullptr) {
        target = std::make_shared<Port>();
        target->concurrency = concurrency > 0 ? concurrency : std::max(1u, std::thread::hardware_concurrency());
        port = handles.add(target);
    }
    if (socket != nullptr) {
        socket->port = target;
        socket->key = key;
    }
    return port;
}

BOOL GetQueuedCompletionStatus(HANDLE port, DWORD* bytes, ULONG_PTR* key, OVERLAPPED** overlapped, DWORD milliseconds,
                               Here where) {
    *overlapped = nullptr;
    std::vector<Packet> packets;
    const Inside here;
    const DWORD error = dequeue("GetQueuedCompletionStatus", port, 1, milliseconds, packets, where);
    if (error != 0) return fail(error);
    const Packet& packet = packets.front();
    *bytes = packet.bytes;
    *key = packet.key;
    *overlapped = packet.overlapped;
    return packet.status >= 0 ? TRUE : fail(error_at_port(packet.status));
}

BOOL GetQueuedCompletionStatusEx(HANDLE port, OVERLAPPED_ENTRY* entries, ULONG most, ULONG* count, DWORD milliseconds,
                                 BOOL alertable, Here where) {
    if (alertable) not_modelled("GetQueuedCompletionStatusEx that is alertable");
    *count = 0;
    std::vector<Packet> packets;
    const Inside here;
    const DWORD error = dequeue("GetQueuedCompletionStatusEx", port, most, milliseconds, packets, where);
    if (error != 0) return fail(error);
    for (const Packet& packet : packets)
        entries[(*count)++] = {packet.key, packet.overlapped, with_rubbish(packet.status), packet.bytes};
    return TRUE;
}

BOOL PostQueuedCompletionStatus(HANDLE port, DWORD bytes, ULONG_PTR key, OVERLAPPED* overlapped, Here here) {
    const TracedCall call("PostQueuedCompletionStatus", here, {});
    const Lock lock;
    const auto target = find<Port>(port, "PostQueuedCompletionStatus");
    if (target == nullptr) return FALSE;
    Packet packet{key, overlapped, bytes, 0, nullptr, released_to_taker(), ++kernel().begun};
    trace_post(packet, here);
    target->push(std::move(packet));
    return TRUE;
}
