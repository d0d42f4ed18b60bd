// The full server's worker loop: packets in batches, and in between the turns of those who want to start something.
//
// Packets go to the same operations as in stage 01's loop. Threads: all workers share the queue of turns; each runs a
// Worker of its own and is the only one to touch it.
#pragma once

#include "01-create-port/port.hpp"
#include "06-full-server/statistics.hpp"

#include <cstddef>
#include <cstdio>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

// Whoever wants to start something when it is its turn. In one place of the queue at a time.
class Turn {
public:
    // Runs on a worker. Returns how many bytes it has handled.
    virtual DWORD take_turn() noexcept = 0;

protected:
    ~Turn() = default;

private:
    friend class TurnQueue;
    Turn* next_ = nullptr;
};

// Whether this thread runs a Worker.
inline thread_local bool is_worker = false;

// First come, first served, by whichever worker is free. With a queue for each worker, a connection would wait for a
// thread that is not running, while another is.
class TurnQueue {
public:
    TurnQueue(CompletionPort& port, Statistics& statistics) : port_(port), statistics_(statistics) {}

    // Any thread. A worker that calls this comes here when its handler returns: it wakes another only when many wait.
    //? put it last; post a wake-up packet when a worker sleeps, and many wait or it is no worker that asks
    void push(Turn& turn) noexcept {
        bool wake = false;
        {
            const std::lock_guard lock(mutex_);
            *end_ = &turn;
            end_ = &turn.next_;
            ++waiting_;
            wake = should_wake(is_worker ? many : 0);
        }
        if (wake) post_wake_up();
    }

    // Wakes a worker if one sleeps while somebody waits. Call it now and then: push() may have failed to.
    void wake() noexcept {
        {
            const std::lock_guard lock(mutex_);
            if (!should_wake(0)) return;
        }
        post_wake_up();
    }

    // The first, no longer in the queue; or null.
    //? take the first => return nullptr;
    Turn* pop() noexcept {
        const std::lock_guard lock(mutex_);
        if (first_ == nullptr) return nullptr;
        Turn* const turn = std::exchange(first_, first_->next_);
        turn->next_ = nullptr;
        if (first_ == nullptr) end_ = &first_;
        --waiting_;
        return turn;
    }

    // A worker goes to the port: for how many milliseconds may it wait there? And when it comes back:
    DWORD sleep() noexcept {
        const std::lock_guard lock(mutex_);
        if (first_ != nullptr) return 0;
        ++sleeping_;
        return INFINITE;
    }
    void woke_up() noexcept {
        const std::lock_guard lock(mutex_);
        --sleeping_;
    }

    // A packet without an operation and with this key wakes a worker, and says no more. One is on its way at a time.
    static constexpr ULONG_PTR wake_key = 2;
    void woken() noexcept {
        const std::lock_guard lock(mutex_);
        wake_posted_ = false;
    }

private:
    static constexpr unsigned many = 8;  // with fewer, waking another worker takes longer than serving them

    // With the lock held. Whoever gets true posts.
    bool should_wake(unsigned enough) noexcept {
        if (waiting_ <= enough || sleeping_ == 0 || wake_posted_) return false;
        return wake_posted_ = true;
    }
    void post_wake_up() noexcept {
        add(statistics_.post_calls);
        if (port_.post(0, wake_key, nullptr) != 0) woken();
    }

    CompletionPort& port_;
    Statistics& statistics_;
    std::mutex mutex_;
    Turn* first_ = nullptr;
    Turn** end_ = &first_;  // where the next one is to be linked
    unsigned waiting_ = 0;
    unsigned sleeping_ = 0;
    bool wake_posted_ = false;
};

class Worker {
public:
    Worker(CompletionPort& port, TurnQueue& turns, Statistics& statistics, unsigned batch, unsigned inline_bound)
        : port_(port), turns_(turns), statistics_(statistics), inline_bound_(inline_bound), entries_(batch) {}

    //? packets in batches, and in between turns, with a bound, until a stop packet comes
    void run() {
        is_worker = true;
        //[ run
        while (!stop_) {
            dequeue();
            // Then turns, but only so many: clients that always have something must not keep the packets of the
            // others waiting. A large piece counts for more; for less once no packet has come for a while.
            const DWORD as_long_as_a_turn = looks_in_vain_ < 1024 ? 1024 : 16384;  // bytes
            for (std::size_t work = 0; work < inline_bound_;) {
                Turn* const turn = turns_.pop();
                if (turn == nullptr) break;
                work += 1 + turn->take_turn() / as_long_as_a_turn;
            }
        }
        //]
    }

private:
    // Takes a batch of packets from the port, and waits for the first only if there is nothing else to do.
    // https://learn.microsoft.com/windows/win32/fileio/getqueuedcompletionstatusex-func
    //? count the call; GetQueuedCompletionStatusEx; dispatch each entry; mind the packets without an operation
    void dequeue() {
        ULONG count = 0;
        add(statistics_.dequeue_calls);
        const DWORD milliseconds = turns_.sleep();
        const BOOL any = ::GetQueuedCompletionStatusEx(
            port_.get(), entries_.data(), static_cast<ULONG>(entries_.size()), &count, milliseconds, FALSE);
        const DWORD error = any ? 0 : ::GetLastError();
        if (milliseconds == INFINITE) turns_.woke_up();
        looks_in_vain_ = any ? 0 : looks_in_vain_ + 1;
        if (error != 0 && error != WAIT_TIMEOUT) {  // the port is gone: a mistake in the program
            std::fprintf(stderr, "GetQueuedCompletionStatusEx: %s\n", error_name(error).c_str());
            stop_ = true;
        }
        if (!any) return;  // nothing came in time
        //[ batch
        for (const OVERLAPPED_ENTRY& entry : std::span(entries_).first(count)) {
            Operation* const operation = CompletionPort::to_operation(entry.lpOverlapped);
            if (operation == nullptr) {
                if (entry.lpCompletionKey == TurnQueue::wake_key) {
                    turns_.woken();
                    continue;
                }
                // A batch can hold the stop packets of several workers: the others get theirs back.
                if (stop_) port_.post_stop();
                stop_ = true;
                continue;
            }
            // The call succeeds for a batch of failures too. Each operation has its own status: an NTSTATUS, of which
            // only the low 32 bits count, and negative for a failure.
            const bool succeeded = static_cast<LONG>(operation->Internal) >= 0;
            operation->dispatch({operation, entry.lpCompletionKey, entry.dwNumberOfBytesTransferred, succeeded});
        }
        //]
    }

    CompletionPort& port_;
    TurnQueue& turns_;
    Statistics& statistics_;
    const unsigned inline_bound_;
    std::vector<OVERLAPPED_ENTRY> entries_;
    unsigned looks_in_vain_ = 0;  // at the port, in a row
    bool stop_ = false;
};
