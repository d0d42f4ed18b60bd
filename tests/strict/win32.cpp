// What is left of Windows: the lock, handles, errors, events, time, and the little that the programs want of files, the
// console and ntdll.
#include "kernel.hpp"
#include "schedule.hpp"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>

namespace strict {

Kernel& kernel() {
    static Kernel& made = *new Kernel;
    return made;
}

Lock::Lock() {
    pause_sometimes();
    kernel().mutex.lock();
}
Lock::~Lock() { kernel().mutex.unlock(); }
void something_changed() { kernel().changed.notify_all(); }

// ---- handles ----

HANDLE Handles::add(std::shared_ptr<Object> object) {
    std::uintptr_t value = next_;
    if (free_.empty()) {
        next_ += 4;
    } else {
        value = *free_.begin();
        free_.erase(free_.begin());
    }
    objects_[value] = std::move(object);
    return reinterpret_cast<HANDLE>(value);
}
void Handles::remove(HANDLE handle) {
    const auto value = reinterpret_cast<std::uintptr_t>(handle);
    if (objects_.erase(value) > 0) free_.insert(value);
}
std::shared_ptr<Object> Handles::find(HANDLE handle) const {
    const auto found = objects_.find(reinterpret_cast<std::uintptr_t>(handle));
    return found == objects_.end() ? nullptr : found->second;
}
std::vector<std::shared_ptr<Socket>> Handles::sockets() const {
    std::vector<std::shared_ptr<Socket>> found;
    for (const auto& [value, object] : objects_) {
        if (auto socket = std::dynamic_pointer_cast<Socket>(object)) found.push_back(std::move(socket));
    }
    return found;
}

// ---- errors ----

namespace {

thread_local DWORD last_error = 0;

struct StatusRow {
    std::uint32_t status;
    DWORD at_port;
    int at_winsock;
};
constexpr StatusRow statuses[] = {
    {0xC0000023, ERROR_INSUFFICIENT_BUFFER, WSAEFAULT},
    {0xC00000B5, ERROR_SEM_TIMEOUT, WSAETIMEDOUT},
    {0xC0000120, ERROR_OPERATION_ABORTED, WSA_OPERATION_ABORTED},
    {0xC000013B, ERROR_NETNAME_DELETED, WSAECONNABORTED},
    {0xC0000140, ERROR_UNEXP_NET_ERR, WSAENOTCONN},
    {0xC000020D, ERROR_NETNAME_DELETED, WSAECONNRESET},
    {0xC0000236, ERROR_CONNECTION_REFUSED, WSAECONNREFUSED},
    {0xC000023C, ERROR_NETWORK_UNREACHABLE, WSAENETUNREACH},
    {0xC000023D, ERROR_HOST_UNREACHABLE, WSAEHOSTUNREACH},
    {0xC0000241, ERROR_CONNECTION_ABORTED, WSAECONNABORTED},
    {0x8000000A, ERROR_HANDLES_CLOSED, WSAEINVAL},
};

}  // namespace

DWORD error_at_port(LONG status) {
    if (status >= 0) return ERROR_SUCCESS;
    const auto row = std::ranges::find(statuses, static_cast<std::uint32_t>(status), &StatusRow::status);
    return row == std::end(statuses) ? ERROR_MR_MID_NOT_FOUND : row->at_port;
}
int error_at_winsock(LONG status) {
    if (status >= 0) return 0;
    const auto row = std::ranges::find(statuses, static_cast<std::uint32_t>(status), &StatusRow::status);
    return row == std::end(statuses) ? WSAEINVAL : row->at_winsock;
}
Status status_with(DWORD error_at_port) {
    const auto row = std::ranges::find(statuses, error_at_port, &StatusRow::at_port);
    if (row == std::end(statuses)) not_modelled("a completion with this error");
    return static_cast<Status>(row->status);
}

int error_of_linux(int number) {
    switch (number) {
        case EACCES:
        case EPERM:
            return WSAEACCES;
        case EFAULT:
            return WSAEFAULT;
        case EMFILE:
        case ENFILE:
            return WSAEMFILE;
        case EAGAIN:
            return WSAEWOULDBLOCK;
        case ENOTSOCK:
            return WSAENOTSOCK;
        case EAFNOSUPPORT:
            return WSAEAFNOSUPPORT;
        case EADDRINUSE:
            return WSAEADDRINUSE;
        case EADDRNOTAVAIL:
            return WSAEADDRNOTAVAIL;
        case ECONNABORTED:
            return WSAECONNABORTED;
        case ECONNRESET:
        case EPIPE:
            return WSAECONNRESET;
        case ENOBUFS:
        case ENOMEM:
            return WSAENOBUFS;
        case EISCONN:
            return WSAEISCONN;
        case ENOTCONN:
            return WSAENOTCONN;
        case ETIMEDOUT:
            return WSAETIMEDOUT;
        case ECONNREFUSED:
            return WSAECONNREFUSED;
        case EHOSTUNREACH:
            return WSAEHOSTUNREACH;
        case ENETUNREACH:
            return WSAENETUNREACH;
        default:
            return WSAEINVAL;
    }
}

BOOL fail(DWORD error) {
    last_error = error;
    return FALSE;
}
int fail_winsock(int error) {
    last_error = static_cast<DWORD>(error);
    return SOCKET_ERROR;
}

namespace {

// For Linux' names of files: a folder that every process sees.
std::string temporary(const std::string& name) { return (std::filesystem::temp_directory_path() / name).string(); }

std::string narrow(const wchar_t* wide) {
    std::string text;
    for (; *wide != 0; ++wide)
        text += static_cast<char>(*wide);
    return text;
}
void widen(const std::string& text, wchar_t* wide) {
    for (const char letter : text)
        *wide++ = static_cast<unsigned char>(letter);
    *wide = 0;
}

std::string file_of_event(const char* name) { return temporary(std::string("strict-event-") + name); }
void set_event(Event& event, bool set) {
    if (event.file.empty()) {
        event.set = set;
    } else if (set) {
        ::close(::open(event.file.c_str(), O_CREAT | O_CLOEXEC, 0600));
    } else {
        ::unlink(event.file.c_str());
    }
}

LONG status_to_error(LONG status) { return static_cast<LONG>(error_at_port(status)); }

BOOL (*console_handler)(DWORD) = nullptr;
const int interrupts = ::eventfd(0, EFD_CLOEXEC);

}  // namespace
}  // namespace strict

using namespace strict;

DWORD GetLastError() { return last_error; }
void SetLastError(DWORD error) { last_error = error; }
int WSAGetLastError() { return static_cast<int>(last_error); }
void WSASetLastError(int error) { last_error = static_cast<DWORD>(error); }
int WSAStartup(WORD version, WSADATA* data) {
    const Inside here;
    if (const DWORD error = fault("WSAStartup")) return static_cast<int>(error);
    *data = {version, version};
    return 0;
}
int WSACleanup() { return 0; }

BOOL CloseHandle(HANDLE handle) {
    const Lock lock;
    const auto object = kernel().handles.find(handle);
    if (object == nullptr) return fail(ERROR_INVALID_HANDLE);
    if (std::dynamic_pointer_cast<Socket>(object) != nullptr) not_modelled("CloseHandle of a socket");
    if (const auto port = std::dynamic_pointer_cast<Port>(object)) {
        port->closed = true;
        for (const Packet& packet : port->queue)
            trace_end(packet);
    }
    kernel().handles.remove(handle);
    something_changed();
    return TRUE;
}

BOOL SetFileCompletionNotificationModes(HANDLE file, BYTE flags) {
    const Lock lock;
    const auto socket = find<Socket>(file, "SetFileCompletionNotificationModes");
    if (socket == nullptr) return FALSE;
    if ((flags & FILE_SKIP_COMPLETION_PORT_ON_SUCCESS) != 0) socket->skips_packets = true;
    return TRUE;
}

BOOL CancelIoEx(HANDLE file, OVERLAPPED* overlapped, Here here) {
    const TracedCall call("CancelIoEx", here, {file});
    const Lock lock;
    const auto socket = find<Socket>(file, "CancelIoEx");
    if (socket == nullptr) return FALSE;
    return cancel(socket, overlapped, nullptr, Status::cancelled) ? TRUE : fail(ERROR_NOT_FOUND);
}
BOOL CancelIo(HANDLE file) {
    const Lock lock;
    const auto socket = find<Socket>(file, "CancelIo");
    if (socket == nullptr) return FALSE;
    const auto thread = std::this_thread::get_id();
    cancel(socket, nullptr, &thread, Status::cancelled);
    return TRUE;
}

// ---- events, locks, time ----

HANDLE CreateEventA(void*, BOOL manual, BOOL set, const char* name) {
    const Lock lock;
    if (const DWORD error = fault("CreateEvent")) {
        fail(error);
        return nullptr;
    }
    auto event = std::make_shared<Event>();
    event->manual = manual != FALSE;
    if (name != nullptr) event->file = file_of_event(name);
    set_event(*event, set != FALSE);
    return kernel().handles.add(std::move(event));
}
HANDLE CreateEventW(void*, BOOL manual, BOOL set, const wchar_t* name) {
    return CreateEventA(nullptr, manual, set, name == nullptr ? nullptr : narrow(name).c_str());
}
HANDLE OpenEventA(DWORD, BOOL, const char* name) {
    const Lock lock;
    auto event = std::make_shared<Event>();
    event->manual = true;
    event->file = file_of_event(name);
    return kernel().handles.add(std::move(event));
}
BOOL SetEvent(HANDLE handle) {
    const Lock lock;
    const auto event = find<Event>(handle, "SetEvent");
    if (event == nullptr) return FALSE;
    released(event.get());
    set_event(*event, true);
    something_changed();
    return TRUE;
}
BOOL ResetEvent(HANDLE handle) {
    const Lock lock;
    const auto event = find<Event>(handle, "ResetEvent");
    if (event == nullptr) return FALSE;
    set_event(*event, false);
    return TRUE;
}
DWORD WaitForSingleObject(HANDLE handle, DWORD milliseconds) {
    Lock lock;
    const auto event = find<Event>(handle, "WaitForSingleObject");
    if (event == nullptr) return WAIT_FAILED;
    const auto is_set = [&] {
        return event->set || (!event->file.empty() && ::access(event->file.c_str(), F_OK) == 0);
    };
    // Nobody tells this process when another one sets an event with a name: it looks again and again.
    const DWORD at_a_time = event->file.empty() ? milliseconds : std::min<DWORD>(milliseconds, 5);
    for (DWORD waited = 0; !lock.wait(at_a_time, is_set); waited += at_a_time) {
        if (at_a_time == milliseconds || waited >= milliseconds) return WAIT_TIMEOUT;
    }
    acquired(event.get());
    if (!event->manual) set_event(*event, false);
    return WAIT_OBJECT_0;
}

void AcquireSRWLockExclusive(SRWLOCK* lock) {
    if (::pthread_rwlock_wrlock(&lock->lock) != 0) not_modelled("an SRWLOCK that its owner takes again");
}
void ReleaseSRWLockExclusive(SRWLOCK* lock) { ::pthread_rwlock_unlock(&lock->lock); }
void AcquireSRWLockShared(SRWLOCK* lock) {
    if (::pthread_rwlock_rdlock(&lock->lock) != 0) not_modelled("an SRWLOCK that its owner takes again");
}
void ReleaseSRWLockShared(SRWLOCK* lock) { ::pthread_rwlock_unlock(&lock->lock); }

void Sleep(DWORD milliseconds) {
    const Inside here;
    while_paused([&] {
        do
            std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
        while (milliseconds == INFINITE);
        return 0;
    });
}
ULONGLONG GetTickCount64() {
    const auto now = Clock::now().time_since_epoch();
    return static_cast<ULONGLONG>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}
BOOL QueryPerformanceCounter(LARGE_INTEGER* count) {
    count->QuadPart = Clock::now().time_since_epoch().count();
    return TRUE;
}

// ---- the thread pool ----

struct CleanupGroup {
    std::mutex mutex;
    std::vector<std::thread> threads;
};
PTP_CLEANUP_GROUP CreateThreadpoolCleanupGroup() { return new CleanupGroup; }
void InitializeThreadpoolEnvironment(TP_CALLBACK_ENVIRON* environment) { environment->group = nullptr; }
void SetThreadpoolCallbackCleanupGroup(TP_CALLBACK_ENVIRON* environment, PTP_CLEANUP_GROUP group, void*) {
    environment->group = group;
}
BOOL TrySubmitThreadpoolCallback(PTP_SIMPLE_CALLBACK callback, void* context, TP_CALLBACK_ENVIRON* environment) {
    const Inside here;
    if (const DWORD error = fault("TrySubmitThreadpoolCallback")) return fail(error);
    const std::lock_guard lock(environment->group->mutex);
    environment->group->threads.emplace_back([=] { callback(nullptr, context); });
    return TRUE;
}
BOOL CallbackMayRunLong(PTP_CALLBACK_INSTANCE) { return TRUE; }
void CloseThreadpoolCleanupGroupMembers(PTP_CLEANUP_GROUP group, BOOL, void*) {
    std::vector<std::thread> threads;
    {
        const std::lock_guard lock(group->mutex);
        threads.swap(group->threads);
    }
    for (std::thread& thread : threads)
        thread.join();
    delete group;
}

// ---- files and the console ----

HANDLE GetStdHandle(DWORD which) { return reinterpret_cast<HANDLE>(static_cast<ULONG_PTR>(which)); }
BOOL ReadFile(HANDLE file, void* buffer, DWORD size, DWORD* bytes, OVERLAPPED*) {
    if (file != GetStdHandle(STD_INPUT_HANDLE)) not_modelled("ReadFile of anything but stdin");
    const ssize_t count = ::read(STDIN_FILENO, buffer, size);
    *bytes = count > 0 ? static_cast<DWORD>(count) : 0;
    return count >= 0;
}
BOOL PeekNamedPipe(HANDLE, void*, DWORD, DWORD*, DWORD*, DWORD*) { return fail(ERROR_BROKEN_PIPE); }  // at its end
HANDLE CreateFileW(const wchar_t* name, DWORD, DWORD, void*, DWORD, DWORD flags, HANDLE) {
    const Lock lock;
    if (::access(narrow(name).c_str(), R_OK) != 0) {
        fail(ERROR_FILE_NOT_FOUND);
        return INVALID_HANDLE_VALUE;
    }
    auto file = std::make_shared<File>();
    file->overlapped = (flags & FILE_FLAG_OVERLAPPED) != 0;
    return kernel().handles.add(std::move(file));
}
BOOL DeleteFileW(const wchar_t* name) { return ::unlink(narrow(name).c_str()) == 0; }
DWORD GetTempPathW(DWORD, wchar_t* folder) {
    const std::string path = temporary("");
    widen(path, folder);
    return static_cast<DWORD>(path.size());
}
UINT GetTempFileNameW(const wchar_t* folder, const wchar_t* prefix, UINT, wchar_t* name) {
    std::string path = narrow(folder) + narrow(prefix) + "XXXXXX";
    const int descriptor = ::mkstemp(path.data());
    if (descriptor < 0) return 0;
    ::close(descriptor);
    widen(path, name);
    return 1;
}

// SIGINT is Ctrl+C. Windows runs the handler on a thread of its own.
BOOL SetConsoleCtrlHandler(BOOL (*handler)(DWORD), BOOL) {
    const Inside here;
    if (handler == nullptr) return TRUE;
    if (const DWORD error = fault("SetConsoleCtrlHandler")) return fail(error);
    console_handler = handler;
    struct sigaction action {};
    action.sa_handler = [](int) {
        const std::uint64_t one = 1;
        (void)!::syscall(SYS_write, interrupts, &one, sizeof one);
    };
    action.sa_flags = SA_RESTART;
    ::sigaction(SIGINT, &action, nullptr);
    seen([] {  // what came before it, the handler's thread knows
        std::thread([] {
            std::uint64_t times;
            while (::syscall(SYS_read, interrupts, &times, sizeof times) > 0) {
                for (; times > 0; --times)
                    console_handler(CTRL_C_EVENT);
            }
        }).detach();
    });
    return TRUE;
}
DWORD GetEnvironmentVariableA(const char* name, char* value, DWORD size) {
    const char* const found = std::getenv(name);
    const std::size_t length = found == nullptr ? 0 : std::strlen(found);
    if (length >= size) return static_cast<DWORD>(length + 1);
    if (found != nullptr) std::memcpy(value, found, length + 1);
    return static_cast<DWORD>(length);
}
DWORD GetEnvironmentVariableW(const wchar_t* name, wchar_t* value, DWORD size) {
    std::string bytes(size, 0);
    const DWORD length = GetEnvironmentVariableA(narrow(name).c_str(), bytes.data(), size);
    if (length < size) widen(bytes.c_str(), value);
    return length;
}
BOOL SetEnvironmentVariableA(const char* name, const char* value) {
    return (value == nullptr ? ::unsetenv(name) : ::setenv(name, value, 1)) == 0;
}
DWORD GetCurrentProcessId() { return static_cast<DWORD>(::getpid()); }
HANDLE GetCurrentProcess() { return INVALID_HANDLE_VALUE; }
BOOL TerminateProcess(HANDLE, UINT code) {
    end_trace();
    ::_exit(static_cast<int>(code));
}

// ---- ntdll, texts ----

HMODULE GetModuleHandleW(const wchar_t*) { return reinterpret_cast<HMODULE>(1); }
DWORD GetModuleFileNameW(HMODULE, wchar_t* name, DWORD size) {
    std::string path(size, 0);
    const ssize_t length = ::readlink("/proc/self/exe", path.data(), path.size() - 1);
    path.resize(length > 0 ? static_cast<std::size_t>(length) : 0);
    widen(path, name);
    return static_cast<DWORD>(path.size());
}
FARPROC GetProcAddress(HMODULE, const char* name) {
    if (std::strcmp(name, "RtlNtStatusToDosError") != 0) return nullptr;  // so it is Windows, and not Wine
    return reinterpret_cast<FARPROC>(reinterpret_cast<void*>(&status_to_error));
}
DWORD FormatMessageW(DWORD, const void*, DWORD code, DWORD, wchar_t* text, DWORD, void*) {
    const std::string sentence = "Error " + std::to_string(code) + ".";
    widen(sentence, text);
    return static_cast<DWORD>(sentence.size());
}
UINT GetConsoleOutputCP() { return 0; }
DWORD GetActiveProcessorCount(WORD) { return std::max(1u, std::thread::hardware_concurrency()); }
int WideCharToMultiByte(UINT, DWORD, const wchar_t* from, int count, char* to, int, const char*, BOOL*) {
    for (int i = 0; i < count; ++i)
        to[i] = static_cast<char>(from[i]);
    return count;
}
