#include "06-full-server/log.hpp"

#include "01-create-port/winsock.hpp"

#include <spdlog/async_logger.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <atomic>

namespace {

constexpr std::size_t most_lines = 1024;  // in a queue
constexpr auto when_full = spdlog::async_overflow_policy::overrun_oldest;

}  // namespace

struct Log::Stream {
    Stream(spdlog::sink_ptr sink, const char* pattern)
        : thread(std::make_shared<spdlog::details::thread_pool>(most_lines, 1)),
          logger(std::make_shared<spdlog::async_logger>("", std::move(sink), thread, when_full)) {
        logger->set_pattern(pattern);
        logger->set_error_handler([](const std::string&) {});  // a reader that has gone is no news to print
    }

    bool is_empty_by(ULONGLONG deadline) {
        while (thread->queue_size() > 0) {
            if (::GetTickCount64() >= deadline) return false;
            ::Sleep(1);
        }
        return true;
    }
    // Whether the reader took all that was queued. If not, what is left counts as lost.
    bool drain(ULONGLONG milliseconds) {
        const ULONGLONG deadline = ::GetTickCount64() + milliseconds;
        if (!is_empty_by(deadline)) {
            given_up += thread->queue_size() + 1;  // and the one that the thread is writing
            return false;
        }
        // The last line may still be in the thread's hands. It has been written when the thread takes another message.
        // Not logger->flush(): spdlog 1.14 waits in it until the reader has read.
        (void)thread->post_flush(std::shared_ptr(logger), when_full);
        if (is_empty_by(deadline)) return true;
        ++given_up;
        return false;
    }

    std::shared_ptr<spdlog::details::thread_pool> thread;
    std::shared_ptr<spdlog::async_logger> logger;
    std::atomic<std::uint64_t> given_up{0};  // lines lost in another way than by a full queue
};

Log::Log(bool times) {
    const char* const pattern = times ? "%Y-%m-%d %H:%M:%S.%e %v" : "%v";
    // Not the _mt sinks: they share a mutex, and a stuck stdout would hold up stderr.
    out_ = std::make_unique<Stream>(std::make_shared<spdlog::sinks::stdout_sink_st>(), pattern);
    err_ = std::make_unique<Stream>(std::make_shared<spdlog::sinks::stderr_sink_st>(), pattern);
}

Log::~Log() {
    const bool is_out_drained = out_->drain(2000);
    report_lost();
    const bool is_err_drained = err_->drain(1000);
    // spdlog joins the thread, which would wait for ever for a reader that is not there. It ends with the process.
    if (!is_out_drained) (void)out_.release();
    if (!is_err_drained) (void)err_.release();
}

std::uint64_t Log::lost() const noexcept {
    return out_->thread->overrun_counter() + out_->given_up + err_->thread->overrun_counter() + err_->given_up;
}

void Log::report_lost() noexcept {
    const std::uint64_t now = lost();
    if (now > reported_) warning(now - reported_, " lines were lost: nobody read them in time");
    reported_ = now;
}

void Log::print(Stream& stream, std::string_view line) noexcept {
    try {
        // Not logger->info(), which catches what fails, so that the line would not be counted.
        const spdlog::string_view_t text(line.data(), line.size());
        stream.thread->post_log(std::shared_ptr(stream.logger), {"", spdlog::level::info, text}, when_full);
    } catch (...) {  // no memory
        ++stream.given_up;
    }
}
