// Counted buffers, from a pool, and a queue of bytes that lie in them.
//
// A received block goes from client to client without a copy: a receive fills a buffer, and every queue that must send
// the block holds a reference. Threads: the pool and the count are for any thread; a ByteQueue is its owner's.
#pragma once

#include "01-create-port/winsock.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <mutex>
#include <new>
#include <span>
#include <string_view>
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
    // Memory is short once `plenty` bytes are in use. Nothing fails then, but whoever can should do with less.
    BufferPool(std::size_t smallest, std::size_t largest, std::size_t plenty) : plenty_(plenty) {
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

    std::size_t in_use() const { return in_use_.load(std::memory_order_relaxed); }
    bool is_short() const { return in_use() >= plenty_; }

    // A buffer of at least `size` bytes, or of the largest size. Empty when the system has no memory.
    BufferRef get(std::size_t size) noexcept {
        FreeList& list = list_of(size);
        {
            const std::lock_guard lock(mutex_);
            if (list.first != nullptr) {
                Block* const block = std::exchange(list.first, list.first->next_free);
                --list.count;
                block->references.store(1, std::memory_order_relaxed);
                in_use_.fetch_add(list.size, std::memory_order_relaxed);
                return BufferRef(block);
            }
        }
        void* const memory = ::operator new(sizeof(Block) + list.size, std::nothrow);
        if (memory == nullptr) return BufferRef();
        in_use_.fetch_add(list.size, std::memory_order_relaxed);
        return BufferRef(new (memory) Block{*this, list.size, 1, nullptr});
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
        in_use_.fetch_sub(block->size, std::memory_order_relaxed);
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

    const std::size_t plenty_;
    std::atomic<std::size_t> in_use_{0};
    std::vector<FreeList> lists_;
    std::mutex mutex_;
};

inline BufferRef::~BufferRef() {
    if (block_ != nullptr && block_->references.fetch_sub(1, std::memory_order_acq_rel) == 1) block_->pool.put(block_);
}

inline std::size_t BufferRef::size() const { return block_->size; }

inline std::span<char> BufferRef::bytes() const { return {reinterpret_cast<char*>(block_ + 1), block_->size}; }

// How large the buffer of a connection's next receive is. A receive that filled its buffer has probably left bytes
// behind: the next buffer is larger. But a silent client's receive holds its buffer for as long as it pends: after some
// receives that a smaller one would have held, it is smaller again.
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

// Some bytes of a buffer, and the reference that keeps them; never without one in a queue.
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

    // Both may throw std::bad_alloc; the queue then is as it was, or holds the beginning.
    void push(BufferPool& pool, const Piece& piece) {
        if (piece.bytes.empty()) return;  // it would keep its buffer, and no send would take it out
        if (!empty() && piece.bytes.size() < piece.buffer.size() / 2) {
            return push(pool, std::string_view(piece.bytes.data(), piece.bytes.size()));
        }
        pieces_.push_back(piece);
        room_ = 0;
        size_ += piece.bytes.size();
    }
    // Copies the text.
    void push(BufferPool& pool, std::string_view text) {
        for (append(text); !text.empty(); append(text)) {
            Piece ours{pool.get(std::max(text.size(), size_)), {}};  // the more wait, the larger
            if (!ours.buffer) throw std::bad_alloc();
            ours.bytes = ours.buffer.bytes().first(0);
            pieces_.push_back(std::move(ours));
            room_ = pieces_.back().buffer.size();
        }
    }

    // The first bytes, up to `most`, and as many as `buffers` can name. Returns how many of these were filled.
    std::size_t gather(std::span<WSABUF> buffers, std::size_t most) const {
        std::size_t count = 0;
        for (; count < buffers.size() && first_ + count < pieces_.size() && most > 0; ++count) {
            const std::span<char> bytes = pieces_[first_ + count].bytes;
            const std::size_t taken = std::min(bytes.size(), most);
            buffers[count] = {static_cast<ULONG>(taken), bytes.data()};
            most -= taken;
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
    // Copies the beginning of `text` behind the last piece, as far as that one is ours and has room.
    void append(std::string_view& text) {
        const std::size_t count = std::min(room_, text.size());
        if (count == 0) return;
        std::span<char>& last = pieces_.back().bytes;
        std::memcpy(last.data() + last.size(), text.data(), count);
        last = {last.data(), last.size() + count};
        text.remove_prefix(count);
        room_ -= count;
        size_ += count;
    }

    std::vector<Piece> pieces_;
    std::size_t first_ = 0;  // pieces before it have been popped
    std::size_t size_ = 0;   // bytes
    std::size_t room_ = 0;   // free bytes behind the last piece, if its buffer is ours
};
