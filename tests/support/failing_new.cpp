// An operator new that fails when a test asks for it; a stage's program is built with it once more.
//
// IOCP_FAILING_NEW=7:NAME in the environment: while the event NAME is set, every seventh allocation fails. Only those
// of C++: malloc, and the system below it, have all the memory that they want.
#include "tests/support/windows.hpp"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

struct Orders {
    HANDLE event = nullptr;
    unsigned long every = 1;

    Orders() {
        char text[128];
        const DWORD length = ::GetEnvironmentVariableA("IOCP_FAILING_NEW", text, sizeof text);
        if (length == 0 || length >= sizeof text) return;
        char* colon = nullptr;
        every = std::strtoul(text, &colon, 10);
        event = ::OpenEventA(SYNCHRONIZE, FALSE, colon + 1);
    }
};

const Orders orders;  // all zero until it is made, so whoever allocates before it gets what it asks for
std::atomic<unsigned long> asked{0};

bool fails() noexcept {
    return orders.event != nullptr && ::WaitForSingleObject(orders.event, 0) == WAIT_OBJECT_0 &&
           ++asked % orders.every == 0;
}

}  // namespace

void* operator new(std::size_t size) {
    void* const memory = fails() ? nullptr : std::malloc(size > 0 ? size : 1);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
