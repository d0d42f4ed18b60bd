// What happened, as Chrome's trace events, which Perfetto and chrome://tracing open: IOCP_STRICT_TRACE=FILE in the
// environment. A lane for each thread and one for the kernel; each operation from its call until it has been handled;
// how many packets the ports hold.
#include "kernel.hpp"

#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace strict {

namespace {

constexpr int lane_of_kernel = 0;

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
        const auto now = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - began_);
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
    const Clock::time_point began_ = Clock::now();
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

void operation(const char* phase, const Request& request, const char* more) {
    if (!file().is_open()) return;
    file().event(phase, lane_of_kernel, R"("cat":"operation","id":%llu,"name":"%s","args":{"at":"%s:%u"%s})",
                 static_cast<unsigned long long>(request.number), name_of(request.kind), file_of(request.where),
                 static_cast<unsigned>(request.where.line()), more);
}

}  // namespace

TracedCall::TracedCall(const char* name, Here where) {
    const Inside here;
    if (!file().is_open()) return;
    file().event("B", lane("a thread"), R"("name":"%s","args":{"at":"%s:%u"})", name, file_of(where),
                 static_cast<unsigned>(where.line()));
}
TracedCall::~TracedCall() {
    const Inside here;
    if (file().is_open()) file().event("E", lane("a thread"), R"("args":{})");
}

void trace_begin(const Request& request) { operation("b", request, ""); }
void trace_complete(const Request& request, DWORD bytes, DWORD error) {
    if (!file().is_open()) return;
    char more[60];
    std::snprintf(more, sizeof more, R"(,"bytes":%u,"error":%u)", bytes, error);
    operation("n", request, more);
    file().event("i", lane_of_kernel, R"("s":"t","name":"%s completes","args":{"at":"%s:%u"%s})", name_of(request.kind),
                 file_of(request.where), static_cast<unsigned>(request.where.line()), more);
}
void trace_end(const Request& request) { operation("e", request, ""); }
void trace_handling(bool begins) {
    if (file().is_open()) file().event(begins ? "B" : "E", lane("worker"), R"("name":"handles packets","args":{})");
}
void trace_queue(const Port& port) {
    if (!file().is_open()) return;
    file().event("C", lane_of_kernel, R"("name":"packets in port %p","args":{"packets":%zu})",
                 static_cast<const void*>(&port), port.queue.size());
}
void end_trace() { file().end(); }

}  // namespace strict
