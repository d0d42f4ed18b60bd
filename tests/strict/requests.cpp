// Requests: an operation from its call to its packet, and the memory that the kernel holds meanwhile.
#include "kernel.hpp"
#include "schedule.hpp"

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

namespace strict {

const char* name_of(Kind kind) {
    switch (kind) {
        case Kind::receive:
            return "receive";
        case Kind::send:
            return "send";
        case Kind::disconnect:
            return "disconnect";
        default:
            return "accept";
    }
}

std::size_t Request::room() const {
    std::size_t bytes = 0;
    for (const WSABUF& buffer : buffers)
        bytes += buffer.len;
    return bytes;
}

namespace {

// A receive's buffers, an accept's output. Not the OVERLAPPED: it may be read, and a change shows at the end.
template <class Each>
void for_each_range(const Request& request, Each each) {
    if (request.kind == Kind::receive) {
        for (const WSABUF& buffer : request.buffers)
            each(buffer.buf, buffer.len);
    }
    if (request.output != nullptr) each(request.output, request.data + request.local + request.remote);
}

}  // namespace

std::shared_ptr<Request> begin(Kind kind, const std::shared_ptr<Socket>& socket, OVERLAPPED* overlapped, Here here) {
    const auto held = kernel().held.find(overlapped);
    if (held != kernel().held.end()) {
        broken_rule("OVERLAPPED", *held->second, "was started again before its packet was taken");
    }
    auto request = std::make_shared<Request>(Request{kind, overlapped, socket, nullptr});
    request->where = here;
    request->number = ++kernel().begun;
    kernel().held.emplace(overlapped, request);
    kernel_writes(&overlapped->Internal, sizeof overlapped->Internal);
    overlapped->Internal = static_cast<ULONG_PTR>(Status::pending);
    request->copy = *overlapped;
    released(request.get());
    return request;
}

void give_back(Request& request) {
    constexpr const char* freed = "was freed while the kernel holds it";
    if (is_freed(request.overlapped)) broken_rule("OVERLAPPED", request, freed);
    if (!std::exchange(request.holds, false)) return;
    for_each_range(request, [&](const void* start, std::size_t size) {
        if (is_freed(start)) broken_rule("buffer", request, freed);
        if (is_no_longer_held(start, size)) {
            broken_rule("buffer", request, "was on the stack of a function that has returned");
        }
        give_back_memory(start, size);
    });
}

void never_began(Request& request) {
    kernel().held.erase(request.overlapped);
    trace_end(request);
}

void hold(Request& request) {
    request.holds = true;
    for_each_range(request, [](const void* start, std::size_t size) { hold_memory(start, size); });
}

void complete(const std::shared_ptr<Request>& request, Status status, std::size_t bytes, bool inside) {
    OVERLAPPED& overlapped = *request->overlapped;
    if (!inside && !failed(status)) {
        Socket& client = request->accepted != nullptr ? *request->accepted : *request->socket;
        if (const DWORD error = fault(name_of(request->kind), &client)) {
            status = status_with(error);
            bytes = 0;
            client.broken = true;
        }
    }
    give_back(*request);
    acquired(request.get());
    kernel_writes(&overlapped.Internal, sizeof overlapped.Internal + sizeof overlapped.InternalHigh);
    if (std::memcmp(&overlapped, &request->copy, sizeof overlapped) != 0) {
        broken_rule("OVERLAPPED", *request, "was changed while the kernel holds it");
    }
    overlapped.Internal = static_cast<std::uint32_t>(status);
    overlapped.InternalHigh = bytes;
    const auto event_value = reinterpret_cast<std::uintptr_t>(overlapped.hEvent);
    const auto event = kernel().handles.find<Event>(reinterpret_cast<HANDLE>(event_value & ~std::uintptr_t{1}));
    if (event != nullptr) {
        released(event.get());
        event->set = true;
        something_changed();
    }
    const Socket& socket = *request->socket;
    trace_complete(*request, static_cast<DWORD>(bytes), error_at_port(static_cast<LONG>(status)), inside);
    const bool wants_packet = socket.port != nullptr && (event_value & 1) == 0;
    if (!wants_packet || (inside && socket.skips_packets && !failed(status))) {
        kernel().held.erase(request->overlapped);
        request->handled = true;
        trace_end(*request);
        return;
    }
    Packet packet{
        socket.key,          request->overlapped, static_cast<DWORD>(bytes), static_cast<LONG>(status), request,
        released_to_taker(), request->number};
    const auto delay = holds_packet_back();
    if (delay.count() > 0) return push_later(delay, socket.port, std::move(packet));
    socket.port->push(std::move(packet));
}

bool cancel(const std::shared_ptr<Socket>& socket, const OVERLAPPED* only, const std::thread::id* thread,
            Status status) {
    bool any = false;
    bool ends_a_send = false;
    const auto is_meant = [&](const std::shared_ptr<Request>& request) {
        return (only == nullptr || request->overlapped == only) && (thread == nullptr || request->thread == *thread);
    };
    const auto is_any = [](const std::shared_ptr<Request>&) { return true; };
    const auto end = [&](std::deque<std::shared_ptr<Request>>& queue, auto is_wanted) {
        std::vector<std::shared_ptr<Request>> ended;
        std::ranges::copy_if(queue, std::back_inserter(ended), is_wanted);
        for (const auto& request : ended) {
            any = true;
            std::erase(queue, request);
            if (request->kind == Kind::send) {
                // It may be too late for one that is partly out, which completes short; whoever started it may go on.
                if (request->done > 0 && is_cancelled_too_late()) {
                    complete(request, Status::success, request->done, false);
                    continue;
                }
                ends_a_send = true;
            }
            if (request->accepted != nullptr) request->accepted->in_accept = false;
            const bool is_accept = request->kind == Kind::accept || request->kind == Kind::first_data;
            complete(request, is_accept ? Status::cancelled : status, request->kind == Kind::send ? request->done : 0,
                     false);
        }
    };
    end(socket->accepts, is_meant);
    if (std::ranges::any_of(socket->receives, is_meant)) end(socket->receives, is_any);  // as Windows does for TCP
    end(socket->sends, is_meant);
    if (ends_a_send) {  // a part may be out, so the connection is no more
        socket->broken = socket->resets = true;
        status = Status::connection_aborted;
        end(socket->receives, is_any);
        end(socket->sends, is_any);
    }
    if (socket->disconnect != nullptr && (ends_a_send || is_meant(socket->disconnect))) {
        any = true;
        complete(std::exchange(socket->disconnect, nullptr), status, 0, false);
    }
    // An accept that waits for data is pending on the listener, and lies in its own socket's queue.
    if (!socket->listening) return any;
    for (const auto& other : kernel().handles.sockets()) {
        end(other->receives, [&](const std::shared_ptr<Request>& request) {
            return is_meant(request) && request->kind == Kind::first_data && request->socket == socket;
        });
    }
    return any;
}

}  // namespace strict
