// What happened, as Chrome's trace events, which Perfetto and chrome://tracing open: IOCP_STRICT_TRACE=FILE in the
// environment. A lane for each thread and one for the kernel; each operation from its call until it has been handled,
// and each packet that was posted by hand; how many packets the ports hold. Times are the machine's monotonic clock's,
// so that a client can add what it did.
#include "kernel.hpp"

#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace strict {

namespace {

constexpr int lane_of_kernel = 0;
constexpr const char* name_of_posted = "packet";

class File {
public:
    File() {
        const char* const name = std::getenv("IOCP_STRICT_TRACE");
        file_ = name == nullptr ? nullptr : std::fopen(name, "we");
        if (file_ == nullptr) return;
        std::fprintf(file_, "[\n");
        event("M", lane_of_kernel, R"("name":"thread_name","args":{"name":"the kernel"})");
        std::atexit(end_trace);
    }
    bool is_open() const { return file_ != nullptr; }

    // One line, whole. The lane is a thread's number.
    [[gnu::format(printf, 4, 5)]] void event(const char* phase, int lane, const char* format, ...) {
        const auto now = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch());
        char rest[600];
        std::va_list values;
        va_start(values, format);
        std::vsnprintf(rest, sizeof rest, format, values);
        va_end(values);
        const std::lock_guard lock(mutex_);
        if (file_ == nullptr) return;
        std::fprintf(file_, R"(%s{"ph":"%s","pid":1,"tid":%d,"ts":%.3f,%s})", is_first_ ? "" : ",\n", phase, lane,
                     static_cast<double>(now.count()) / 1000, rest);
        is_first_ = false;
    }
    void end() {
        const std::lock_guard lock(mutex_);
        if (file_ == nullptr) return;
        std::fputs("\n]\n", file_);
        std::fclose(std::exchange(file_, nullptr));
    }

private:
    std::mutex mutex_;
    std::FILE* file_ = nullptr;
    bool is_first_ = true;
};

File& file() {
    static File& made = *new File;
    return made;
}

// This thread's lane; at its first event it gets its name.
int lane(const char* name) {
    thread_local bool is_named = false;
    const int number = ::gettid();
    if (!std::exchange(is_named, true)) {
        file().event("M", number, R"("name":"thread_name","args":{"name":"%s"})", number == ::getpid() ? "main" : name);
    }
    return number;
}

int lane_of_caller() { return lane("a thread"); }

// On the track of this operation, or of this packet.
void operation(const char* phase, int lane_of_it, std::uint64_t number, const char* name, const std::string& values) {
    file().event(phase, lane_of_it, R"("cat":"operation","id":%llu,"name":"%s","args":{%s})",
                 static_cast<unsigned long long>(number), name, values.c_str());
}

std::string place(Here where) {
    return std::string(R"("at":")") + file_of(where) + ":" + std::to_string(where.line()) + '"';
}
std::string value(const char* name, std::uint64_t number) {
    return std::string(",\"") + name + "\":" + std::to_string(number);
}
void add(std::string& list, std::uint64_t number) { list += (list.empty() ? "" : ",") + std::to_string(number); }
// The OVERLAPPED, by which one sees that an operation is started again.
std::string memory(const OVERLAPPED* overlapped) {
    return value("memory", reinterpret_cast<std::uintptr_t>(overlapped));
}
std::string client(const std::shared_ptr<Socket>& socket) {
    const std::string address = socket == nullptr ? "" : client_of(*socket);
    return address.empty() ? "" : R"(,"client":")" + address + '"';
}

}  // namespace

TracedCall::TracedCall(const char* name, Here where, std::initializer_list<HANDLE> handles, const char* thread) {
    const Inside here;
    if (!file().is_open()) return;
    std::string numbers;
    for (const HANDLE handle : handles)
        if (handle != INVALID_HANDLE_VALUE) add(numbers, reinterpret_cast<std::uintptr_t>(handle));
    file().event("B", lane(thread), R"("name":"%s","args":{%s,"handles":[%s]})", name, place(where).c_str(),
                 numbers.c_str());
}
TracedCall::~TracedCall() {
    const Inside here;
    if (file().is_open()) file().event("E", lane_of_caller(), R"("args":{})");
}

void trace_begin(const Request& request) {
    if (!file().is_open()) return;
    operation("b", lane_of_caller(), request.number, name_of(request.kind),
              place(request.where) + value("buffer", request.room() + request.data + request.local + request.remote) +
                  memory(request.overlapped) + client(request.accepted == nullptr ? request.socket : nullptr));
}
void trace_post(const Packet& packet, Here where) {
    if (!file().is_open()) return;
    operation("b", lane_of_caller(), packet.number, name_of_posted,
              place(where) + value("bytes", packet.bytes) + value("key", packet.key) + memory(packet.overlapped));
}
void trace_complete(const Request& request, DWORD bytes, DWORD error, bool inside) {
    if (!file().is_open()) return;
    const std::string values = place(request.where) + value("bytes", bytes) + value("error", error);
    operation("n", lane_of_kernel, request.number, "completes",
              values + value("inside", inside) + client(request.accepted));
    file().event("i", lane_of_kernel, R"("s":"t","name":"%s completes","args":{%s})", name_of(request.kind),
                 values.c_str());
}
void trace_queued(const Packet& packet) {
    if (file().is_open()) operation("n", lane_of_kernel, packet.number, "is queued", "");
}
void trace_end(const Request& request) {
    if (file().is_open()) operation("e", lane_of_kernel, request.number, name_of(request.kind), "");
}
void trace_end(const Packet& packet) {
    if (packet.request != nullptr) return trace_end(*packet.request);
    if (file().is_open()) operation("e", lane_of_kernel, packet.number, name_of_posted, "");
}
void trace_handling(const std::vector<Packet>& packets) {
    if (!file().is_open()) return;
    std::string numbers;
    for (const Packet& packet : packets)
        add(numbers, packet.number);
    file().event("B", lane("worker"), R"("name":"handles packets","args":{"packets":[%s]})", numbers.c_str());
}
void trace_handled(const std::vector<Packet>& packets) {
    if (!file().is_open()) return;
    file().event("E", lane("worker"), R"("name":"handles packets","args":{})");
    for (const Packet& packet : packets)
        trace_end(packet);
}
void trace_queue(const Port& port) {
    if (!file().is_open()) return;
    file().event("C", lane_of_kernel, R"("name":"packets in port %p","args":{"packets":%zu})",
                 static_cast<const void*>(&port), port.queue.size());
}
void end_trace() { file().end(); }

}  // namespace strict
