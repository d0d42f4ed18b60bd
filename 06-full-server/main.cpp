// Stage 06: the full server. All of the earlier stages at once: many threads, full duplex, limits, time-outs, and a
// stop that loses nothing.
#include "01-create-port/program.hpp"
#include "06-full-server/options.hpp"
#include "06-full-server/server.hpp"
#include "06-full-server/worker.hpp"

namespace {

StopEvent stop;

// Windows runs it on a thread of its own. The first Ctrl+C asks for a stop, the second ends the process at once.
BOOL WINAPI on_console_event(DWORD event) {
    static std::atomic<bool> asked{false};
    if (asked.exchange(true)) ::TerminateProcess(::GetCurrentProcess(), 1);
    stop.set();
    // When the window is closed, or the user logs off, the process ends as soon as this returns.
    if (event != CTRL_C_EVENT && event != CTRL_BREAK_EVENT) ::Sleep(INFINITE);
    return TRUE;
}

// Until the stop event. Prints statistics as often as the options say. Otherwise once a second will do, for time-outs
// are seconds, and each wake-up takes the processor from a worker.
void run(FullServer& server, double stats_seconds) {
    const auto period = static_cast<ULONGLONG>(stats_seconds * 1000);
    const DWORD tick = period > 0 && period < 1000 ? static_cast<DWORD>(period) : 1000;
    ULONGLONG next = ::GetTickCount64() + period;
    while (!stop.wait(tick)) {
        server.tick();
        if (period == 0 || ::GetTickCount64() < next) continue;
        server.print_statistics();
        next += period;
    }
}

}  // namespace

int main(int argc, char** argv) {
    return run_program("06-full-server", "[port] [options] (--help tells them)", [&] {
        Options options;
        if (!read_options(argc, argv, options)) return;

        const Winsock winsock;
        CompletionPort port;
        FullServer server(port, options);
        Workers workers(port, options.workers, [&](CompletionPort& from) {
            Worker(from, server.turns(), server.statistics(), options.batch, options.inline_bound).run();
        });
        ::SetConsoleCtrlHandler(on_console_event, TRUE);
        if (options.stop_on_eof) set_when_stdin_ends(stop);
        print_line("listening on " + server.address());

        server.start();
        run(server, options.stats);
        server.stop();
        workers.stop();
        server.print_statistics();
        print_stopped(port);
    });
}
