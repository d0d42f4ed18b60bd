// Failures by a plan: what Windows may answer to any call, and hardly ever does.
//
// IOCP_STRICT_FAULTS in the environment: "WSARecv 3 10055" lets the third WSARecv fail with error 10055, and
// "WSASocketW 5-60 10024" all from the fifth to the sixtieth. An operation that completes is called receive, send,
// accept or disconnect, and its error is the port's. `new` is an allocation of the program's own, after its WSAStartup.
// Each fault prints a line on stderr that names the client whose socket was hit.
#include "kernel.hpp"

#include <arpa/inet.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <new>

namespace strict {

namespace {

struct Plan {
    char call[40] = "";
    unsigned long first = 0;
    unsigned long last = 0;
    DWORD error = 0;
    std::atomic<unsigned long> asked{0};

    Plan() {
        const char* const text = std::getenv("IOCP_STRICT_FAULTS");
        if (text == nullptr) return;
        if (std::sscanf(text, "%39s %lu-%lu %u", call, &first, &last, &error) == 4) return;
        last = std::sscanf(text, "%39s %lu %u", call, &first, &error) == 3 ? first : 0;
        if (last > 0) return;
        std::fputs("strict: IOCP_STRICT_FAULTS is CALL FIRST ERROR or CALL FIRST-LAST ERROR\n", stderr);
        std::abort();
    }
    // The number of this call if it is to fail, or 0.
    unsigned long due(const char* name) {
        if (std::strcmp(call, name) != 0) return 0;
        const unsigned long number = ++asked;
        return number >= first && number <= last ? number : 0;
    }
};
Plan& plan() {
    static Plan made;
    return made;
}

std::atomic<bool> has_started{false};

}  // namespace

std::string client_of(const Socket& socket) {
    sockaddr_in address{};
    socklen_t length = sizeof address;
    if (::getpeername(socket.descriptor, reinterpret_cast<sockaddr*>(&address), &length) != 0) return "";
    return "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
}

DWORD fault(const char* call, const Socket* socket) {
    if (std::strcmp(call, "WSAStartup") == 0) has_started = true;
    const unsigned long number = plan().due(call);
    if (number == 0) return 0;
    const std::string client = socket == nullptr ? "" : client_of(*socket);
    std::fprintf(stderr, "strict: fault: %s %lu fails with %u%s%s\n", call, number, plan().error,
                 client.empty() ? "" : ", client ", client.c_str());
    return plan().error;
}

}  // namespace strict

namespace {

void* allocate(std::size_t size) {
    if (strict::inside == 0 && strict::has_started) {
        if (const unsigned long number = strict::plan().due("new"); number != 0) {
            std::fprintf(stderr, "strict: fault: new %lu fails\n", number);
            return nullptr;
        }
    }
    return std::malloc(size > 0 ? size : 1);
}

}  // namespace

// The program's, in place of the library's.
void* operator new(std::size_t size) {
    if (void* const memory = allocate(size)) return memory;
    throw std::bad_alloc();
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return allocate(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
