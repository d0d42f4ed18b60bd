// The Windows headers in the one order that works, and which system this really is.
// The tests use nothing of the stages' own headers from here, so that they also judge a program written by somebody
// else.
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
#include <winsock2.h>
#include <ws2tcpip.h>
#include <mswsock.h>
#include <windows.h>

#include <cstdlib>

namespace support {

// 0 on Windows, else Wine's major version: 8 for 8.0. Wine exports its version from ntdll; Windows does not.
inline int wine_version() {
    const HMODULE ntdll = ::GetModuleHandleW(L"ntdll.dll");
    const auto get_version = ntdll == nullptr ? nullptr
                                              : reinterpret_cast<const char*(CDECL*)()>(reinterpret_cast<void*>(
                                                    ::GetProcAddress(ntdll, "wine_get_version")));
    return get_version == nullptr ? 0 : std::atoi(get_version());
}
inline bool on_wine() { return wine_version() != 0; }

// Winsock for the whole test run: started at the first call, never stopped.
inline void start_winsock() {
    static const int started = [] {
        WSADATA data;
        return ::WSAStartup(MAKEWORD(2, 2), &data);
    }();
    (void)started;
}

}  // namespace support
