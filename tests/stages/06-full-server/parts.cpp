// Stage 06 from inside: the parts that have no socket.
#include "06-full-server/buffer.hpp"
#include "06-full-server/places.hpp"
#include "06-full-server/worker.hpp"
#include "tests/stages/06-full-server/full_server.hpp"

#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace full_server;

struct NoTurn final : Turn {
    DWORD take_turn() noexcept override { return 0; }
};

TEST_F(Stage06FullServer, TurnsComeInOrder) {
    NEEDS_THE_HEADERS();
    promise("who waits for a turn gets it in the order of asking");
    likely("the last is served first, or one is lost when the queue runs empty");
    CompletionPort port;
    Statistics statistics;
    TurnQueue queue(port, statistics);
    std::array<NoTurn, 3> turns;
    const auto pops = [&](std::size_t number) {
        const Turn* const popped = queue.pop();
        expect(popped == &turns[number], "number " + std::to_string(number),
               popped == nullptr ? "none" : "another one");
    };
    for (int round = 0; round < 3; ++round) {
        queue.push(turns[0]);
        queue.push(turns[1]);
        pops(0);
        queue.push(turns[2]);
        queue.push(turns[0]);
        pops(1);
        pops(2);
        pops(0);
        expect(queue.pop() == nullptr, "none, as nobody waits", "one");
    }
}

// True when a packet without an operation, and with this key, is on the port.
bool takes_packet(const CompletionPort& port, ULONG_PTR expected) {
    DWORD bytes = 0;
    ULONG_PTR key = 0;
    OVERLAPPED* overlapped = nullptr;
    return ::GetQueuedCompletionStatus(port.get(), &bytes, &key, &overlapped, 0) && key == expected;
}

TEST_F(Stage06FullServer, AWorkerThatSleepsIsWokenWhenManyWait) {
    NEEDS_THE_HEADERS();
    promise("when many wait for a turn and a worker sleeps at the port, one packet wakes it; nobody is woken for one");
    likely("the queue is only looked at by the worker that filled it: the others sleep while clients wait");
    CompletionPort port;
    Statistics statistics;
    TurnQueue queue(port, statistics);
    std::array<NoTurn, 100> turns;
    is_worker = true;  // as in a handler: this thread looks at the queue when it returns
    expect(queue.sleep() == INFINITE, "a worker that has nothing to do to wait without a limit", "another limit");
    queue.push(turns[0]);
    expect(statistics.post_calls == 0, "nobody woken for one", std::to_string(statistics.post_calls) + " posts");
    expect(queue.sleep() == 0, "a worker that has something to do not to wait", "another limit");
    for (std::size_t i = 1; i < 50; ++i)
        queue.push(turns[i]);
    expect(statistics.post_calls == 1 && takes_packet(port, TurnQueue::wake_key), "one packet with the wake-up key",
           std::to_string(statistics.post_calls) + " posts");
    queue.woken();
    queue.woke_up();
    for (std::size_t i = 50; i < 100; ++i)
        queue.push(turns[i]);
    expect(statistics.post_calls == 1, "nobody woken when all are awake", std::to_string(statistics.post_calls));
    is_worker = false;
}

TEST_F(Stage06FullServer, AWorkerThatSleepsIsWokenAtOnceForAThreadThatIsNone) {
    NEEDS_THE_HEADERS();
    promise("a turn that no worker asks for wakes a worker that sleeps, at once, with one packet on its way at a time");
    likely("only many turns wake a worker: what a thread of the program's own sends then waits for the next tick");
    CompletionPort port;
    Statistics statistics;
    TurnQueue queue(port, statistics);
    std::array<NoTurn, 3> turns;
    queue.push(turns[0]);
    expect(statistics.post_calls == 0, "nobody woken when all are awake", std::to_string(statistics.post_calls));
    expect(queue.pop() == &turns[0] && queue.sleep() == INFINITE, "a worker that has nothing to do to sleep",
           "another one");
    queue.push(turns[0]);
    queue.push(turns[1]);
    expect(statistics.post_calls == 1 && takes_packet(port, TurnQueue::wake_key), "one packet with the wake-up key",
           std::to_string(statistics.post_calls) + " posts");
    queue.woken();
    queue.push(turns[2]);
    expect(statistics.post_calls == 2 && takes_packet(port, TurnQueue::wake_key), "another one once that has come",
           std::to_string(statistics.post_calls) + " posts");
}

TEST_F(Stage06FullServer, AQuietConnectionReturnsToASmallBuffer) {
    NEEDS_THE_HEADERS();
    promise("the buffer of a receive grows when it is filled, and shrinks again when little comes");
    likely("it only grows: a client that once sent much then holds a large buffer for as long as it is silent");
    const BufferPool pool(1000, 60000, 1000000);
    ReceiveSize size(pool);
    for (const std::size_t expected : {1000, 4000, 16000, 60000, 60000}) {
        expect(size.next() == expected, std::to_string(expected) + " bytes", std::to_string(size.next()));
        size.received(size.next());
    }
    for (int i = 0; i < 15; ++i)
        size.received(15999);
    size.received(16000);
    for (int i = 0; i < 15; ++i)
        size.received(1);
    expect(size.next() == 60000, "the same size while a smaller one does not hold all", std::to_string(size.next()));
    for (int i = 0; i < 100; ++i)
        size.received(1);
    expect(size.next() == 1000, "the smallest size again", std::to_string(size.next()));
}

TEST_F(Stage06FullServer, AnEmptyPieceIsNothing) {
    NEEDS_THE_HEADERS();
    promise("a piece of no bytes is not queued: it would fill a send with nothing, and keep its buffer");
    likely("only the number of bytes is looked at: the queue is empty, and has a piece all the same");
    BufferPool pool(1000, 60000, 1000000);
    ByteQueue queue;
    const BufferRef buffer = pool.get(1000);
    for (int i = 0; i < 20; ++i)
        queue.push(pool, Piece{buffer, {}});
    expect(!buffer.shared(), "no reference to its buffer", "one");
    queue.push(pool, Piece{buffer, buffer.bytes().first(600)});
    queue.push(pool, Piece{buffer, {}});
    std::array<WSABUF, 4> buffers;
    const std::size_t count = queue.gather(buffers, 65536);
    expect(count == 1 && buffers[0].len == 600, "one buffer of 600 bytes to send", std::to_string(count));
}

TEST_F(Stage06FullServer, APlaceIsTakenOnceAndGivenBack) {
    NEEDS_THE_HEADERS();
    promise("there are so many places and not one more, and a place that is given back can be taken again");
    likely("a place that nobody got counts as taken, or none is given back");
    Places places(2);
    Places::Place first = places.take();
    {
        const Places::Place second = places.take();
        expect(first && second, "two places", "fewer");
        expect(!places.take() && !places.take(), "no third", "one");
    }
    Places::Place again = places.take();
    expect(again != nullptr, "the second one again", "none");
    expect(!places.take(), "no third", "one");
    first.reset();
    expect(places.take() != nullptr, "the first one again", "none");
}

TEST_F(Stage06FullServer, OfTwoThatAskAtOnceOneGetsTheLastPlace) {
    NEEDS_THE_HEADERS();
    promise("a place is tested and taken in one step: of two threads that ask at the same moment one gets the last");
    likely("the count is compared first and raised afterwards");
    constexpr unsigned rounds = 20000;
    Places places(1);
    std::atomic<unsigned> ready{0};
    std::atomic<unsigned> asked{0};
    std::atomic<unsigned> taken{0};
    const auto meet = [](std::atomic<unsigned>& count, unsigned all) {
        ++count;
        for (unsigned looks = 0; count < all; ++looks) {
            if (looks > 1000) std::this_thread::yield();
        }
    };
    const auto ask = [&] {
        for (unsigned round = 1; round <= rounds; ++round) {
            meet(ready, 2 * round);
            const Places::Place place = places.take();
            if (place) ++taken;
            meet(asked, 2 * round);
        }
    };
    std::thread other(ask);
    ask();
    other.join();
    expect(taken == rounds, std::to_string(rounds) + " places taken in as many rounds", std::to_string(taken));
}

TEST_F(Stage06FullServer, TurnsThatNeverEndDoNotKeepPacketsWaiting) {
    NEEDS_THE_HEADERS();
    promise("a packet waits for --inline-bound turns at most, though there is always somebody who wants another turn");
    likely("turns are taken as long as anybody waits for one: the bound is missing in run()");
    constexpr unsigned bound = 16;
    CompletionPort port;
    Statistics statistics;
    TurnQueue queue(port, statistics);
    struct Posted final : Operation {
        using Operation::Operation;
        void complete(const Packet&) noexcept override { came = true; }
        bool came = false;
    };
    struct Busy final : Turn {
        Busy(CompletionPort& its_port, TurnQueue& its_queue) : port(its_port), queue(its_queue), posted(its_port) {}
        DWORD take_turn() noexcept override {
            if (turns == 0) posted.post(0, 0);
            ++turns;
            if (posted.came || turns == 1000) {
                port.post_stop();
            } else {
                queue.push(*this);
            }
            return 0;
        }
        CompletionPort& port;
        TurnQueue& queue;
        Posted posted;
        unsigned turns = 0;
    };
    Busy busy(port, queue);
    queue.push(busy);
    Worker(port, queue, statistics, 16, bound).run();
    expect(busy.turns == bound + 1, "the packet after " + std::to_string(bound) + " turns, and the last turn",
           std::to_string(busy.turns) + " turns");
}

TEST_F(Stage06FullServer, AWorkerEndsWhenThePortIsGone) {
    NEEDS_THE_HEADERS();
    promise("a worker whose port is no port says so and ends, and does not ask again and again");
    likely("every failure of GetQueuedCompletionStatusEx is taken for a time-out");
    struct All {
        CompletionPort port;
        Statistics statistics;
        TurnQueue turns{port, statistics};
        Worker worker{port, turns, statistics, 16, 16};
    };
    const auto all = std::make_shared<All>();  // a worker that does not end keeps them
    const HANDLE ended = ::CreateEventW(nullptr, TRUE, FALSE, nullptr);
    ::CloseHandle(all->port.get());
    std::thread([all, ended] {
        all->worker.run();
        ::SetEvent(ended);
    }).detach();
    const bool came = ::WaitForSingleObject(ended, deadline_ms()) == WAIT_OBJECT_0;
    expect(came, "the worker to end within " + deadline_text(),
           std::to_string(all->statistics.dequeue_calls.load()) + " calls, and it goes on");
}

}  // namespace
