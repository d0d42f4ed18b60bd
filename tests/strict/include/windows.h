// The strict Windows: those of Windows' calls that the stages and the claims use, declared for Linux.
//
// A test instrument and no product. What is declared behaves as Microsoft documents it, and as strictly as Windows may;
// what is not declared does not compile. POSIX's types for addresses serve as they are, and functions with POSIX's
// names stand beside POSIX's own as overloads, as a SOCKET is no int. Names, numbers and layouts are Windows'.
//
// Each call that can break a rule is told where it was made, so that a diagnosis can say so: that is `here`.
#pragma once

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <source_location>

using Here = std::source_location;

// ---- types ----

#define WINAPI
#define CALLBACK
#define CDECL

using BYTE = std::uint8_t;
using WORD = std::uint16_t;
using DWORD = std::uint32_t;
using UINT = unsigned;
using LONG = std::int32_t;
using ULONG = std::uint32_t;
using BOOL = int;
using CHAR = char;
using ULONGLONG = unsigned long long;
using ULONG_PTR = std::uintptr_t;
using LONG_PTR = std::intptr_t;
using HANDLE = void*;
using HMODULE = struct Module*;
using FARPROC = LONG_PTR (*)();
using SOCKET = std::uintptr_t;

constexpr BOOL TRUE = 1;
constexpr BOOL FALSE = 0;
constexpr DWORD INFINITE = 0xFFFFFFFF;
constexpr int MAX_PATH = 260;
#define INVALID_HANDLE_VALUE (reinterpret_cast<HANDLE>(LONG_PTR{-1}))
constexpr SOCKET INVALID_SOCKET = ~SOCKET{0};
constexpr int SOCKET_ERROR = -1;
constexpr WORD MAKEWORD(int low, int high) { return static_cast<WORD>(low | high << 8); }

#define CONTAINING_RECORD(address, type, field) \
    (reinterpret_cast<type*>(reinterpret_cast<char*>(address) - offsetof(type, field)))

struct OVERLAPPED {
    ULONG_PTR Internal;
    ULONG_PTR InternalHigh;
    union {
        struct {
            DWORD Offset;
            DWORD OffsetHigh;
        };
        void* Pointer;
    };
    HANDLE hEvent;
};
using LPOVERLAPPED = OVERLAPPED*;
struct OVERLAPPED_ENTRY {
    ULONG_PTR lpCompletionKey;
    OVERLAPPED* lpOverlapped;
    ULONG_PTR Internal;
    DWORD dwNumberOfBytesTransferred;
};
struct WSABUF {
    ULONG len;
    char* buf;
};
struct GUID {
    DWORD Data1;
    WORD Data2;
    WORD Data3;
    BYTE Data4[8];
};
struct WSADATA {
    WORD wVersion;
    WORD wHighVersion;
};
struct WSAPROTOCOL_INFOW {
    DWORD dwServiceFlags1;
    int iAddressFamily;
};
union LARGE_INTEGER {
    long long QuadPart;
};
using PTP_CALLBACK_INSTANCE = struct CallbackInstance*;
using PTP_SIMPLE_CALLBACK = void (*)(PTP_CALLBACK_INSTANCE, void*);
using PTP_CLEANUP_GROUP = struct CleanupGroup*;
struct TP_CALLBACK_ENVIRON {
    PTP_CLEANUP_GROUP group;
};
struct SRWLOCK {
    pthread_rwlock_t lock;
};
#define SRWLOCK_INIT \
    { PTHREAD_RWLOCK_INITIALIZER }

// ---- numbers ----

constexpr DWORD ERROR_SUCCESS = 0, ERROR_FILE_NOT_FOUND = 2, ERROR_ACCESS_DENIED = 5, ERROR_INVALID_HANDLE = 6,
                ERROR_NOT_ENOUGH_MEMORY = 8, ERROR_UNEXP_NET_ERR = 59, ERROR_NETNAME_DELETED = 64,
                ERROR_INVALID_PARAMETER = 87, ERROR_BROKEN_PIPE = 109, ERROR_CALL_NOT_IMPLEMENTED = 120,
                ERROR_SEM_TIMEOUT = 121, ERROR_INSUFFICIENT_BUFFER = 122, WAIT_TIMEOUT = 258,
                ERROR_MR_MID_NOT_FOUND = 317, ERROR_HANDLES_CLOSED = 676, ERROR_ABANDONED_WAIT_0 = 735,
                ERROR_OPERATION_ABORTED = 995, ERROR_IO_INCOMPLETE = 996, ERROR_IO_PENDING = 997,
                ERROR_NOT_FOUND = 1168, ERROR_CONNECTION_REFUSED = 1225, ERROR_NETWORK_UNREACHABLE = 1231,
                ERROR_HOST_UNREACHABLE = 1232, ERROR_CONNECTION_ABORTED = 1236, WAIT_OBJECT_0 = 0,
                WAIT_FAILED = 0xFFFFFFFF;
constexpr int WSA_OPERATION_ABORTED = 995, WSA_IO_INCOMPLETE = 996, WSA_IO_PENDING = 997, WSAEACCES = 10013,
              WSAEFAULT = 10014, WSAEINVAL = 10022, WSAEMFILE = 10024, WSAEWOULDBLOCK = 10035, WSAENOTSOCK = 10038,
              WSAEOPNOTSUPP = 10045, WSAEAFNOSUPPORT = 10047, WSAEADDRINUSE = 10048, WSAEADDRNOTAVAIL = 10049,
              WSAENETDOWN = 10050, WSAENETUNREACH = 10051, WSAENETRESET = 10052, WSAECONNABORTED = 10053,
              WSAECONNRESET = 10054, WSAENOBUFS = 10055, WSAEISCONN = 10056, WSAENOTCONN = 10057, WSAESHUTDOWN = 10058,
              WSAETIMEDOUT = 10060, WSAECONNREFUSED = 10061, WSAEHOSTUNREACH = 10065, WSANOTINITIALISED = 10093,
              WSAHOST_NOT_FOUND = 11001;

constexpr int SD_RECEIVE = 0;
constexpr int SD_SEND = 1;
constexpr int SD_BOTH = 2;
constexpr int SO_EXCLUSIVEADDRUSE = ~SO_REUSEADDR;
constexpr int SO_UPDATE_ACCEPT_CONTEXT = 0x700B;
constexpr int SO_CONNECT_TIME = 0x700C;
constexpr int SO_PROTOCOL_INFOW = 0x2005;
constexpr DWORD XP1_IFS_HANDLES = 0x20000;
constexpr DWORD WSA_FLAG_OVERLAPPED = 1;
constexpr DWORD WSA_FLAG_NO_HANDLE_INHERIT = 0x80;
constexpr DWORD SIO_GET_EXTENSION_FUNCTION_POINTER = 0xC8000006;
constexpr DWORD TF_REUSE_SOCKET = 2;
constexpr BYTE FILE_SKIP_COMPLETION_PORT_ON_SUCCESS = 1;
constexpr BYTE FILE_SKIP_SET_EVENT_ON_HANDLE = 2;
constexpr UINT CP_UTF8 = 65001;
constexpr DWORD FORMAT_MESSAGE_FROM_SYSTEM = 0x1000;
constexpr DWORD FORMAT_MESSAGE_IGNORE_INSERTS = 0x200;
constexpr DWORD STD_INPUT_HANDLE = static_cast<DWORD>(-10);
constexpr DWORD CTRL_C_EVENT = 0, CTRL_BREAK_EVENT = 1, CTRL_CLOSE_EVENT = 2, CTRL_LOGOFF_EVENT = 5,
                CTRL_SHUTDOWN_EVENT = 6;
constexpr DWORD SYNCHRONIZE = 0x100000;
constexpr DWORD EVENT_MODIFY_STATE = 2;
constexpr DWORD FILE_SHARE_READ = 1;
constexpr DWORD FILE_SHARE_WRITE = 2;
constexpr DWORD FILE_SHARE_DELETE = 4;
constexpr WORD ALL_PROCESSOR_GROUPS = 0xFFFF;
constexpr DWORD GENERIC_READ = 0x80000000;
constexpr DWORD OPEN_EXISTING = 3;
constexpr DWORD FILE_FLAG_OVERLAPPED = 0x40000000;
constexpr unsigned long fionread_of_linux = FIONREAD;
#undef FIONBIO
#undef FIONREAD
#define FIONBIO 0x8004667E
#define FIONREAD 0x4004667F

// ---- Winsock's functions that must be asked for ----

using LPWSAOVERLAPPED_COMPLETION_ROUTINE = void (*)(DWORD, DWORD, OVERLAPPED*, DWORD);
#define WSAID_ACCEPTEX                                                                 \
    {                                                                                  \
        0xb5367df1, 0xcbac, 0x11cf, { 0x95, 0xca, 0x00, 0x80, 0x5f, 0x48, 0xa1, 0x92 } \
    }
#define WSAID_GETACCEPTEXSOCKADDRS                                                     \
    {                                                                                  \
        0xb5367df2, 0xcbac, 0x11cf, { 0x95, 0xca, 0x00, 0x80, 0x5f, 0x48, 0xa1, 0x92 } \
    }
#define WSAID_DISCONNECTEX                                                             \
    {                                                                                  \
        0x7fda2e11, 0x8630, 0x436f, { 0xa0, 0x31, 0xf5, 0x36, 0xa6, 0xee, 0xc1, 0x57 } \
    }

// Two of the pointers are objects that hold one: a pointer's call has no default for where it was made.
struct LPFN_ACCEPTEX {
    BOOL (*function)(SOCKET, SOCKET, void*, DWORD, DWORD, DWORD, OVERLAPPED*, Here) = nullptr;
    LPFN_ACCEPTEX() = default;
    LPFN_ACCEPTEX(std::nullptr_t) {}
    bool operator==(std::nullptr_t) const { return function == nullptr; }
    BOOL operator()(SOCKET listener, SOCKET socket, void* output, DWORD data, DWORD local, DWORD remote, DWORD*,
                    OVERLAPPED* overlapped, Here here = Here::current()) const {
        return function(listener, socket, output, data, local, remote, overlapped, here);
    }
};
struct LPFN_DISCONNECTEX {
    BOOL (*function)(SOCKET, OVERLAPPED*, DWORD, Here) = nullptr;
    LPFN_DISCONNECTEX() = default;
    LPFN_DISCONNECTEX(std::nullptr_t) {}
    bool operator==(std::nullptr_t) const { return function == nullptr; }
    BOOL operator()(SOCKET socket, OVERLAPPED* overlapped, DWORD flags, DWORD, Here here = Here::current()) const {
        return function(socket, overlapped, flags, here);
    }
};
using LPFN_GETACCEPTEXSOCKADDRS = void (*)(void*, DWORD, DWORD, DWORD, sockaddr**, int*, sockaddr**, int*);

// ---- kernel32 ----

DWORD GetLastError();
void SetLastError(DWORD error);

HANDLE CreateIoCompletionPort(HANDLE file, HANDLE port, ULONG_PTR key, DWORD concurrency, Here here = Here::current());
BOOL GetQueuedCompletionStatus(HANDLE port, DWORD* bytes, ULONG_PTR* key, OVERLAPPED** overlapped, DWORD milliseconds,
                               Here here = Here::current());
BOOL GetQueuedCompletionStatusEx(HANDLE port, OVERLAPPED_ENTRY* entries, ULONG most, ULONG* count, DWORD milliseconds,
                                 BOOL alertable, Here here = Here::current());
BOOL PostQueuedCompletionStatus(HANDLE port, DWORD bytes, ULONG_PTR key, OVERLAPPED* overlapped,
                                Here here = Here::current());
BOOL SetFileCompletionNotificationModes(HANDLE file, BYTE flags);
BOOL CancelIo(HANDLE file);
BOOL CancelIoEx(HANDLE file, OVERLAPPED* overlapped, Here here = Here::current());
BOOL CloseHandle(HANDLE handle);

// With a name it is one for all processes.
HANDLE CreateEventA(void* security, BOOL manual, BOOL set, const char* name);
HANDLE CreateEventW(void* security, BOOL manual, BOOL set, const wchar_t* name);
HANDLE OpenEventA(DWORD access, BOOL inherit, const char* name);
BOOL SetEvent(HANDLE event);
BOOL ResetEvent(HANDLE event);
DWORD WaitForSingleObject(HANDLE event, DWORD milliseconds);
void AcquireSRWLockExclusive(SRWLOCK* lock);
void ReleaseSRWLockExclusive(SRWLOCK* lock);
void AcquireSRWLockShared(SRWLOCK* lock);
void ReleaseSRWLockShared(SRWLOCK* lock);
void Sleep(DWORD milliseconds);
ULONGLONG GetTickCount64();
BOOL QueryPerformanceCounter(LARGE_INTEGER* count);

HANDLE GetStdHandle(DWORD which);
BOOL ReadFile(HANDLE file, void* buffer, DWORD size, DWORD* bytes, OVERLAPPED* overlapped);
BOOL PeekNamedPipe(HANDLE pipe, void* buffer, DWORD size, DWORD* bytes, DWORD* available, DWORD* left);
HANDLE CreateFileW(const wchar_t* name, DWORD access, DWORD share, void* security, DWORD how, DWORD flags, HANDLE);
BOOL DeleteFileW(const wchar_t* name);
DWORD GetTempPathW(DWORD size, wchar_t* folder);
UINT GetTempFileNameW(const wchar_t* folder, const wchar_t* prefix, UINT unique, wchar_t* name);

BOOL SetConsoleCtrlHandler(BOOL (*handler)(DWORD), BOOL add);
DWORD GetEnvironmentVariableA(const char* name, char* value, DWORD size);
DWORD GetEnvironmentVariableW(const wchar_t* name, wchar_t* value, DWORD size);
BOOL SetEnvironmentVariableA(const char* name, const char* value);
DWORD GetCurrentProcessId();
HANDLE GetCurrentProcess();
BOOL TerminateProcess(HANDLE process, UINT code);
HMODULE GetModuleHandleW(const wchar_t* name);
DWORD GetModuleFileNameW(HMODULE module, wchar_t* name, DWORD size);
FARPROC GetProcAddress(HMODULE module, const char* name);
DWORD FormatMessageW(DWORD flags, const void* source, DWORD code, DWORD language, wchar_t* text, DWORD size, void*);
UINT GetConsoleOutputCP();
DWORD GetActiveProcessorCount(WORD group);
int WideCharToMultiByte(UINT page, DWORD flags, const wchar_t* from, int count, char* to, int size, const char*, BOOL*);

// Windows' thread pool, as far as one callback at a time goes.
PTP_CLEANUP_GROUP CreateThreadpoolCleanupGroup();
void InitializeThreadpoolEnvironment(TP_CALLBACK_ENVIRON* environment);
void SetThreadpoolCallbackCleanupGroup(TP_CALLBACK_ENVIRON* environment, PTP_CLEANUP_GROUP group, void* cancelled);
BOOL TrySubmitThreadpoolCallback(PTP_SIMPLE_CALLBACK callback, void* context, TP_CALLBACK_ENVIRON* environment);
BOOL CallbackMayRunLong(PTP_CALLBACK_INSTANCE instance);
void CloseThreadpoolCleanupGroupMembers(PTP_CLEANUP_GROUP group, BOOL cancel, void* context);  // waits for them

// ---- Winsock ----

int WSAStartup(WORD version, WSADATA* data);
int WSACleanup();
int WSAGetLastError();
void WSASetLastError(int error);
SOCKET WSASocketW(int family, int type, int protocol, WSAPROTOCOL_INFOW* info, unsigned group, DWORD flags);
int WSAIoctl(SOCKET socket, DWORD code, void* in, DWORD in_size, void* out, DWORD out_size, DWORD* bytes,
             OVERLAPPED* overlapped, LPWSAOVERLAPPED_COMPLETION_ROUTINE routine);
int WSARecv(SOCKET socket, WSABUF* buffers, DWORD count, DWORD* bytes, DWORD* flags, OVERLAPPED* overlapped,
            LPWSAOVERLAPPED_COMPLETION_ROUTINE routine, Here here = Here::current());
int WSASend(SOCKET socket, WSABUF* buffers, DWORD count, DWORD* bytes, DWORD flags, OVERLAPPED* overlapped,
            LPWSAOVERLAPPED_COMPLETION_ROUTINE routine, Here here = Here::current());
BOOL WSAGetOverlappedResult(SOCKET socket, OVERLAPPED* overlapped, DWORD* bytes, BOOL wait, DWORD* flags);
int closesocket(SOCKET socket, Here here = Here::current());
int ioctlsocket(SOCKET socket, long code, u_long* value);

int bind(SOCKET socket, const sockaddr* address, int length);
int listen(SOCKET socket, int backlog);
int connect(SOCKET socket, const sockaddr* address, int length);
SOCKET accept(SOCKET socket, sockaddr* address, int* length);
int shutdown(SOCKET socket, int how, Here here = Here::current());
int setsockopt(SOCKET socket, int level, int option, const char* value, int size);
int getsockopt(SOCKET socket, int level, int option, char* value, int* size);
int getsockname(SOCKET socket, sockaddr* address, int* length);
int getpeername(SOCKET socket, sockaddr* address, int* length);
int send(SOCKET socket, const char* bytes, int size, int flags);
int recv(SOCKET socket, char* bytes, int size, int flags);
inline int recv(SOCKET socket, char* bytes, std::size_t size, int flags) {  // nearer than POSIX' own
    return recv(socket, bytes, static_cast<int>(size), flags);
}

// POSIX has these with the same parameters, so here they have another name.
int strict_getaddrinfo(const char* host, const char* port, const addrinfo* hints, addrinfo** found);
#define getaddrinfo strict_getaddrinfo
struct strict_fd_set {
    unsigned fd_count;
    SOCKET fd_array[64];
};
int strict_select(int, strict_fd_set* readable, strict_fd_set* writable, strict_fd_set* failed, const timeval* limit);
#define select strict_select
#define fd_set strict_fd_set
#undef FD_ZERO
#undef FD_SET
#undef FD_ISSET
inline void FD_ZERO(strict_fd_set* set) { set->fd_count = 0; }
inline void FD_SET(SOCKET socket, strict_fd_set* set) { set->fd_array[set->fd_count++] = socket; }
inline bool FD_ISSET(SOCKET socket, const strict_fd_set* set) {
    for (unsigned i = 0; i < set->fd_count; ++i) {
        if (set->fd_array[i] == socket) return true;
    }
    return false;
}
