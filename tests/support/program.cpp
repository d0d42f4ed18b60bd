#include "tests/support/program.hpp"

#include "tests/support/windows.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <functional>
#include <mutex>
#include <regex>
#include <thread>

namespace support {
namespace {

// The one owner of a handle whose invalid value is null.
class Handle {
public:
    Handle() = default;
    explicit Handle(HANDLE handle) : handle_(handle) {}
    ~Handle() { close(); }
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;
    HANDLE get() const { return handle_; }
    HANDLE* out() { return &handle_; }
    void close() {
        if (handle_ != nullptr) ::CloseHandle(handle_);
        handle_ = nullptr;
    }

private:
    HANDLE handle_ = nullptr;
};

std::wstring wide(const std::string& text) {
    std::wstring result(text.size(), L'\0');
    const int length = ::MultiByteToWideChar(CP_UTF8, 0, text.data(), static_cast<int>(text.size()), result.data(),
                                             static_cast<int>(result.size()));
    result.resize(static_cast<std::size_t>(std::max(length, 0)));
    return result;
}

// One argument, quoted as CommandLineToArgvW and the C runtime read it.
std::string quoted(const std::string& argument) {
    if (!argument.empty() && argument.find_first_of(" \t\"") == std::string::npos) return argument;
    std::string result = "\"";
    std::size_t backslashes = 0;
    for (const char c : argument) {
        if (c == '"') result.append(backslashes + 1, '\\');
        backslashes = c == '\\' ? backslashes + 1 : 0;
        result += c;
    }
    result.append(backslashes, '\\');
    return result + '"';
}

std::string joined(const std::vector<std::string>& parts) {
    std::string result;
    for (const std::string& part : parts)
        result += " " + quoted(part);
    return result;
}

std::string exit_code_text(unsigned long code) {
    char text[48];
    std::snprintf(text, sizeof text, code < 256 ? "exit code %lu" : "exit code 0x%08lX", code);
    return text;
}

// The open handles of a process, found by trying each number. (The system's list of all handles would be quicker, but
// tests that ask for it now and then find Wine 8.0's server gone.)
unsigned long handles_of(HANDLE process) {
    constexpr ULONG_PTR step = 4;
    constexpr unsigned long most_missing = 500;
    unsigned long count = 0;
    unsigned long missing = 0;
    for (ULONG_PTR value = step; missing < most_missing; value += step) {
        Handle copy;
        if (::DuplicateHandle(process, reinterpret_cast<HANDLE>(value), ::GetCurrentProcess(), copy.out(), 0, FALSE,
                              DUPLICATE_SAME_ACCESS)) {
            ++count;
            missing = 0;
        } else {
            ++missing;
        }
    }
    return count;
}

}  // namespace

struct Program::State final : Witness {
    std::string name_ = "the program";
    std::string address;
    std::uint16_t port = 0;
    bool asked_to_stop = false;  // or meant to end by itself

    Handle process;
    Handle job;
    Handle in;
    Handle out;
    Handle error;
    std::thread out_reader;
    std::thread error_reader;

    mutable std::mutex mutex;
    std::condition_variable changed;
    std::vector<std::string> lines;  // complete ones
    std::string partial;
    std::string error_text;
    bool out_ended = false;

    void read_output() {
        char buffer[4096];
        DWORD bytes = 0;
        while (::ReadFile(out.get(), buffer, sizeof buffer, &bytes, nullptr) && bytes > 0) {
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
        DWORD bytes = 0;
        while (::ReadFile(error.get(), buffer, sizeof buffer, &bytes, nullptr) && bytes > 0) {
            const std::lock_guard lock(mutex);
            error_text.append(buffer, bytes);
        }
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
        if (process.get() == nullptr || asked_to_stop) return false;
        // A client may see its connection break a moment before the process is seen to be gone.
        if (::WaitForSingleObject(process.get(), 500) != WAIT_OBJECT_0) return false;
        DWORD code = 0;
        ::GetExitCodeProcess(process.get(), &code);
        how = exit_code_text(code);
        return true;
    }

    std::string name() const override { return name_; }

    void start(const Arguments& arguments, Where where);
    DWORD launch(const std::string& command, const std::string& path);
};

// The child inherits its three pipe ends and nothing else. Returns 0 or the error.
DWORD Program::State::launch(const std::string& command, const std::string& path) {
    SECURITY_ATTRIBUTES inherited{sizeof(SECURITY_ATTRIBUTES), nullptr, TRUE};
    Handle child_in;
    Handle child_out;
    Handle child_error;
    constexpr DWORD room = 1 << 20;  // so that a test can write all its lines before the program reads one
    if (!::CreatePipe(child_in.out(), in.out(), &inherited, room) ||
        !::CreatePipe(out.out(), child_out.out(), &inherited, room) ||
        !::CreatePipe(error.out(), child_error.out(), &inherited, room)) {
        return ::GetLastError();
    }
    for (const HANDLE own : {in.get(), out.get(), error.get()})
        ::SetHandleInformation(own, HANDLE_FLAG_INHERIT, 0);

    SIZE_T size = 0;
    ::InitializeProcThreadAttributeList(nullptr, 1, 0, &size);
    std::vector<char> memory(size);
    const auto attributes = reinterpret_cast<LPPROC_THREAD_ATTRIBUTE_LIST>(memory.data());
    HANDLE passed[] = {child_in.get(), child_out.get(), child_error.get()};
    if (!::InitializeProcThreadAttributeList(attributes, 1, 0, &size) ||
        !::UpdateProcThreadAttribute(attributes, 0, PROC_THREAD_ATTRIBUTE_HANDLE_LIST, passed, sizeof passed, nullptr,
                                     nullptr)) {
        return ::GetLastError();
    }

    STARTUPINFOEXW startup{};
    startup.StartupInfo.cb = sizeof startup;
    startup.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
    startup.StartupInfo.hStdInput = child_in.get();
    startup.StartupInfo.hStdOutput = child_out.get();
    startup.StartupInfo.hStdError = child_error.get();
    startup.lpAttributeList = attributes;
    PROCESS_INFORMATION started{};
    std::wstring writable = wide(command);
    const BOOL created = ::CreateProcessW(wide(path).c_str(), writable.data(), nullptr, nullptr, TRUE,
                                          EXTENDED_STARTUPINFO_PRESENT | CREATE_SUSPENDED, nullptr, nullptr,
                                          &startup.StartupInfo, &started);
    const DWORD failure = created ? 0 : ::GetLastError();
    ::DeleteProcThreadAttributeList(attributes);
    if (failure != 0) return failure;

    *process.out() = started.hProcess;
    // The job ends the child when this test process goes, however it goes.
    *job.out() = ::CreateJobObjectW(nullptr, nullptr);
    if (job.get() != nullptr) {
        JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits{};
        limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
        ::SetInformationJobObject(job.get(), JobObjectExtendedLimitInformation, &limits, sizeof limits);
        ::AssignProcessToJobObject(job.get(), process.get());
    }
    ::ResumeThread(started.hThread);
    ::CloseHandle(started.hThread);
    return 0;
}

void Program::State::start(const Arguments& arguments, Where where) {
    const std::string path = program_path();
    name_ = path.substr(path.find_last_of("/\\") + 1);
    did("started " + name_ + joined(arguments));
    DWORD failure = launch(quoted(path) + joined(arguments), path);
    // Once in thousands of starts Wine's loader gives up with this error, before the program itself has run.
    for (int again = 0; failure == ERROR_INTERNAL_ERROR && on_wine() && again < 3; ++again) {
        for (Handle* pipe : {&in, &out, &error})
            pipe->close();
        failure = launch(quoted(path) + joined(arguments), path);
    }
    if (failure != 0) {
        fail(Symptom::not_started, "the program " + path + " to run",
             "CreateProcess failed with error " + std::to_string(failure), where);
    }
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
            ::TerminateProcess(state_->process.get(), 1);
            state_->in.close();
            state_->out_reader.join();
            state_->error_reader.join();
            throw;
        }
    }
}

Program::~Program() {
    remove_witness(state_.get());
    state_->in.close();
    if (running()) ::TerminateProcess(state_->process.get(), 1);
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
    const std::regex expression(pattern);
    std::vector<std::string> groups;
    const bool came = state_->wait([&] {
        for (const std::string& line : state_->lines) {
            std::smatch match;
            if (!std::regex_match(line, match, expression)) continue;
            groups.assign(match.begin(), match.end());
            return true;
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

void Program::send_to_stdin(const std::string& bytes) {
    DWORD written = 0;
    ::WriteFile(state_->in.get(), bytes.data(), static_cast<DWORD>(bytes.size()), &written, nullptr);
}

void Program::close_stdin() {
    did("ended its stdin");
    state_->asked_to_stop = true;
    state_->in.close();
}

unsigned long Program::wait_for_exit(Where where) {
    if (::WaitForSingleObject(state_->process.get(), deadline_ms()) != WAIT_OBJECT_0) {
        fail(Symptom::does_not_stop, "the program to end within " + deadline_text(), "it runs on", where);
    }
    if (state_->out_reader.joinable()) state_->out_reader.join();
    if (state_->error_reader.joinable()) state_->error_reader.join();
    DWORD code = 0;
    ::GetExitCodeProcess(state_->process.get(), &code);
    return code;
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
    std::smatch numbers;
    static const std::regex pattern("stopped: (\\d+) operations posted, (\\d+) completed, (\\d+) pending");
    if (!std::regex_match(last, numbers, pattern)) {
        fail(Symptom::operations_left, "the last line `stopped: N operations posted, N completed, 0 pending`",
             all.empty() ? "no line" : "`" + last + "`", where);
    }
    if (numbers[1] != numbers[2] || numbers[3] != "0") {
        fail(Symptom::operations_left, "as many operations completed as posted, and 0 pending", "`" + last + "`",
             where);
    }
    return std::stoull(numbers[1]);
}

bool Program::running() const {
    return state_->process.get() != nullptr && ::WaitForSingleObject(state_->process.get(), 0) == WAIT_TIMEOUT;
}

unsigned long Program::handle_count() const {
    DWORD count = 0;
    if (::GetProcessHandleCount(state_->process.get(), &count) && count > 0) return count;
    return handles_of(state_->process.get());  // Wine's answer is always 0
}

}  // namespace support
