// What the command line can set, with its defaults.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

struct Options {
    std::string app = "echo";
    std::string address = "127.0.0.1";
    std::uint16_t port = 7007;
    unsigned workers = 0;  // 0: one per processor, at least two
    unsigned accepts = 64;
    std::size_t max_connections = 10000;
    double idle_timeout = 300;  // seconds, as all times here; 0 is never
    double silent_timeout = 0;
    std::size_t send_queue = 262144;  // bytes
    std::size_t buffer_memory = 268435456;
    std::size_t first_receive = 1024;
    std::size_t receive_buffer = 65536;
    unsigned gather = 16;
    double drain = 5;
    unsigned batch = 256;
    unsigned inline_bound = 64;
    bool skip_on_success = true;
    double stats = 0;
    bool verbose = false;
    bool log_times = false;
    bool stop_on_eof = false;
};

// Throws UsageError. Returns false when the help was asked for and has been printed.
bool read_options(int argc, char** argv, Options& options);
