// What the server counts. Any thread adds; a reader sees each number right, and the sum of all only when it is at rest.
#pragma once

#include <atomic>
#include <cstdint>

struct Statistics {
    using Count = std::atomic<std::uint64_t>;
    Count accepted{0};
    Count refused{0};  // over the cap
    Count dropped{0};  // ended by the server, for a reason that it printed
    Count bytes_received{0};
    Count bytes_sent{0};
    Count receive_calls{0};
    Count send_calls{0};
    Count dequeue_calls{0};
    Count post_calls{0};
};

inline void add(Statistics::Count& count, std::uint64_t amount = 1) {
    count.fetch_add(amount, std::memory_order_relaxed);
}
