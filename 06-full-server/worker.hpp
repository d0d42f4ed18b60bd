// The full server's worker loop: packets in batches, and in turn with them what finished inside its own call.
//
// It dispatches to the same operations as stage 01's loop. Threads: each worker runs one Worker and is the only one to
// touch it.
#pragma once

#include "01-create-port/port.hpp"
#include "06-full-server/statistics.hpp"

#include <vector>

class Worker {
public:
    Worker(CompletionPort& port, Statistics& statistics, unsigned batch, unsigned inline_bound)
        : port_(port), statistics_(statistics), inline_bound_(inline_bound), entries_(batch) {}

    // The worker that runs on this thread; null on a thread that is none.
    static Worker*& current() {
        static thread_local Worker* worker = nullptr;
        return worker;
    }

    // An operation ended inside its call and no packet will come. Its handler runs after those that came before it, and
    // never inside the caller: so no stack grows and no connection gets two turns in a row.
    void finished_inline(Operation& operation, DWORD bytes) { ready_.push_back({&operation, 0, bytes, true}); }

    //? be current(); then packets in batches, and in turn with them what finished inline, with a bound
    void run() {
        current() = this;
        unsigned since_dequeue = 0;
        //[ run
        while (!stop_) {
            // Always when there is nothing else to do; and at the latest after so many inline completions, so that the
            // connections that are always ready cannot keep the others waiting.
            if (ready_.empty() || since_dequeue >= inline_bound_) {
                dequeue(ready_.empty() ? INFINITE : 0);
                since_dequeue = 0;
            }
            round_.swap(ready_);
            for (const Packet& packet : round_)
                packet.operation->complete(packet);
            since_dequeue += static_cast<unsigned>(round_.size());
            round_.clear();
        }
        //]
        current() = nullptr;
    }

private:
    // https://learn.microsoft.com/windows/win32/fileio/getqueuedcompletionstatusex-func
    //? count the call; GetQueuedCompletionStatusEx; dispatch each entry; mind the stop packets
    void dequeue(DWORD milliseconds) {
        ULONG count = 0;
        add(statistics_.dequeue_calls);
        if (!::GetQueuedCompletionStatusEx(port_.get(), entries_.data(), static_cast<ULONG>(entries_.size()), &count,
                                           milliseconds, FALSE)) {
            return;  // nothing came in time
        }
        //[ batch
        for (ULONG i = 0; i < count; ++i) {
            const OVERLAPPED_ENTRY& entry = entries_[i];
            Operation* const operation = CompletionPort::to_operation(entry.lpOverlapped);
            if (operation == nullptr) {
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
    Statistics& statistics_;
    const unsigned inline_bound_;
    std::vector<OVERLAPPED_ENTRY> entries_;
    std::vector<Packet> ready_;
    std::vector<Packet> round_;
    bool stop_ = false;
};
