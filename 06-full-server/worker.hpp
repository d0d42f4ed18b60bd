// The full server's worker loop: packets in batches, and in turn with them what finished inside its own call.
//
// It dispatches to the same operations as stage 01's loop. Threads: all workers share one ReadyQueue; each runs a
// Worker of its own and is the only one to touch it.
#pragma once

#include "01-create-port/port.hpp"
#include "06-full-server/statistics.hpp"

#include <mutex>
#include <vector>

// An operation that finished inside its call, and for which no packet will come. Its owner keeps it, so that to queue
// it needs no memory.
struct Ready {
    Operation& operation;
    DWORD bytes = 0;
    Ready* next = nullptr;
};

// Those that wait for their turn, of all workers: first come, first served, by whichever worker is free. One list for
// each worker would let a connection wait for a thread that is not running, while another is.
class ReadyQueue {
public:
    ReadyQueue(CompletionPort& port, Statistics& statistics) : port_(port), statistics_(statistics) {}

    // Only on a worker: it is awake, and comes here when its handler returns.
    //? put it last; post a wake-up packet when many wait while a worker sleeps
    void push(Ready& ready) noexcept {
        bool wake = false;
        {
            const std::lock_guard lock(mutex_);
            ready.next = nullptr;
            *last_ = &ready;
            last_ = &ready.next;
            ++waiting_;
            wake = waiting_ > many && sleeping_ > 0 && !wake_posted_;
            wake_posted_ |= wake;
        }
        if (!wake) return;
        add(statistics_.post_calls);
        if (port_.post(0, wake_key, nullptr) != 0) woken();
    }

    // The next to be handled, or null.
    //? take the first => return nullptr;
    Ready* pop() noexcept {
        const std::lock_guard lock(mutex_);
        Ready* const ready = first_;
        if (ready == nullptr) return nullptr;
        first_ = ready->next;
        if (first_ == nullptr) last_ = &first_;
        --waiting_;
        return ready;
    }

    // A worker goes to the port: for how many milliseconds may it wait there? And when it comes back:
    DWORD sleep() noexcept {
        const std::lock_guard lock(mutex_);
        if (first_ != nullptr) return 0;
        ++sleeping_;
        return INFINITE;
    }
    void wake_up() noexcept {
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
    static constexpr unsigned many = 8;  // with fewer, waking another worker takes longer than handling them

    CompletionPort& port_;
    Statistics& statistics_;
    std::mutex mutex_;
    Ready* first_ = nullptr;
    Ready** last_ = &first_;
    unsigned waiting_ = 0;
    unsigned sleeping_ = 0;
    bool wake_posted_ = false;
};

class Worker {
public:
    Worker(CompletionPort& port, ReadyQueue& ready, Statistics& statistics, unsigned batch, unsigned inline_bound)
        : port_(port), ready_(ready), statistics_(statistics), inline_bound_(inline_bound), entries_(batch) {}

    //? packets in batches, and in turn with them what is ready, with a bound
    void run() {
        //[ run
        while (!stop_) {
            dequeue();
            // At most so many before the port is looked at again: those that are always ready must not keep the others
            // waiting.
            for (unsigned work = 0; work < inline_bound_;) {
                const Ready* const ready = ready_.pop();
                if (ready == nullptr) break;
                work += 1 + ready->bytes / 1024;
                ready->operation.complete({&ready->operation, 0, ready->bytes, true});
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
        const DWORD milliseconds = ready_.sleep();
        const BOOL any = ::GetQueuedCompletionStatusEx(
            port_.get(), entries_.data(), static_cast<ULONG>(entries_.size()), &count, milliseconds, FALSE);
        if (milliseconds == INFINITE) ready_.wake_up();
        if (!any) return;  // nothing came in time
        //[ batch
        for (ULONG i = 0; i < count; ++i) {
            const OVERLAPPED_ENTRY& entry = entries_[i];
            Operation* const operation = CompletionPort::to_operation(entry.lpOverlapped);
            if (operation == nullptr) {
                if (entry.lpCompletionKey == ReadyQueue::wake_key) {
                    ready_.woken();
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
    ReadyQueue& ready_;
    Statistics& statistics_;
    const unsigned inline_bound_;
    std::vector<OVERLAPPED_ENTRY> entries_;
    bool stop_ = false;
};
