// Work that blocks. The line "wait NAME" is answered with "done" once the event of that name is set: a thread of
// Windows' pool waits for it, not a worker. With "wait quietly NAME" the session answers, not that thread; with "wait
// and close NAME" the thread also ends the client. Other lines are echoed. A client's lines are answered in order, so
// those behind a "wait" are not used meanwhile. The client's end is answered with "your end" while it is waited.
#pragma once

#include "tests/applications/events.hpp"
#include "tests/applications/line_session.hpp"

#include <mutex>

class PoolWork final : public Application {
public:
    explicit PoolWork(FullServer&) {
        ::InitializeThreadpoolEnvironment(&pool_);
        ::SetThreadpoolCallbackCleanupGroup(&pool_, group_, nullptr);
    }
    ~PoolWork() override { ::CloseThreadpoolCleanupGroupMembers(group_, FALSE, nullptr); }  // waits for all work

    std::unique_ptr<Session> make_session() override { return std::make_unique<PoolWorkSession>(pool_); }

private:
    // The work's own, and the session's for as long as there is one: the client may go before the work is done.
    struct Work {
        explicit Work(ConnectionHandle handle) : client(std::move(handle)) {}
        const ConnectionHandle client;
        std::string event;
        bool is_quiet = false;
        bool closes = false;
        std::mutex mutex;
        bool waits = false;
    };

    class PoolWorkSession final : public LineSession {
    public:
        explicit PoolWorkSession(TP_CALLBACK_ENVIRON& pool) : pool_(pool) {}

    private:
        void started(Connection& connection) override { work_ = std::make_shared<Work>(connection.handle()); }

        void line(Connection& connection, const std::string& line) override {
            if (!line.starts_with("wait ")) return connection.answer(line + "\n");
            const std::size_t space = line.rfind(' ');
            work_->event = line.substr(space + 1);
            work_->is_quiet = owes_answer_ = line.starts_with("wait quietly ");
            work_->closes = line.starts_with("wait and close ");
            work_->waits = true;
            auto copy = std::make_unique<std::shared_ptr<Work>>(work_);
            if (!::TrySubmitThreadpoolCallback(do_work, copy.get(), &pool_)) throw std::bad_alloc();
            copy.release();
        }

        static void CALLBACK do_work(PTP_CALLBACK_INSTANCE instance, void* copy) {
            ::CallbackMayRunLong(instance);
            const std::unique_ptr<std::shared_ptr<Work>> owner(static_cast<std::shared_ptr<Work>*>(copy));
            Work& work = **owner;
            wait_for_event(work.event);
            // In one step: the session is called as soon as it is sent, and must then find that it may go on; and not
            // before, or the next answer would overtake this one.
            const std::lock_guard lock(work.mutex);
            work.client.send(work.is_quiet ? "" : "done\n");
            if (work.closes) work.client.close("as its work asks");
            work.waits = false;
        }

        bool takes_lines(Connection& connection) override {
            return !waits(connection) && LineSession::takes_lines(connection);
        }
        bool finished(Connection& connection) override {
            if (!waits(connection)) return true;
            if (!std::exchange(ended_, true)) connection.answer("your end\n");
            return false;
        }
        bool stopping(Connection& connection) override { return !waits(connection); }
        bool waits(Connection& connection) {
            const std::lock_guard lock(work_->mutex);
            if (!work_->waits && std::exchange(owes_answer_, false)) connection.answer("done\n");
            return work_->waits;
        }

        TP_CALLBACK_ENVIRON& pool_;
        std::shared_ptr<Work> work_;
        bool owes_answer_ = false;
        bool ended_ = false;  // the client has
    };

    TP_CALLBACK_ENVIRON pool_;
    const PTP_CLEANUP_GROUP group_ = ::CreateThreadpoolCleanupGroup();
};
