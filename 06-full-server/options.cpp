#include "06-full-server/options.hpp"

#include "01-create-port/program.hpp"
#include "04-send/send.hpp"

#include <CLI/CLI.hpp>

bool read_options(int argc, char** argv, Options& options) {
    CLI::App app(
        "A TCP server on one I/O completion port. It echoes, or it is a chat.\n"
        "It stops on Ctrl+C, and tells at the end what it did. Try it: nc 127.0.0.1 7007",
        "06-full-server");
    app.option_defaults()->always_capture_default();
    // The help shows `--drain SECONDS=5`; the range that a validator allows is told when a value is outside of it.
    const auto add = [&](const char* group, const char* name, auto& value, const char* kind, CLI::Validator allowed,
                         const char* text) {
        app.add_option(name, value, text)->type_name(kind)->check(allowed.description(""))->group(group);
    };
    const auto add_flag = [&](const char* group, const char* name, bool& value, const char* text) {
        app.add_flag(name, value, text)->group(group);
    };

    const CLI::Range seconds(0.0, 86400.0);
    const CLI::Validator numeric_address(
        [](const std::string& text) {
            in6_addr ignored;
            const bool good =
                ::inet_pton(AF_INET, text.c_str(), &ignored) == 1 || ::inet_pton(AF_INET6, text.c_str(), &ignored) == 1;
            return good ? std::string() : "'" + text + "' is not a numeric address such as 127.0.0.1 or ::1";
        },
        "");

    const char* what = "What it does";
    add(what, "port", options.port, "NUMBER", CLI::Range(0, 65535), "TCP port; 0 takes any free one");
    add(what, "--app", options.app, "NAME", CLI::IsMember({"echo", "chat"}),
        "echo: every byte goes back. chat: a line goes to every other client");
    add(what, "--address", options.address, "ADDRESS", numeric_address,
        "Where to listen; :: is IPv6 and IPv4, from any machine");
    add_flag(what, "--stop-on-eof", options.stop_on_eof, "Stop also when stdin ends");

    const char* limits = "Limits";
    add(limits, "--max-connections", options.max_connections, "NUMBER", CLI::Range(1, 1000000),
        "Further clients are told that the server is full");
    add(limits, "--send-queue", options.send_queue, "BYTES", CLI::Range(1024, 1 << 30),
        "What may wait for one client: then echo stops reading from it, and chat drops it");
    add(limits, "--idle-timeout", options.idle_timeout, "SECONDS", seconds, "Without a byte either way; 0 is for ever");
    add(limits, "--silent-timeout", options.silent_timeout, "SECONDS", seconds,
        "For a new client's first byte; 0 is for ever");
    add(limits, "--drain", options.drain, "SECONDS", seconds, "For clients to finish when the server stops");

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

    const char* telling = "What it tells";
    add(telling, "--stats", options.stats, "SECONDS", seconds, "Between lines of statistics; 0: only at the end");
    add_flag(telling, "--verbose", options.verbose, "A line for every client that comes and goes");

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
