// Counts of durations, kept so that any percentile can be read from them afterwards (the idea of HdrHistogram).
//
// Each power of two is divided into 128 steps, so a value that is read back is less than 1 % too large, from
// nanoseconds to hours, in a fixed 58 KiB. Threads: one.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

class Histogram {
public:
    void add(std::uint64_t value) {
        ++counts_[index(value)];
        ++total_;
        largest_ = std::max(largest_, value);
    }

    std::uint64_t total() const { return total_; }

    // The value that `percent` of all values do not exceed; 0 if there are none.
    std::uint64_t percentile(double percent) const {
        const double wanted = static_cast<double>(total_) * percent / 100;
        std::uint64_t seen = 0;
        for (std::size_t i = 0; i < counts_.size() && total_ > 0; ++i) {
            seen += counts_[i];
            if (seen > 0 && static_cast<double>(seen) >= wanted) return std::min(largest_in(i), largest_);
        }
        return largest_;
    }

private:
    static constexpr unsigned steps = 128;

    // Values below 256 are exact; above, the eight leading bits are kept.
    static std::size_t index(std::uint64_t value) {
        const auto width = static_cast<unsigned>(std::bit_width(value));
        const unsigned shift = width > 8 ? width - 8 : 0;
        return shift * steps + static_cast<std::size_t>(value >> shift);
    }
    static std::uint64_t largest_in(std::size_t index) {
        const std::size_t shift = index < 2 * steps ? 0 : index / steps - 1;
        return ((index - shift * steps + 1) << shift) - 1;
    }

    std::array<std::uint64_t, 58 * steps> counts_{};
    std::uint64_t total_ = 0;
    std::uint64_t largest_ = 0;
};
