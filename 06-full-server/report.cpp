#include "06-full-server/report.hpp"

#include "01-create-port/program.hpp"

#include <algorithm>
#include <cstdio>

Report::Report(Log& log, const Options& options, Statistics& statistics)
    : log_(log),
      options_(options),
      statistics_(statistics),
      words_{{
          // in the order of End
          {"", ""},
          {"", ""},
          {"finished ", "the client closed first"},
          {"lost ", ""},
          {"closed ", "the server stops"},
          {"refused ", std::to_string(options.max_connections) + " connections are open"},
          {"closed ", ""},
          {"dropped ", "idle for " + seconds_text(options.idle_timeout) + " s"},
          {"dropped ", "silent for " + seconds_text(options.silent_timeout) + " s"},
          {"dropped ", "too slow, more than " + std::to_string(options.send_queue) + " bytes wait for it"},
          {"dropped ", "not finished in time"},
          {"dropped ", "no memory is left"},
          {"dropped ", "by the application"},
          {"dropped ", "the application failed"},
      }} {}

void Report::ended(std::string_view address, End end, std::string_view why) noexcept {
    const auto index = static_cast<std::size_t>(end);
    if (is_drop(end)) {
        add(statistics_.dropped);
        add(statistics_.dropped_for[index]);
        if (!may_print()) return add(drops_left_out_);
    } else if (!options_.verbose) {
        return;
    }
    log_.line(words_[index].how, address, ": ", why.empty() ? std::string_view(words_[index].why) : why);
}

void Report::tick(ULONGLONG now) noexcept {
    if (now < summed_up_ + 1000) return;
    summed_up_ = now;
    lines_left_ = lines_a_second;
    sum_up();
}

void Report::sum_up() noexcept {
    const std::uint64_t left_out = drops_left_out_.exchange(0);
    if (left_out > 0) log_.line("dropped ", left_out, " more");
    log_.report_lost();
}

void Report::period(std::size_t connections, std::size_t queued, std::size_t in_use) noexcept {
    const Statistics now = statistics_;
    const ULONGLONG time = ::GetTickCount64();
    const double seconds = static_cast<double>(std::max<ULONGLONG>(time - last_time_, 1)) / 1000;
    const auto rate = [&](Statistics::Count Statistics::*count) {
        return static_cast<double>((now.*count).load() - (last_.*count).load()) / seconds;
    };
    char traffic[160];
    std::snprintf(traffic, sizeof traffic, "received %.0f messages/s, %.2f MB/s; sent %.0f messages/s, %.2f MB/s",
                  rate(&Statistics::receive_calls), rate(&Statistics::bytes_received) / 1e6,
                  rate(&Statistics::send_calls), rate(&Statistics::bytes_sent) / 1e6);
    char drops[512] = " none";
    int used = 0;
    for (std::size_t i = 0; i < end_count; ++i) {
        const std::uint64_t count = now.dropped_for[i] - last_.dropped_for[i];
        if (count == 0 || used > 400) continue;
        used += std::snprintf(drops + used, sizeof drops - static_cast<std::size_t>(used), "%s %llu %s",
                              used == 0 ? "" : ",", static_cast<unsigned long long>(count), words_[i].why.c_str());
    }
    log_.line("in ", seconds_text(seconds), " s: ", connections, " clients, ", now.accepted - last_.accepted, " came, ",
              now.left - last_.left, " left, ", now.failed_accepts - last_.failed_accepts, " accepts failed; ", traffic,
              "; ", queued, " bytes queued, ", in_use, " in buffers; dropped:", drops);
    last_ = now;
    last_time_ = time;
}

void Report::accounts(std::size_t connections, const CompletionPort& port) noexcept {
    sum_up();
    const Statistics now = statistics_;
    const std::uint64_t completed = port.completed();
    const std::uint64_t posted = port.posted();
    log_.line("statistics: ", connections, " connections, ", now.accepted.load(), " accepted, ", now.refused.load(),
              " refused, ", now.dropped.load(), " dropped, ", now.bytes_received.load(), " bytes received, ",
              now.bytes_sent.load(), " bytes sent, ", posted, " operations posted, ", completed, " completed, ",
              posted - completed, " pending, ", now.receive_calls.load(), " WSARecv calls, ", now.send_calls.load(),
              " WSASend calls, ", now.dequeue_calls.load(), " dequeue calls, ", now.post_calls.load(), " post calls");
}
