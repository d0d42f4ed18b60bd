// Every open connection of a program, so that a timer and a stop can find them.
//
// Owner: it owns the connections. Threads: any. for_each keeps the connections that it visits alive, because remove
// waits for it; so whoever removes one must hold no lock that the visitor takes.
#pragma once

#include "01-create-port/winsock.hpp"

#include <cstddef>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>

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
    Connection& add(std::unique_ptr<Connection> connection) {
        Connection& added = *connection;
        const std::unique_lock lock(mutex_);
        connections_.emplace(&added, std::move(connection));
        return added;
    }

    // Destroys the connection. Nothing may be pending on its socket.
    void remove(Connection& connection) noexcept {
        std::unique_lock lock(mutex_);
        const auto removed = connections_.extract(&connection);
        lock.unlock();  // the destructor, and its closesocket, run without the lock
    }

    template <class Visit>
    void for_each(Visit visit) {
        const std::shared_lock lock(mutex_);
        for (const auto& [address, connection] : connections_)
            visit(*connection);
    }

    std::size_t size() const {
        const std::shared_lock lock(mutex_);
        return connections_.size();
    }

private:
    mutable SharedMutex mutex_;
    std::unordered_map<Connection*, std::unique_ptr<Connection>> connections_;
};
