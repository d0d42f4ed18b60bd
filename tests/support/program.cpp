#include "tests/support/program.hpp"

#include "tests/support/process.hpp"
#include "tests/support/windows.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <functional>
#include <mutex>
#include <thread>

namespace support {
namespace {

std::string joined(const std::vector<std::string>& parts) {
    std::string result;
    for (const std::string& part : parts)
        result += " " + (part.empty() || part.find(' ') != std::string::npos ? '"' + part + '"' : part);
    return result;
}

std::string exit_code_text(unsigned long code) {
    char text[48];
    std::snprintf(text, sizeof text, code < 256 ? "exit code %lu" : "exit code 0x%08lX", code);
    return text;
}

}  // namespace

struct Program::State final : Witness {
    std::string name_ = "the program";
    std::string address;
    std::uint16_t port = 0;
    bool asked_to_stop = false;  // or meant to end by itself

    Process process;
    std::thread out_reader;
    std::thread error_reader;

    mutable std::mutex mutex;
    std::condition_variable changed;
    std::vector<std::string> lines;  // complete ones
    std::string partial;
    std::string error_text;
    bool out_ended = false;
    bool errors_ended = false;

    void read_output() {
        char buffer[4096];
        while (const std::size_t bytes = process.read_output(buffer, sizeof buffer)) {
            const std::lock_guard lock(mutex);
            for (const char c : std::string_view(buffer, bytes)) {
                if (c != '\n') {
                    partial += c;
                    continue;
                }
                if (partial.ends_with('\r')) partial.pop_back();
                lines.push_back(std::move(partial));
                partial.clear();
            }
            changed.notify_all();
        }
        const std::lock_guard lock(mutex);
        if (!partial.empty()) lines.push_back(std::move(partial));
        partial.clear();
        out_ended = true;
        changed.notify_all();
    }

    void read_errors() {
        char buffer[4096];
        while (const std::size_t bytes = process.read_errors(buffer, sizeof buffer)) {
            const std::lock_guard lock(mutex);
            error_text.append(buffer, bytes);
        }
        const std::lock_guard lock(mutex);
        errors_ended = true;
        changed.notify_all();
    }

    // Waits for `holds`, which looks at the lines under the lock. False: not within the deadline, or not before the end
    // of the output.
    bool wait(const std::function<bool()>& holds) {
        std::unique_lock lock(mutex);
        bool held = false;
        changed.wait_for(lock, std::chrono::milliseconds(deadline_ms()), [&] { return (held = holds()) || out_ended; });
        return held;
    }

    std::string testimony() override {
        const std::lock_guard lock(mutex);
        constexpr std::size_t most = 6;
        std::string text = name_ + " has printed ";
        if (lines.empty()) text += "nothing";
        if (lines.size() > most) text += std::to_string(lines.size()) + " lines, the last ones ";
        for (std::size_t i = lines.size() - std::min(lines.size(), most); i < lines.size(); ++i) {
            text += shown(lines[i]) + (i + 1 < lines.size() ? " | " : "");
        }
        return text + (error_text.empty() ? "; nothing on stderr" : "; on stderr " + shown(error_text, 300));
    }

    bool ended_early(std::string& how) override {
        // A client may see its connection break a moment before the process is seen to be gone.
        if (asked_to_stop || !process.ends_within(500)) return false;
        how = exit_code_text(process.exit_code());
        // Its last words may still be on their way. Not for ever: another process may hold the other end.
        std::unique_lock lock(mutex);
        changed.wait_for(lock, std::chrono::milliseconds(1000), [&] { return out_ended && errors_ended; });
        return true;
    }

    std::string name() const override { return name_; }

    void start(const Arguments& arguments, Where where);
};

void Program::State::start(const Arguments& arguments, Where where) {
    const std::string path = program_path();
    name_ = path.substr(path.find_last_of("/\\") + 1);
    did("started " + name_ + joined(arguments));
    const std::string failure = process.start(path, arguments);
    if (!failure.empty()) fail(Symptom::not_started, "the program " + path + " to run", failure, where);
    out_reader = std::thread([this] { read_output(); });
    error_reader = std::thread([this] { read_errors(); });
}

Program::Program(Arguments arguments, Wait wait, Where where) : state_(std::make_unique<State>()) {
    start_winsock();
    state_->start(arguments, where);
    add_witness(state_.get());
    state_->asked_to_stop = wait == not_at_all;
    if (wait == not_at_all) return;
    std::string first;
    const bool came = state_->wait([&] {
        if (!state_->lines.empty()) first = state_->lines.front();
        return !first.empty();
    });
    const std::string before = "listening on ";
    const std::size_t colon = first.rfind(':');
    if (came && first.starts_with(before) && colon != std::string::npos) {
        state_->address = first.substr(before.size());
        state_->port = static_cast<std::uint16_t>(std::atoi(first.c_str() + colon + 1));
    }
    if (state_->port == 0) {
        const std::string expected = "the first line `listening on 127.0.0.1:PORT` within " + deadline_text();
        try {
            fail(Symptom::no_first_line, expected, came ? "another first line" : "no line", where);
        } catch (...) {
            remove_witness(state_.get());  // no destructor runs after a constructor that throws
            state_->process.kill();
            state_->process.close_input();
            state_->out_reader.join();
            state_->error_reader.join();
            throw;
        }
    }
}

Program::~Program() {
    remove_witness(state_.get());
    state_->process.close_input();
    if (running()) state_->process.kill();
    if (state_->out_reader.joinable()) state_->out_reader.join();
    if (state_->error_reader.joinable()) state_->error_reader.join();
}

const std::string& Program::address() const { return state_->address; }
std::uint16_t Program::port() const { return state_->port; }

void Program::expect_line(const std::string& line, Where where) {
    const bool came = state_->wait(
        [&] { return std::find(state_->lines.begin(), state_->lines.end(), line) != state_->lines.end(); });
    if (!came)
        fail(Symptom::line_missing, "the line " + shown(line) + " within " + deadline_text(), "it did not come", where);
}

std::string Program::expect_line_starting(const std::string& start, Where where) {
    return expect_lines(1, start, where).front();
}

std::vector<std::string> Program::expect_line_like(const std::string& pattern, Where where) {
    std::vector<std::string> groups;
    const bool came = state_->wait([&] {
        for (const std::string& line : state_->lines) {
            groups = matched(line, pattern);
            if (!groups.empty()) return true;
        }
        return false;
    });
    if (!came) {
        fail(Symptom::line_missing, "a line like `" + pattern + "` within " + deadline_text(), "it did not come",
             where);
    }
    return groups;
}

std::vector<std::string> Program::expect_lines(std::size_t count, const std::string& start, Where where) {
    std::vector<std::string> found;
    std::size_t looked_at = 0;  // lines are only added
    const bool came = state_->wait([&] {
        for (; looked_at < state_->lines.size(); ++looked_at) {
            if (state_->lines[looked_at].starts_with(start)) found.push_back(state_->lines[looked_at]);
        }
        return found.size() >= count;
    });
    if (!came) {
        fail(Symptom::line_missing,
             (count == 1 ? "a line" : std::to_string(count) + " lines") + " starting `" + start + "` within " +
                 deadline_text(),
             count == 1 ? "it did not come" : std::to_string(found.size()) + " came", where);
    }
    return found;
}

void Program::expect_no_line(const std::string& start, Where where) {
    const auto found = lines_starting(start);
    if (!found.empty()) {
        fail(Symptom::line_unexpected, "no line starting `" + start + "`", "`" + found.front() + "`", where);
    }
}

std::vector<std::string> Program::lines() const {
    const std::lock_guard lock(state_->mutex);
    return state_->lines;
}

std::vector<std::string> Program::lines_starting(const std::string& start) const {
    std::vector<std::string> found = lines();
    std::erase_if(found, [&](const std::string& line) { return !line.starts_with(start); });
    return found;
}

std::string Program::error_output() const {
    const std::lock_guard lock(state_->mutex);
    return state_->error_text;
}

void Program::send_line(const std::string& line) {
    did("wrote the line " + shown(line, 40) + " to its stdin");
    send_to_stdin(line + "\n");
}

void Program::send_to_stdin(const std::string& bytes) { state_->process.write_input(bytes); }

void Program::close_stdin() {
    did("ended its stdin");
    state_->asked_to_stop = true;
    state_->process.close_input();
}

unsigned long Program::wait_for_exit(Where where) {
    if (!state_->process.ends_within(deadline_ms())) {
        fail(Symptom::does_not_stop, "the program to end within " + deadline_text(), "it runs on", where);
    }
    if (state_->out_reader.joinable()) state_->out_reader.join();
    if (state_->error_reader.joinable()) state_->error_reader.join();
    return state_->process.exit_code();
}

std::uint64_t Program::stop(Where where) {
    if (!state_->asked_to_stop && !running()) {
        fail(Symptom::ended_early, "the program to run until its stdin ends", "an end before that", where);
    }
    close_stdin();
    const unsigned long code = wait_for_exit(where);
    if (code != 0) {
        // An abort or a crash on the way out is a symptom of its own.
        const Symptom symptom = code > 2 ? Symptom::ended_early : Symptom::wrong_exit_code;
        fail(symptom, "exit code 0 after stdin has ended", exit_code_text(code), where);
    }
    const auto all = lines();
    const std::string last = all.empty() ? "" : all.back();
    const auto numbers = matched(last, "stopped: (\\d+) operations posted, (\\d+) completed, (\\d+) pending");
    if (numbers.empty()) {
        fail(Symptom::operations_left, "the last line `stopped: N operations posted, N completed, 0 pending`",
             all.empty() ? "no line" : "`" + last + "`", where);
    }
    if (numbers[1] != numbers[2] || numbers[3] != "0") {
        fail(Symptom::operations_left, "as many operations completed as posted, and 0 pending", "`" + last + "`",
             where);
    }
    return std::stoull(numbers[1]);
}

bool Program::running() const { return !state_->process.ends_within(0); }

unsigned long Program::handle_count() const { return state_->process.handle_count(); }

}  // namespace support
