// The stage program under test, run as a child with its stdin, stdout and stderr on pipes.
//
// Which program: see StageTest. Every wait has a deadline, and a wait in vain fails the test. Owner: the test; the
// destructor ends a program that still runs. Threads: the test's own; two readers of its own collect the output.
#pragma once

#include "tests/support/failure.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace support {

class Program {
public:
    using Arguments = std::vector<std::string>;
    enum Wait { until_it_listens, not_at_all };

    // Starts the program and takes `listening on ADDRESS`, which must be its first line.
    explicit Program(Arguments arguments = {"0"}, Wait wait = until_it_listens, Where where = Where::current());
    ~Program();
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;

    const std::string& address() const;  // "127.0.0.1:50000"
    std::uint16_t port() const;

    // Lines on stdout, whatever their order: several workers write them. Without \r\n.
    void expect_line(const std::string& line, Where where = Where::current());
    std::string expect_line_starting(const std::string& start, Where where = Where::current());
    // ECMAScript; all of the line must match. Returns what the groups matched, [0] being the line.
    std::vector<std::string> expect_line_like(const std::string& pattern, Where where = Where::current());
    // Waits until so many lines start with this; returns them.
    std::vector<std::string> expect_lines(std::size_t count, const std::string& start, Where where = Where::current());
    // Looks only at what has come: put it behind an event that comes later than the line would.
    void expect_no_line(const std::string& start, Where where = Where::current());
    std::vector<std::string> lines() const;
    std::vector<std::string> lines_starting(const std::string& start) const;
    std::string error_output() const;  // stderr so far

    void send_line(const std::string& line);       // to its stdin
    void send_to_stdin(const std::string& bytes);  // as it is; in all less than 1 MiB
    void close_stdin();

    // The exit code, once it has ended and all its output is here.
    unsigned long wait_for_exit(Where where = Where::current());

    // Ends stdin; the program must end with exit code 0 and `stopped: N operations posted, N completed, 0 pending` as
    // its last line. Returns N.
    std::uint64_t stop(Where where = Where::current());

    bool running() const;
    unsigned long handle_count() const;  // how many handles it has open

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace support
