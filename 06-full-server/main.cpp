// Stage 06: the full server. All of the earlier stages at once: many threads, full duplex, limits, time-outs, and a
// stop that loses nothing.
#include "01-create-port/program.hpp"
#include "01-create-port/workers.hpp"
#include "06-full-server/log.hpp"
#include "06-full-server/options.hpp"
#include "06-full-server/server.hpp"
#include "06-full-server/worker.hpp"

#include <algorithm>
#include <atomic>

namespace {

// Made at its first use, in main: if it cannot be made, run_program says so.
StopEvent& stop() {
    static StopEvent event;
    return event;
}
std::atomic<DWORD> stop_reason{CTRL_C_EVENT};

// Windows runs it on a thread of its own. The first event asks for a stop, the second ends the process at once.
// https://learn.microsoft.com/windows/console/handlerroutine
BOOL WINAPI on_console_event(DWORD event) {
    if (event == CTRL_LOGOFF_EVENT) return TRUE;  // only a service gets it, and it may be anybody who logs off
    static std::atomic<bool> asked{false};
    if (asked.exchange(true)) ::TerminateProcess(::GetCurrentProcess(), 1);
    stop_reason = event;
    stop().set();
    // When the window is closed, or at a shutdown, which only a service is told of, the process ends as soon as this
    // returns.
    if (event != CTRL_C_EVENT && event != CTRL_BREAK_EVENT) ::Sleep(INFINITE);
    return TRUE;
}

// Windows ends a process 5 s after its window was closed, whatever it does.
double drain_seconds(const Options& options) {
    const bool is_hurried = stop_reason == CTRL_CLOSE_EVENT || stop_reason == CTRL_SHUTDOWN_EVENT;
    return is_hurried ? std::min(options.drain, 3.0) : options.drain;
}

// Until the stop event. Reports as often as the options say. Otherwise once a second will do, for time-outs are
// seconds, and each wake-up takes the processor from a worker.
void run(FullServer& server, double stats_seconds) {
    const auto period = static_cast<ULONGLONG>(stats_seconds * 1000);
    const DWORD tick = period > 0 && period < 1000 ? static_cast<DWORD>(period) : 1000;
    ULONGLONG next = ::GetTickCount64() + period;
    while (!stop().wait(tick)) {
        server.tick();
        if (period == 0 || ::GetTickCount64() < next) continue;
        server.report_period();
        next += period;
    }
}

}  // namespace

int main(int argc, char** argv) {
    return run_program("06-full-server", "[port] [options] (--help explains them)", [&] {
        const Winsock winsock;
        Options options;
        if (!read_options(argc, argv, options)) return;

        Log log(options.log_times);
        CompletionPort port;
        FullServer server(port, options, log);
        Worker worker(port, server.turns(), server.statistics(), options.batch, options.inline_bound);
        Workers workers(port, options.workers, [worker](CompletionPort&) mutable { worker.run(); });
        // Ctrl+C begins switched off in a process group of our own, which `start /b` makes.
        ::SetConsoleCtrlHandler(nullptr, FALSE);
        StopEvent& stops = stop();
        if (!::SetConsoleCtrlHandler(on_console_event, TRUE)) throw_error(::GetLastError(), "SetConsoleCtrlHandler");
        if (options.stop_on_eof) set_when_stdin_ends(stops);
        log.line("listening on ", server.address());

        server.start();
        run(server, options.stats);
        const double drain = drain_seconds(options);
        log.line("stopping: clients have ", seconds_text(drain), " s to finish; a second Ctrl+C ends it at once");
        server.stop(drain);
        workers.stop();
        server.report_accounts();
        print_stopped(port, [&](const auto&... parts) { log.line(parts...); });
    });
}
