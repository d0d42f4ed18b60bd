// The load generator: opens connections to a server, makes it work, verifies every byte that comes back, and prints one
// line of CSV. It runs natively on Linux, so that under Wine it shares nothing with the server, and builds on Windows.
#include "chat_clients.hpp"
#include "echo_clients.hpp"

#include <CLI/CLI.hpp>

#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace {

const std::map<std::string, std::function<awaitable<void>(Run&)>> workloads{
    {"ping-pong", [](Run& run) { return ping_pong(run); }}, {"fairness", [](Run& run) { return fairness(run); }},
    {"churn", [](Run& run) { return churn(run); }},         {"burst", [](Run& run) { return accept_burst(run); }},
    {"idle", [](Run& run) { return idle(run); }},           {"fan-out", [](Run& run) { return fan_out(run); }},
};

constexpr auto columns =
    "server,connections,size,depth,seconds,count,per_second,p50_us,p99_us,p999_us,max_us,errors,"
    "noisy_mb_per_second,server_writes,server_bytes,whole_bytes";

// A column that the workload does not have stays empty.
void print(const Run& run) {
    const auto column = [](bool has, double value, int decimals) {
        has ? std::printf(",%.*f", decimals, value) : std::printf(",");
    };
    const auto whole = [](std::uint64_t value) { return static_cast<double>(value); };
    const Options& options = run.options;
    const double per_second = run.seconds > 0 ? 1 / run.seconds : 0;
    std::printf("%s,%zu,%zu,%zu", options.label.c_str(), options.connections, options.size, options.depth);
    column(true, run.seconds, 3);
    column(true, whole(run.count), 0);
    column(true, whole(run.count) * per_second, 1);
    for (const double percent : {50.0, 99.0, 99.9, 100.0})
        column(run.latency.total() > 0, whole(run.latency.percentile(percent)) / 1000, 1);
    column(true, whole(run.errors), 0);
    column(options.workload == "fairness", whole(run.noisy_bytes) * per_second / 1e6, 1);
    column(run.server_writes >= 0, run.server_writes, 0);
    column(run.memory.server >= 0, run.memory.server, 0);
    column(run.memory.server >= 0, run.memory.whole, 0);
    std::puts("");
}

}  // namespace

int main(int argc, char** argv) {
    Run run;
    Options& options = run.options;
    CLI::App app("Loads an echo or chat server and prints a line of CSV", "load");
    app.option_defaults()->always_capture_default();
    std::vector<std::string> names;
    for (const auto& [name, start] : workloads)
        names.push_back(name);
    app.add_option("workload", options.workload, "What to do")->required()->check(CLI::IsMember(names));
    app.add_option("--label", options.label, "The server's name in the line");
    app.add_option("--address", options.address, "Where the server listens");
    app.add_option("--port", options.port, "Its port");
    app.add_option("--connections", options.connections, "How many")->check(CLI::Range(1, 50000));
    app.add_option("--size", options.size, "Bytes of a message")->check(CLI::Range(32, 65536));
    app.add_option("--depth", options.depth, "Messages on their way at once")->check(CLI::Range(1, 512));
    app.add_option("--noisy", options.noisy, "fairness: connections that send without pause");
    app.add_option("--senders", options.senders, "fan-out: clients that send, besides the connections")
        ->check(CLI::Range(1, 1000));
    app.add_option("--warmup", options.warmup, "Seconds before measuring")->check(CLI::Range(0.0, 60.0));
    app.add_option("--seconds", options.seconds, "Seconds of measuring, or of holding")->check(CLI::Range(0.0, 600.0));
    app.add_option("--pids", options.pids, "Processes of which /proc is read, the server's first");
    app.set_version_flag("--columns", columns, "Print the names of the line's columns");
    CLI11_PARSE(app, argc, argv);

    run.spawn(workloads.at(options.workload)(run), [&] { run.io.stop(); });
    run.io.run();
    print(run);
    return run.errors == 0 ? 0 : 1;
}
