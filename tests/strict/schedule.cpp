#include "schedule.hpp"

#include "kernel.hpp"

#include <atomic>
#include <cstdlib>

namespace strict {

namespace {

std::uint64_t seed() {
    static const std::uint64_t value = [] {
        const char* const text = std::getenv("IOCP_STRICT_SEED");
        return text == nullptr ? 0ull : std::strtoull(text, nullptr, 10);
    }();
    return value;
}

// The next number of a question's own sequence (splitmix64).
std::uint64_t next(std::atomic<std::uint64_t>& asked, std::uint64_t question) {
    std::uint64_t value = seed() * 0x9E3779B97F4A7C15 + question * 0xD1B54A32D192ED03 + ++asked * 0x9E3779B97F4A7C15;
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
    return value ^ (value >> 31);
}

template <std::uint64_t question>
std::uint64_t choose(std::uint64_t below) {
    static std::atomic<std::uint64_t> asked{0};
    return next(asked, question) % below;
}

}  // namespace

bool holds_caller() { return seed() != 0 && choose<1>(8) == 0; }

std::size_t part_received(std::size_t size) {
    if (seed() == 0 || size < 2 || choose<2>(4) != 0) return size;
    return 1 + choose<3>(size - 1);
}

std::size_t part_sent(std::size_t size) {
    if (seed() == 0 || size < 2 || choose<4>(16) != 0) return size;
    return 1 + choose<5>(size - 1);
}

bool is_cancelled_too_late() { return seed() != 0 && choose<10>(2) == 0; }

std::chrono::microseconds holds_packet_back() {
    return std::chrono::microseconds(seed() == 0 || choose<8>(8) != 0 ? 0 : 1 + choose<9>(3000));
}

void pause_sometimes() {
    if (seed() == 0 || choose<6>(16) != 0) return;
    std::this_thread::sleep_for(std::chrono::microseconds(choose<7>(500)));
}

}  // namespace strict
