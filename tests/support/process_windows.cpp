#ifdef _WIN32
#include "tests/support/process.hpp"

#include "tests/support/windows.hpp"

#include <algorithm>
#include <string>
#include <vector>

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

std::size_t read(const Handle& pipe, char* buffer, std::size_t size) {
    DWORD bytes = 0;
    return ::ReadFile(pipe.get(), buffer, static_cast<DWORD>(size), &bytes, nullptr) ? bytes : 0;
}

}  // namespace

struct Process::State {
    Handle process;
    Handle job;
    Handle in;
    Handle out;
    Handle error;

    DWORD launch(const std::string& command, const std::string& path);
};

// The child inherits its three pipe ends and nothing else. Returns 0 or the error.
DWORD Process::State::launch(const std::string& command, const std::string& path) {
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

Process::Process() : state_(std::make_unique<State>()) {}
Process::~Process() = default;

std::string Process::start(const std::string& path, const std::vector<std::string>& arguments) {
    std::string command = quoted(path);
    for (const std::string& argument : arguments)
        command += " " + quoted(argument);
    const DWORD failure = state_->launch(command, path);
    return failure == 0 ? "" : "CreateProcess failed with error " + std::to_string(failure);
}

std::size_t Process::read_output(char* buffer, std::size_t size) { return read(state_->out, buffer, size); }
std::size_t Process::read_errors(char* buffer, std::size_t size) { return read(state_->error, buffer, size); }

void Process::write_input(std::string_view bytes) {
    DWORD written = 0;
    ::WriteFile(state_->in.get(), bytes.data(), static_cast<DWORD>(bytes.size()), &written, nullptr);
}
void Process::close_input() { state_->in.close(); }

bool Process::ends_within(unsigned milliseconds) {
    return state_->process.get() != nullptr &&
           ::WaitForSingleObject(state_->process.get(), milliseconds) == WAIT_OBJECT_0;
}

unsigned long Process::exit_code() const {
    DWORD code = 0;
    ::GetExitCodeProcess(state_->process.get(), &code);
    return code;
}

void Process::kill() { ::TerminateProcess(state_->process.get(), 1); }

unsigned long Process::handle_count() const {
    DWORD count = 0;
    if (::GetProcessHandleCount(state_->process.get(), &count) && count > 0) return count;
    return handles_of(state_->process.get());  // Wine's answer is always 0
}

}  // namespace support
#endif
