// The full server's worker loop: packets in batches, and in turn with them what finished inside its own call.
//
// It hands them to the same operations as stage 01's loop. Threads: all workers share one ReadyQueue; each runs a
// Worker of its own and is the only one to touch it.
#pragma once

#include "01-create-port/port.hpp"
#include "06-full-server/statistics.hpp"

#include <deque>
#include <mutex>
#include <new>
#include <span>
#include <vector>

// Whoever wants to start something when all that is ready now has been served.
class Turn {
public:
    // Runs on a worker. Returns how many bytes it has handled.
    virtual DWORD take_turn() noexcept = 0;

protected:
    ~Turn() = default;
};

// What waits to be served: a packet, or, if it is set, a turn.
struct Ready {
    Packet packet;
    Turn* turn = nullptr;
};

// What is ready, for all workers: first come, first served, by whichever worker is free. With one list for each worker,
// a connection would wait for a thread that is not running, while another is.
class ReadyQueue {
public:
    ReadyQueue(CompletionPort& port, Statistics& statistics) : port_(port), statistics_(statistics) {}

    // Only on a worker: it is awake, and comes here when its handler returns. False when no memory is left.
    //? put it last; post a wake-up packet when many wait while a worker sleeps => return false;
    bool push(const Ready& ready) noexcept {
        bool wake = false;
        try {
            const std::lock_guard lock(mutex_);
            queue_.push_back(ready);
            wake = queue_.size() > many && sleeping_ > 0 && !wake_posted_;
            wake_posted_ |= wake;
        } catch (const std::bad_alloc&) {
            return false;
        }
        if (wake) {
            add(statistics_.post_calls);
            if (port_.post(0, wake_key, nullptr) != 0) woken();
        }
        return true;
    }

    // Takes the next, if there is one.
    //? take the first => return false;
    bool pop(Ready& ready) noexcept {
        const std::lock_guard lock(mutex_);
        if (queue_.empty()) return false;
        ready = queue_.front();
        queue_.pop_front();
        return true;
    }

    // A worker goes to the port: for how many milliseconds may it wait there? And when it comes back:
    DWORD sleep() noexcept {
        const std::lock_guard lock(mutex_);
        if (!queue_.empty()) return 0;
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
    static constexpr std::size_t many = 8;  // with fewer, waking another worker takes longer than handling them

    CompletionPort& port_;
    Statistics& statistics_;
    std::mutex mutex_;
    std::deque<Ready> queue_;
    unsigned sleeping_ = 0;
    bool wake_posted_ = false;
};

class Worker {
public:
    Worker(CompletionPort& port, ReadyQueue& ready, Statistics& statistics, unsigned batch, unsigned inline_bound)
        : port_(port), ready_(ready), statistics_(statistics), inline_bound_(inline_bound), entries_(batch) {}

    //? batches of packets into the queue; and what is ready out of it, with a bound, until a stop packet comes
    void run() {
        //[ run
        while (!stop_) {
            dequeue();
            // At most so much before the port is looked at again: those that are always ready must not keep the others
            // waiting. A large piece counts for more.
            Ready ready;
            for (std::size_t work = 0; work < inline_bound_ && ready_.pop(ready);)
                work += 1 + serve(ready) / 1024;
        }
        //]
    }

private:
    // Returns how many bytes it was about.
    static DWORD serve(const Ready& ready) {
        if (ready.turn != nullptr) return ready.turn->take_turn();
        ready.packet.operation->dispatch(ready.packet);
        return ready.packet.bytes;
    }

    // Takes a batch of packets from the port, and waits for the first only if there is nothing else to do.
    // https://learn.microsoft.com/windows/win32/fileio/getqueuedcompletionstatusex-func
    //? count the call; GetQueuedCompletionStatusEx; queue each entry; mind the packets without an operation
    void dequeue() {
        ULONG count = 0;
        add(statistics_.dequeue_calls);
        const DWORD milliseconds = ready_.sleep();
        const BOOL any = ::GetQueuedCompletionStatusEx(
            port_.get(), entries_.data(), static_cast<ULONG>(entries_.size()), &count, milliseconds, FALSE);
        if (milliseconds == INFINITE) ready_.wake_up();
        if (!any) return;  // nothing came in time
        //[ batch
        for (const OVERLAPPED_ENTRY& entry : std::span(entries_).first(count)) {
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
            const Ready ready{{operation, entry.lpCompletionKey, entry.dwNumberOfBytesTransferred, succeeded}};
            if (!ready_.push(ready)) serve(ready);
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
