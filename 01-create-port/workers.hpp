// The worker loop, and the threads that run it.
//
// Owner: main owns the workers, and stops them before the port goes.
#pragma once

#include "01-create-port/port.hpp"

#include <algorithm>
#include <thread>
#include <vector>

//[ run_worker
// The worker loop: take a packet, hand it to its operation. Stages 01 to 05 run it unchanged.
//? take packets and dispatch them, until one without an operation comes
inline void run_worker(CompletionPort& port) {
    for (;;) {
        const Packet packet = port.wait();
        if (packet.operation == nullptr) return;
        packet.operation->dispatch(packet);
    }
}
//]

// Threads that run a worker loop on the port until stop(). Each has a copy of the loop, made here: what fails on a
// thread of its own ends the program.
class Workers {
public:
    template <class Loop>
    Workers(CompletionPort& port, unsigned count, Loop loop) : port_(port) {
        try {
            for (unsigned i = 0; i < count; ++i)
                threads_.emplace_back([&port, loop]() mutable { loop(port); });
        } catch (...) {
            stop();  // a std::thread that is destroyed before it is joined ends the program
            throw;
        }
    }
    explicit Workers(CompletionPort& port)
        : Workers(port, std::max(2u, std::thread::hardware_concurrency()), run_worker) {}
    ~Workers() { stop(); }
    Workers(const Workers&) = delete;
    Workers& operator=(const Workers&) = delete;

    // One packet without an operation for each worker, behind every packet that is already queued; then joins.
    void stop() {
        for (std::size_t i = 0; i < threads_.size(); ++i)
            port_.post_stop();
        for (std::thread& thread : threads_)
            thread.join();
        threads_.clear();
    }

private:
    CompletionPort& port_;
    std::vector<std::thread> threads_;
};
