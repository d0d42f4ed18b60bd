// Lines for whoever reads stdout and stderr.
//
// No worker waits for a reader: a pipe that nobody empties, or text being selected in a console window, holds up only
// the log's own threads. Each of the two streams has one, with a bounded queue; when that is full the oldest line in it
// is lost, and counted. Owner: main, which makes it before all that print. Threads: any may print.
#pragma once

#include <charconv>
#include <concepts>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string_view>

class Log {
public:
    explicit Log(bool times);  // each line begins with the local date and time
    ~Log();                    // gives the readers 2 s, then 1 s more for stderr, to take what is queued
    Log(const Log&) = delete;
    Log& operator=(const Log&) = delete;

    // One line, whole, of texts and whole numbers; what is beyond 1,000 bytes is cut off.
    template <class... Parts>
    void line(const Parts&... parts) noexcept {
        Text text;
        (text.add(parts), ...);
        print(*out_, text.all());
    }
    template <class... Parts>
    void warning(const Parts&... parts) noexcept {  // on stderr
        Text text;
        (text.add(parts), ...);
        print(*err_, text.all());
    }

    std::uint64_t lost() const noexcept;  // lines
    void report_lost() noexcept;          // on stderr, how many since the last report; for main

private:
    // Put together here, so that a line needs no memory where there may be none.
    class Text {
    public:
        void add(std::string_view part) { size_ += part.copy(text_ + size_, sizeof text_ - size_); }
        void add(std::integral auto number) {
            char digits[24];
            add(std::string_view(digits, std::to_chars(digits, std::end(digits), number).ptr));
        }
        std::string_view all() const { return {text_, size_}; }

    private:
        char text_[1000];
        std::size_t size_ = 0;
    };

    struct Stream;
    static void print(Stream& stream, std::string_view line) noexcept;

    std::unique_ptr<Stream> out_;
    std::unique_ptr<Stream> err_;
    std::uint64_t reported_ = 0;
};
