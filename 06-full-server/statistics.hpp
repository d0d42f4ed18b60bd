// What the server counts. Any thread adds. Each number is right at any time; together they agree when it is at rest.
#pragma once

#include "06-full-server/end.hpp"

#include <array>
#include <atomic>
#include <cstdint>

struct Statistics {
    struct Count : std::atomic<std::uint64_t> {  // one that can be copied, to see later what has been added
        Count() : atomic(0) {}
        Count(const Count& other) : atomic(other.load()) {}
        Count& operator=(const Count& other) {
            store(other.load());
            return *this;
        }
    };
    using PerEnd = std::array<Count, end_count>;

    Count accepted;
    Count left;     // of those
    Count refused;  // over the cap
    Count dropped;  // ended by the server
    PerEnd dropped_for;
    Count failed_accepts;
    Count bytes_received;
    Count bytes_sent;
    Count receive_calls;
    Count send_calls;
    Count dequeue_calls;
    Count post_calls;
};

inline void add(Statistics::Count& count, std::uint64_t amount = 1) {
    count.fetch_add(amount, std::memory_order_relaxed);
}
