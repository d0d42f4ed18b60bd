// Counted buffers, from a pool, and a queue of bytes that lie in them.
//
// A received block goes from client to client without a copy: a receive fills a buffer, and every queue that must send
// the block holds a reference. Threads: the pool and the count are for any thread; a ByteQueue is its owner's.
#pragma once

#include "01-create-port/winsock.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <new>
#include <span>
#include <vector>

class BufferPool;

// A reference to one buffer. The buffer goes back to its pool with the last reference.
class BufferRef {
public:
    BufferRef() = default;
    BufferRef(const BufferRef& other) : block_(other.block_) {
        if (block_ != nullptr) block_->references.fetch_add(1, std::memory_order_relaxed);
    }
    BufferRef(BufferRef&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
    BufferRef& operator=(BufferRef other) noexcept {
        std::swap(block_, other.block_);
        return *this;
    }
    ~BufferRef();

    explicit operator bool() const { return block_ != nullptr; }
    bool shared() const { return block_->references.load(std::memory_order_acquire) > 1; }
    std::size_t size() const;
    std::span<char> bytes() const;

private:
    friend class BufferPool;
    struct Block {
        BufferPool& pool;
        const std::size_t size;
        std::atomic<unsigned> references;
        Block* next_free;
        // the bytes follow
    };
    explicit BufferRef(Block* block) : block_(block) {}
    Block* block_ = nullptr;
};

// Buffers of a few sizes: the smallest, and each further one four times the one before, up to the largest.
class BufferPool {
public:
    BufferPool(std::size_t smallest, std::size_t largest) {
        for (std::size_t size = smallest; size < largest; size *= 4)
            lists_.push_back({size});
        lists_.push_back({largest});
    }
    ~BufferPool() {
        for (FreeList& list : lists_) {
            while (list.first != nullptr)
                ::operator delete(std::exchange(list.first, list.first->next_free));
        }
    }
    BufferPool(const BufferPool&) = delete;
    BufferPool& operator=(const BufferPool&) = delete;

    // The next size up, and down; past the largest it is the largest, below the smallest the smallest.
    std::size_t larger(std::size_t size) const {
        for (const FreeList& list : lists_) {
            if (list.size > size) return list.size;
        }
        return lists_.back().size;
    }
    std::size_t smaller(std::size_t size) const {
        std::size_t found = lists_.front().size;
        for (const FreeList& list : lists_) {
            if (list.size < size) found = list.size;
        }
        return found;
    }

    // A buffer of at least `size` bytes, or of the largest size. Empty when the memory is used up.
    BufferRef get(std::size_t size) noexcept {
        FreeList& list = list_of(size);
        {
            const std::lock_guard lock(mutex_);
            if (list.first != nullptr) {
                Block* const block = std::exchange(list.first, list.first->next_free);
                --list.count;
                block->references.store(1, std::memory_order_relaxed);
                return BufferRef(block);
            }
        }
        void* const memory = ::operator new(sizeof(Block) + list.size, std::nothrow);
        return memory == nullptr ? BufferRef() : BufferRef(new (memory) Block{*this, list.size, 1, nullptr});
    }

private:
    friend class BufferRef;
    using Block = BufferRef::Block;
    struct FreeList {
        std::size_t size;
        Block* first = nullptr;
        std::size_t count = 0;
    };
    static constexpr std::size_t most_free = 4 << 20;  // bytes of each size; more than that goes back to the heap

    FreeList& list_of(std::size_t size) {
        for (FreeList& list : lists_) {
            if (list.size >= size) return list;
        }
        return lists_.back();
    }

    void put(Block* block) noexcept {
        FreeList& list = list_of(block->size);
        {
            const std::lock_guard lock(mutex_);
            if (list.count * list.size < most_free) {
                block->next_free = std::exchange(list.first, block);
                ++list.count;
                return;
            }
        }
        ::operator delete(block);
    }

    std::vector<FreeList> lists_;
    std::mutex mutex_;
};

inline BufferRef::~BufferRef() {
    if (block_ != nullptr && block_->references.fetch_sub(1, std::memory_order_acq_rel) == 1) block_->pool.put(block_);
}

inline std::size_t BufferRef::size() const { return block_->size; }

inline std::span<char> BufferRef::bytes() const { return {reinterpret_cast<char*>(block_ + 1), block_->size}; }

// How large the buffer of a connection's next receive is. One that was filled has probably left bytes behind: the next
// is larger. But it is held for as long as the client is silent: after some that a smaller one would have held, it is
// smaller again.
class ReceiveSize {
public:
    explicit ReceiveSize(const BufferPool& pool) : pool_(pool), next_(pool.smaller(0)) {}

    std::size_t next() const { return next_; }

    //[ adapt
    //? larger after a full one; smaller after 16 in a row that the smaller would have held
    void received(std::size_t bytes) {
        const std::size_t smaller = pool_.smaller(next_);
        hardly_filled_ = bytes < smaller ? hardly_filled_ + 1 : 0;
        if (bytes == next_) next_ = pool_.larger(next_);
        if (hardly_filled_ < 16) return;
        next_ = smaller;
        hardly_filled_ = 0;
    }
    //]

private:
    const BufferPool& pool_;
    std::size_t next_;
    unsigned hardly_filled_ = 0;  // in a row
};

// Some bytes of a buffer, and the reference that keeps them.
struct Piece {
    BufferRef buffer;
    std::span<char> bytes;
};

// Bytes in order. What is pushed onto an empty queue is only referred to; what must wait behind other bytes is copied
// together if it is small, so that a queue of single bytes does not hold a whole buffer for each.
class ByteQueue {
public:
    std::size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    std::span<const Piece> pieces() const { return std::span(pieces_).subspan(first_); }

    // May throw std::bad_alloc; the queue then is as it was, or holds the beginning of the piece.
    void push(BufferPool& pool, const Piece& piece) {
        std::span<char> rest = piece.bytes;
        if (!empty() && rest.size() < piece.buffer.size() / 2) {
            append(rest);
            if (rest.empty()) return;
            Piece ours{pool.get(std::max(rest.size(), size_)), {}};  // the more wait, the larger
            if (!ours.buffer) throw std::bad_alloc();
            ours.bytes = ours.buffer.bytes().first(0);
            pieces_.push_back(std::move(ours));
            room_ = pieces_.back().buffer.size();
            append(rest);
            return;
        }
        pieces_.push_back(piece);
        room_ = 0;
        size_ += rest.size();
    }

    // The first bytes, as many as `buffers` can name. Returns how many of them were filled.
    std::size_t gather(std::span<WSABUF> buffers) const {
        const std::size_t count = std::min(buffers.size(), pieces_.size() - first_);
        for (std::size_t i = 0; i < count; ++i) {
            const std::span<char> bytes = pieces_[first_ + i].bytes;
            buffers[i] = {static_cast<ULONG>(bytes.size()), bytes.data()};
        }
        return count;
    }

    void pop(std::size_t bytes) {
        size_ -= bytes;
        while (bytes > 0) {
            Piece& front = pieces_[first_];
            const std::size_t taken = std::min(bytes, front.bytes.size());
            front.bytes = front.bytes.subspan(taken);
            bytes -= taken;
            if (!front.bytes.empty()) return;
            front.buffer = BufferRef();
            ++first_;
        }
        if (first_ == pieces_.size()) return clear();
        if (first_ >= 64) {  // keeps a queue that never runs empty from growing at its front
            pieces_.erase(pieces_.begin(), pieces_.begin() + static_cast<std::ptrdiff_t>(first_));
            first_ = 0;
        }
    }

    void clear() {
        pieces_.clear();  // its memory stays for the next bytes
        first_ = 0;
        size_ = 0;
        room_ = 0;
    }

private:
    // Copies the beginning of `rest` behind the last piece, as far as that one is ours and has room.
    void append(std::span<char>& rest) {
        const std::size_t count = std::min(room_, rest.size());
        if (count == 0) return;
        std::span<char>& last = pieces_.back().bytes;
        std::memcpy(last.data() + last.size(), rest.data(), count);
        last = {last.data(), last.size() + count};
        rest = rest.subspan(count);
        room_ -= count;
        size_ += count;
    }

    std::vector<Piece> pieces_;
    std::size_t first_ = 0;  // pieces before it have been popped
    std::size_t size_ = 0;   // bytes
    std::size_t room_ = 0;   // free bytes behind the last piece, if its buffer is ours
};
