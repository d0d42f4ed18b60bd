// A bound on how many there may be at a time. Any thread may take a place and give it back.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>

class Places {
public:
    struct GiveBack {
        void operator()(Places* places) const noexcept { --places->taken_; }
    };
    using Place = std::unique_ptr<Places, GiveBack>;  // one of them, until it is destroyed or reset; or none

    explicit Places(std::size_t most) : most_(most) {}

    // Tests and takes in one step: two that ask at once cannot both get the last one.
    Place take() noexcept {
        std::size_t taken = taken_;
        while (taken < most_) {
            if (taken_.compare_exchange_weak(taken, taken + 1)) return Place(this);
        }
        return nullptr;
    }

private:
    const std::size_t most_;
    std::atomic<std::size_t> taken_{0};
};
