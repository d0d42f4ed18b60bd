// A program that runs as a child, with its stdin, stdout and stderr on pipes.
//
// process_windows.cpp is for Windows and Wine, process_linux.cpp for programs on the strict Windows, which are Linux'.
// Owner: who made it; the child ends with it, and when the test's process ends, however it does. Threads: each stream
// may have a thread of its own, and all the rest belongs to one.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace support {

class Process {
public:
    Process();
    ~Process();
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    // Once. Returns why it did not start; empty if it did.
    std::string start(const std::string& path, const std::vector<std::string>& arguments);

    // Wait for what comes next and return how many bytes it is; 0 is the end.
    std::size_t read_output(char* buffer, std::size_t size);
    std::size_t read_errors(char* buffer, std::size_t size);
    void write_input(std::string_view bytes);  // in all less than 1 MiB while nobody reads
    void close_input();

    // Whether it has ended, or does so in time. False also if it has never started.
    bool ends_within(unsigned milliseconds);
    unsigned long exit_code() const;  // once it has ended
    void kill();
    unsigned long handle_count() const;  // how many handles it has open

private:
    struct State;
    const std::unique_ptr<State> state_;
};

}  // namespace support
