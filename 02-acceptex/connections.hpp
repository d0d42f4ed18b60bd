// Every open connection of a program, so that a timer and a stop can find them.
//
// Owner: the list owns its connections, and for_each those that it is about to visit. Threads: any, and a visitor may
// take locks and remove connections, for no lock is held while it runs.
#pragma once

#include "01-create-port/winsock.hpp"

#include <array>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>

// Windows' own lock for one writer or many readers. Not std::shared_mutex: when two threads are the first at that of
// MinGW-w64 together, one is let in without the lock, and it hangs later.
// https://learn.microsoft.com/windows/win32/sync/slim-reader-writer--srw--locks
class SharedMutex {
public:
    void lock() { ::AcquireSRWLockExclusive(&lock_); }
    void unlock() { ::ReleaseSRWLockExclusive(&lock_); }
    void lock_shared() { ::AcquireSRWLockShared(&lock_); }
    void unlock_shared() { ::ReleaseSRWLockShared(&lock_); }

private:
    SRWLOCK lock_ = SRWLOCK_INIT;
};

template <class Connection>
class Connections {
public:
    Connection& add(std::shared_ptr<Connection> connection) {
        Connection& added = *connection;
        const std::unique_lock lock(mutex_);
        connections_.emplace(&added, std::move(connection));
        return added;
    }

    // Destroys the connection, or leaves that to whoever is visiting it. Nothing may be pending on its socket.
    void remove(Connection& connection) noexcept {
        std::unique_lock lock(mutex_);
        const auto removed = connections_.extract(&connection);
        lock.unlock();  // the destructor, and its closesocket, run without the lock
    }

    // Visits every connection that stays in the list meanwhile; one that comes or goes, perhaps. Allocates nothing.
    template <class Visit>
    void for_each(Visit visit) {
        const Connection* last = nullptr;  // it may be gone; only its place in the order counts
        for (bool more = true; more;) {
            std::array<std::shared_ptr<Connection>, 64> some;
            std::size_t count = 0;
            {
                const std::shared_lock lock(mutex_);
                auto next = connections_.upper_bound(last);
                while (count < some.size() && next != connections_.end())
                    some[count++] = (next++)->second;
                more = next != connections_.end();
            }
            for (std::size_t i = 0; i < count; ++i)
                visit(*some[i]);
            if (more) last = some.back().get();
        }
    }

    std::size_t size() const {
        const std::shared_lock lock(mutex_);
        return connections_.size();
    }

private:
    mutable SharedMutex mutex_;
    std::map<const Connection*, std::shared_ptr<Connection>> connections_;
};
