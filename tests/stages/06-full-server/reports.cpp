// Stage 06 from outside: what the operator reads.
#include "tests/stages/06-full-server/full_server.hpp"

#include <chrono>
#include <string>
#include <vector>

namespace {

using namespace full_server;

const std::string period_pattern =
    "in [0-9.]+ s: \\d+ clients, \\d+ came, \\d+ left, \\d+ accepts failed; received \\d+ messages/s, \\d+\\.\\d\\d "
    "MB/s; sent \\d+ messages/s, \\d+\\.\\d\\d MB/s; \\d+ bytes queued, \\d+ in buffers; dropped: .+";

TEST_F(Stage06FullServer, StatisticsComeEverySoOftenAndAtTheEnd) {
    promise(
        "--stats 1 prints every second what that second has brought, and with --verbose all counts; these come right "
        "before the last line too");
    likely("the counts of a connection are added only when it ends, or a name is spelt otherwise");
    Program program(with({"--stats", "1"}));
    {
        Client first(program.address());
        Client second(program.address());
        echo(first, std::string(1000, 'a'));
        echo(second, std::string(500, 'b'));
        program.expect_line_like(
            "statistics: 2 connections, 2 accepted, 0 refused, 0 dropped, 1500 bytes received, "
            "1500 bytes sent, .*");
        program.expect_lines(3, "statistics: ");
        program.expect_lines(3, "in ");
    }
    const std::string last = stop(program);
    program.expect_line_like(statistics_pattern);
    expect(count(last, "bytes received") == 1500 && count(last, "bytes sent") == 1500, "1500 bytes each way",
           "`" + last + "`");
    expect(count(last, "WSARecv calls") >= 4 && count(last, "WSASend calls") >= 2 && count(last, "dequeue calls") >= 2,
           "2 connections to take at least 4 receives and 2 sends", "`" + last + "`");
}

TEST_F(Stage06FullServer, APeriodIsToldInOneLine) {
    promise("--stats 1 tells in one line each second who came and went, what moved and waits, and who was dropped why");
    likely("a count since the start is printed in place of what this period has added to it");
    Program program({"0", "--stop-on-eof", "--stats", "1", "--idle-timeout", "2"});
    {
        Client idle(program.address());
        echo(idle, "hello");
        { const Client gone(program.address()); }
        program.expect_line_like(period_pattern);
        idle.expect_any_end();
    }
    program.expect_line_like("in [0-9.]+ s: 0 clients, 0 came, 1 left, .*; dropped: 1 idle for 2 s");
    stop(program);
    std::uint64_t came = 0;
    std::uint64_t left = 0;
    for (const std::string& line : program.lines_starting("in ")) {
        came += number_before(line, "came");
        left += number_before(line, "left");
    }
    expect(came == 2 && left == 2, "2 came and 2 left, in all periods together",
           std::to_string(came) + " and " + std::to_string(left));
    expect(program.lines_starting("statistics: ").size() == 1, "all counts only at the end, without --verbose",
           std::to_string(program.lines_starting("statistics: ").size()) + " times");
}

TEST_F(Stage06FullServer, DropsDoNotFloodTheOperator) {
    promise("without --verbose at most 20 drops a second have a line each, and a line tells how many more there were");
    likely("each drop is printed, so that whoever opens connections by the thousand fills the screen, or the disk");
    constexpr std::size_t many = 300;
    Program program({"0", "--stop-on-eof", "--idle-timeout", "1"});
    const auto before = std::chrono::steady_clock::now();
    std::vector<Client> clients;
    for (std::size_t i = 0; i < many; ++i)
        clients.emplace_back(program.address());
    for (Client& client : clients)
        client.expect_any_end();
    std::size_t reported = 0;
    std::size_t more_lines = 0;
    const auto all_are_reported = [&] {
        reported = more_lines = 0;
        for (const std::string& line : program.lines_starting("dropped ")) {
            const bool is_sum = line.ends_with(" more");
            more_lines += is_sum ? 1 : 0;
            reported += static_cast<std::size_t>(is_sum ? number_before(line, "more") : 1);
        }
        return reported >= many;
    };
    wait_until(all_are_reported, "all drops to be printed, alone or in a sum");
    expect(reported == many, std::to_string(many) + " drops", std::to_string(reported));
    const std::size_t alone = program.lines_starting("dropped ").size() - more_lines;
    // Connecting may take more than the idle timeout: the drops are spread over as many seconds, each in part.
    const auto took = std::chrono::ceil<std::chrono::seconds>(std::chrono::steady_clock::now() - before).count();
    const std::size_t most = 20 * (static_cast<std::size_t>(took) + 1);
    expect(alone <= most, "at most " + std::to_string(most) + " lines in " + std::to_string(took) + " s",
           std::to_string(alone) + " lines, and " + std::to_string(more_lines) + " that sum up");
    clients.clear();
    stop(program);
}

TEST_F(Stage06FullServer, LinesMayHaveTheTime) {
    promise("with --log-times every line begins with the date and the time");
    likely("the pattern of the log is the same with and without");
    const Outcome outcome = run({"0", "--stop-on-eof", "--log-times"});
    expect(outcome.exit_code == 0 && !outcome.lines.empty(), "exit code 0, and lines",
           "exit code " + std::to_string(outcome.exit_code));
    const std::string pattern(
        "\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d\\.\\d{3} (listening|stopping|statistics|stopped).*");
    for (const std::string& line : outcome.lines) {
        expect(!matched(line, pattern).empty(), "a line like `2026-01-31 12:34:56.789 listening on ...`",
               "`" + line + "`");
    }
}

TEST_F(Stage06FullServer, APacketIsNotFetchedAlone) {
    promise("GetQueuedCompletionStatusEx takes what is there in one call, up to --batch");
    likely("the batch has room for one entry, or only the first of the entries is handled");
    constexpr unsigned many = 100;
    for (const std::string batch : {"1", "64"}) {
        // One worker and no skipped packets: while it handles one, others queue up.
        Program program(with({"--workers", "1", "--no-skip-on-success", "--batch", batch}));
        std::vector<Client> clients;
        for (unsigned i = 0; i < many; ++i)
            clients.emplace_back(program.address());
        for (int round = 0; round < 10; ++round) {
            for (Client& client : clients)
                client.send("hello");
            for (Client& client : clients)
                client.expect("hello");
        }
        clients.clear();
        const std::string last = stop(program);
        const bool more_packets = count(last, "dequeue calls") < count(last, "completed");
        expect(more_packets == (batch != "1"), batch == "1" ? "a call for each packet" : "fewer calls than packets",
               "`" + last + "`");
    }
}

}  // namespace
