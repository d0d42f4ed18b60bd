// What an operator reads: who comes and goes and why, what each period has brought, the accounts at the end.
//
// Threads: tick, period and accounts are for main, the rest is for any.
#pragma once

#include "01-create-port/port.hpp"
#include "06-full-server/end.hpp"
#include "06-full-server/log.hpp"
#include "06-full-server/options.hpp"
#include "06-full-server/statistics.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

class Report {
public:
    Report(Log& log, const Options& options, Statistics& statistics);

    void started(std::string_view address) noexcept {
        if (options_.verbose) log_.line("accepted ", address);
    }
    // `why` goes before what is usually said about such an end.
    void ended(std::string_view address, End end, std::string_view why) noexcept;
    void session_failed(std::string_view address, std::string_view what) noexcept {
        if (may_print()) log_.warning("the application failed for ", address, ": ", what);
    }
    void accept_failed(DWORD error) noexcept {
        add(statistics_.failed_accepts);
        if (options_.verbose) log_.warning("accept failed: ", error_name(error));
    }
    void accepts_wait(DWORD error) noexcept {
        if (error == 0) return log_.warning("accepting goes on");
        log_.warning("accepting waits, and is tried again each second: ", error_name(error));
    }

    // As often as you like: once a second lines are allowed again, and those that were left out or lost are counted.
    void tick(ULONGLONG now) noexcept;
    // `queued` waits for clients, `in_use` is in buffers; both in bytes.
    void period(std::size_t connections, std::size_t queued, std::size_t in_use) noexcept;
    void accounts(std::size_t connections, const CompletionPort& port) noexcept;

private:
    // A client that has a line printed each time it comes must not fill the operator's screen.
    bool may_print() noexcept { return options_.verbose || lines_left_.fetch_sub(1) > 0; }
    static constexpr int lines_a_second = 20;

    void sum_up() noexcept;

    // Made once, because at the end of a connection there may be no memory.
    struct Words {
        const char* how;
        std::string why;
    };

    Log& log_;
    const Options& options_;
    Statistics& statistics_;
    const std::array<Words, end_count> words_;
    std::atomic<int> lines_left_{lines_a_second};
    ULONGLONG summed_up_ = 0;  // when
    Statistics::Count drops_left_out_;
    Statistics last_;  // what period() has seen
    ULONGLONG last_time_ = ::GetTickCount64();
};
