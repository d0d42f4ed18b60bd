// Windows' headers, and the errors of Windows and Winsock with a name.
//
// Threads: any.
#pragma once

#ifndef NOMINMAX
#define NOMINMAX
#endif
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#ifndef _WIN32_WINNT
#define _WIN32_WINNT 0x0A00
#endif
// winsock2.h comes first: windows.h would bring in the old winsock.h.
#include <winsock2.h>
#include <ws2tcpip.h>
#include <mswsock.h>
#include <windows.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <system_error>

// An error's name and number as text. It allocates nothing, so those who must not fail can print it.
class ErrorName {
public:
    ErrorName(const char* name, unsigned long code) noexcept {
        std::snprintf(text_, sizeof text_, "%s (%lu)", name, code);
    }
    operator std::string_view() const noexcept { return text_; }
    const char* c_str() const noexcept { return text_; }

private:
    char text_[64];
};

// "WSAECONNRESET (10054)". A code without a name here reads "error 12345 (12345)".
inline ErrorName error_name(DWORD code) noexcept {
    const char* name = nullptr;
    switch (code) {
#define NAMED(error)   \
    case error:        \
        name = #error; \
        break;
        NAMED(ERROR_ACCESS_DENIED)
        NAMED(ERROR_INVALID_HANDLE)
        NAMED(ERROR_NOT_ENOUGH_MEMORY)
        NAMED(ERROR_UNEXP_NET_ERR)
        NAMED(ERROR_NETNAME_DELETED)
        NAMED(ERROR_INVALID_PARAMETER)
        NAMED(ERROR_CALL_NOT_IMPLEMENTED)
        NAMED(ERROR_SEM_TIMEOUT)
        NAMED(ERROR_ABANDONED_WAIT_0)
        NAMED(ERROR_OPERATION_ABORTED)
        NAMED(ERROR_NOT_FOUND)
        NAMED(ERROR_CONNECTION_REFUSED)
        NAMED(ERROR_CONNECTION_ABORTED)
        NAMED(WAIT_TIMEOUT)
        NAMED(WSA_IO_PENDING)
        NAMED(WSAEACCES)
        NAMED(WSAEFAULT)
        NAMED(WSAEINVAL)
        NAMED(WSAEMFILE)
        NAMED(WSAEWOULDBLOCK)
        NAMED(WSAENOTSOCK)
        NAMED(WSAEOPNOTSUPP)
        NAMED(WSAEAFNOSUPPORT)
        NAMED(WSAEADDRINUSE)
        NAMED(WSAEADDRNOTAVAIL)
        NAMED(WSAENETDOWN)
        NAMED(WSAENETUNREACH)
        NAMED(WSAENETRESET)
        NAMED(WSAECONNABORTED)
        NAMED(WSAECONNRESET)
        NAMED(WSAENOBUFS)
        NAMED(WSAEISCONN)
        NAMED(WSAENOTCONN)
        NAMED(WSAESHUTDOWN)
        NAMED(WSAETIMEDOUT)
        NAMED(WSAECONNREFUSED)
        NAMED(WSAEHOSTUNREACH)
        NAMED(WSANOTINITIALISED)
        NAMED(WSAHOST_NOT_FOUND)
#undef NAMED
    }
    if (name != nullptr) return ErrorName(name, code);
    char number[24];
    std::snprintf(number, sizeof number, "error %lu", static_cast<unsigned long>(code));
    return ErrorName(number, code);
}

// The system's own sentence for a code, without its line end: in its own language, and as the console shows it.
inline std::string error_text(DWORD code) {
    wchar_t wide[512];
    int length = static_cast<int>(::FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, nullptr,
                                                   code, 0, wide, 512, nullptr));
    while (length > 0 && wide[length - 1] <= L' ')
        --length;
    char text[3 * 512];
    const UINT console = ::GetConsoleOutputCP();  // 0 without one
    const int bytes =
        ::WideCharToMultiByte(console != 0 ? console : CP_UTF8, 0, wide, length, text, sizeof text, nullptr, nullptr);
    return std::string(text, static_cast<std::size_t>(bytes));
}

// Windows' error numbers for std::system_error, shown as "WSAEADDRINUSE (10048): Only one usage of ...".
class WindowsErrors final : public std::error_category {
public:
    const char* name() const noexcept override { return "windows"; }
    std::string message(int code) const override {
        const std::string text = error_text(static_cast<DWORD>(code));
        return error_name(static_cast<DWORD>(code)).c_str() + (text.empty() ? "" : ": " + text);
    }
};

// For set-up only: `code` is what GetLastError or WSAGetLastError said right after `call`.
[[noreturn]] inline void throw_error(DWORD code, const std::string& call) {
    static const WindowsErrors category;
    throw std::system_error(static_cast<int>(code), category, call);
}
