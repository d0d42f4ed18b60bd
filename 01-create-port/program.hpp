// What every stage program does around its subject: arguments, one line per event, and a stop when stdin ends.
// Nothing here is about completion ports.
#pragma once

#include "01-create-port/winsock.hpp"

#include <algorithm>
#include <charconv>
#include <concepts>
#include <cstdio>
#include <exception>
#include <iterator>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

inline std::mutex print_mutex;

inline void print_part(std::string_view text) noexcept { std::fwrite(text.data(), 1, text.size(), stdout); }
inline void print_part(double number) noexcept { std::fprintf(stdout, "%g", number); }
template <std::integral Number>
void print_part(Number number) noexcept {
    char digits[24];
    print_part(std::string_view(digits, std::to_chars(digits, std::end(digits), number).ptr));
}

// One line on stdout, whole and flushed: texts and numbers, one after the other. Any thread. Allocates nothing, because
// it is called where nothing may fail: in the handlers of completed operations.
template <class... Parts>
void print_line(const Parts&... parts) noexcept {
    const std::lock_guard lock(print_mutex);
    (print_part(parts), ...);
    std::fputc('\n', stdout);
    std::fflush(stdout);
}

struct UsageError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// The command line: take the options, then the port; what is left over is an error.
class Arguments {
public:
    Arguments(int count, char** values) : rest_(values + std::min(count, 1), values + count) {}

    bool flag(std::string_view name) {
        const auto found = std::find(rest_.begin(), rest_.end(), name);
        if (found == rest_.end()) return false;
        rest_.erase(found);
        return true;
    }
    // `name VALUE`, a number between `least` and `most`; whole unless T is double.
    template <class T>
    T number(std::string_view name, T fallback, T least, T most) {
        const auto found = std::find(rest_.begin(), rest_.end(), name);
        if (found == rest_.end()) return fallback;
        const auto value = std::next(found);
        const T result = parse(name, value == rest_.end() ? std::string() : *value, least, most);
        rest_.erase(found, std::next(value));
        return result;
    }
    // Call last: the port, 7007 if none is given. 0 takes any free port.
    std::uint16_t port() {
        for (const std::string& option : rest_) {
            if (option.starts_with("--")) throw UsageError("unknown option '" + option + "'");
        }
        if (rest_.size() > 1) throw UsageError("one port is enough: '" + rest_[1] + "' is too much");
        return rest_.empty() ? std::uint16_t{7007} : parse<std::uint16_t>("port", rest_[0], 0, 65535);
    }

private:
    template <class T>
    static T parse(std::string_view name, const std::string& text, T least, T most) {
        T value{};
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (error != std::errc() || end != text.data() + text.size() || !(value >= least && value <= most)) {
            throw UsageError(std::string(name) + " takes a number from " + shown(least) + " to " + shown(most) +
                             ", not '" + text + "'");
        }
        return value;
    }
    static std::string shown(double value) {
        char text[32];
        std::snprintf(text, sizeof text, "%g", value);
        return text;
    }

    std::vector<std::string> rest_;
};

// "2" or "0.5", for lines that tell a time in seconds.
inline std::string seconds_text(double seconds) {
    char text[32];
    std::snprintf(text, sizeof text, "%g", seconds);
    return text;
}

// Runs the program and turns what it throws into one line on stderr and an exit code: 2 for a bad argument, 1 for a
// failed start.
template <class Body>
int run_program(const char* name, const char* usage, Body body) {
    try {
        body();
        return 0;
    } catch (const UsageError& error) {
        std::fprintf(stderr, "%s: %s\nusage: %s %s\n", name, error.what(), name, usage);
        return 2;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s: %s\n", name, error.what());
    }
    return 1;
}

// What a program waits for before it stops. Any thread may set it.
class StopEvent {
public:
    StopEvent() : handle_(::CreateEventW(nullptr, TRUE, FALSE, nullptr)) {
        if (handle_ == nullptr) throw_error(::GetLastError(), "CreateEventW");
    }
    ~StopEvent() { ::CloseHandle(handle_); }
    StopEvent(const StopEvent&) = delete;
    StopEvent& operator=(const StopEvent&) = delete;

    void set() { ::SetEvent(handle_); }
    bool wait(DWORD milliseconds) { return ::WaitForSingleObject(handle_, milliseconds) == WAIT_OBJECT_0; }

private:
    HANDLE handle_;
};

// Sets the event when stdin ends. The event must live as long as the process: the thread that reads stdin cannot be
// called back.
inline void set_when_stdin_ends(StopEvent& event) {
    std::thread([&event] {
        const HANDLE input = ::GetStdHandle(STD_INPUT_HANDLE);
        // Zero bytes are the end of a file, and of a console's input (Ctrl+Z). From a pipe they are only what somebody
        // wrote, as long as one can look into it.
        const auto is_open_pipe = [&] {
            return ::PeekNamedPipe(input, nullptr, 0, nullptr, nullptr, nullptr) != FALSE;
        };
        char ignored[512];
        DWORD bytes = 0;
        while (::ReadFile(input, ignored, sizeof ignored, &bytes, nullptr) && (bytes > 0 || is_open_pipe())) {
        }
        event.set();
    }).detach();
}

// Calls `tick` now and then ten times a second, on this thread, until stdin ends. What it throws, for want of a thread,
// it throws before the first tick.
template <class Tick>
void run_until_stdin_ends(Tick tick) {
    static StopEvent ended;
    set_when_stdin_ends(ended);
    do
        tick();
    while (!ended.wait(100));
}

// The last line of every stage program, in the parts that `print` takes. Allocates nothing, so it always comes.
template <class Port, class Print>
void print_stopped(const Port& port, Print print) {
    print("stopped: ", port.posted(), " operations posted, ", port.completed(), " completed, ", port.pending(),
          " pending");
}
template <class Port>
void print_stopped(const Port& port) {
    print_stopped(port, [](const auto&... parts) { print_line(parts...); });
}
