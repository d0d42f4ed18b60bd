#include "06-full-server/options.hpp"

#include "01-create-port/program.hpp"
#include "04-send/send.hpp"
#include "06-full-server/application.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

namespace {

// As getaddrinfo takes them, so with a scope too.
bool is_numeric_address(const std::string& text) {
    addrinfo hints{};
    hints.ai_flags = AI_NUMERICHOST;
    addrinfo* found = nullptr;
    const bool good = ::getaddrinfo(text.c_str(), nullptr, &hints, &found) == 0;
    if (good) ::freeaddrinfo(found);
    return good;
}

}  // namespace

bool read_options(int argc, char** argv, Options& options) {
    CLI::App app(
        "A TCP server on one I/O completion port: an echo, a chat, or what you make of it.\n"
        "It stops on Ctrl+C, and says at the end what it did. Try it: nc 127.0.0.1 7007",
        "06-full-server");
    app.option_defaults()->always_capture_default();
    // The help shows `--drain SECONDS=5`; the validator's range, when a value lies outside it.
    const auto add = [&](const char* group, const char* name, auto& value, const char* kind, CLI::Validator allowed,
                         const char* text) {
        app.add_option(name, value, text)->type_name(kind)->check(allowed.description(""))->group(group);
    };
    const auto add_flag = [&](const char* group, const char* name, bool& value, const char* text) {
        app.add_flag(name, value, text)->group(group);
    };

    const CLI::Validator no_nan(  // for no range can exclude it
        [](const std::string& text) {
            return std::isnan(std::strtod(text.c_str(), nullptr)) ? "'" + text + "' is no number" : std::string();
        },
        "");
    const CLI::Validator seconds = CLI::Range(0.0, 86400.0) & no_nan;
    const CLI::Validator numeric_address(
        [](const std::string& text) {
            if (is_numeric_address(text)) return std::string();
            return "'" + text + "' is not a numeric address such as 127.0.0.1, ::1 or fe80::1%3";
        },
        "");
    std::vector<std::string> app_names;
    std::string app_help;
    for (const ApplicationEntry& entry : applications()) {
        app_names.push_back(entry.name);
        app_help += (app_help.empty() ? "" : ". ") + app_names.back() + ": " + entry.help;
    }

    const char* what = "What it does";
    add(what, "port", options.port, "NUMBER", CLI::Range(0, 65535), "TCP port; 0 takes any free one");
    add(what, "--app", options.app, "NAME", CLI::IsMember(app_names), app_help.c_str());
    add(what, "--address", options.address, "ADDRESS", numeric_address,
        "Where to listen; :: is IPv6 and IPv4, from any machine");
    add_flag(what, "--stop-on-eof", options.stop_on_eof, "Stop also when stdin ends");

    const char* limits = "Limits";
    add(limits, "--max-connections", options.max_connections, "NUMBER", CLI::Range(1, 1000000),
        "Further clients are told that the server is full");
    add(limits, "--send-queue", options.send_queue, "BYTES", CLI::Range(1024, 1 << 30),
        "What may wait for one client: then it is not read from, and dropped if others send it more");
    add(limits, "--buffer-memory", options.buffer_memory, "BYTES", CLI::Range(65536.0, 1e12),
        "What all buffers may take: then a client that more than --first-receive waits for is not read from");
    add(limits, "--idle-timeout", options.idle_timeout, "SECONDS", seconds, "Without a byte either way; 0 is for ever");
    add(limits, "--silent-timeout", options.silent_timeout, "SECONDS", seconds,
        "For a new client's first byte; 0 is for ever");
    add(limits, "--drain", options.drain, "SECONDS", seconds, "For a client to finish once we have, and all at a stop");

    const char* tuning = "Tuning";
    add(tuning, "--workers", options.workers, "NUMBER", CLI::Range(0, 256),
        "Threads that wait on the port; 0: one per processor, at least 2");
    add(tuning, "--accepts", options.accepts, "NUMBER", CLI::Range(1, 1000), "AcceptEx operations kept posted");
    add(tuning, "--receive-buffer", options.receive_buffer, "BYTES", CLI::Range(512, 1 << 20),
        "The most that one receive takes; it grows to that from the first's size, and shrinks again");
    add(tuning, "--first-receive", options.first_receive, "BYTES", CLI::Range(64, 1 << 20),
        "What a new or quiet connection's receive takes, at most --receive-buffer");
    add(tuning, "--gather", options.gather, "NUMBER", CLI::Range(1u, unsigned{SendOperation::most_buffers}),
        "Buffers that one WSASend may take");
    add(tuning, "--batch", options.batch, "NUMBER", CLI::Range(1, 1024),
        "Packets that one GetQueuedCompletionStatusEx may take");
    add(tuning, "--inline-bound", options.inline_bound, "NUMBER", CLI::Range(1, 100000),
        "How much is served before the port is looked at again; a KiB counts as one more");
    bool no_skip_on_success = false;
    add_flag(tuning, "--no-skip-on-success", no_skip_on_success,
             "Every operation comes back through the port, also one that finished inside its call");

    const char* printing = "What it prints";
    add(printing, "--stats", options.stats, "SECONDS", seconds, "Between lines of statistics; 0: only at the end");
    add_flag(printing, "--verbose", options.verbose, "A line for every client that comes and goes, and all counts");
    add_flag(printing, "--log-times", options.log_times, "Each line begins with the date and the time");

    try {
        app.parse(argc, argv);
    } catch (const CLI::CallForHelp&) {
        std::fputs(app.help().c_str(), stdout);
        return false;
    } catch (const CLI::ParseError& error) {
        throw UsageError(error.what());
    }
    options.skip_on_success = !no_skip_on_success;
    options.first_receive = std::min(options.first_receive, options.receive_buffer);
    if (options.workers == 0) options.workers = std::max(2u, std::thread::hardware_concurrency());
    return true;
}
