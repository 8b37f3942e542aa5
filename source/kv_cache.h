// The key/value cache of one context: which positions it holds, and how far it can rewind.
//
// Full-attention blocks keep every position. Sliding blocks keep a ring: only the last positions survive, so that a
// rewind further than the ring is long needs what was overwritten. The cache therefore keeps snapshots of the rings'
// last window at positions where callers are likely to return to: where a prompt's processing ended, and at intervals
// during long stretches. A rewind resumes exactly, at the position itself or at the nearest snapshot before it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace gptoss {

// A copy of the last window of every sliding block's ring, in the memory of a backend.
class RingSnapshot {
public:
    virtual ~RingSnapshot() = default;
    virtual size_t num_bytes() const = 0;
};

// Where a backend keeps keys and values. Positions are absolute; slots and layouts are the backend's business.
class KvStorage {
public:
    virtual ~KvStorage() = default;

    // Makes room for positions [0, num_tokens): all of them in the full-attention blocks, and the last ring_slots() of
    // them in the rings. Content is kept.
    virtual void reserve(size_t num_tokens) = 0;
    // Slots of every ring: the last ring_slots() positions that were written are intact.
    virtual size_t ring_slots() const = 0;
    // Copies the ring positions [max(0, end - window), end), which must be intact.
    virtual std::shared_ptr<const RingSnapshot> save_rings(size_t end) const = 0;
    virtual void restore_rings(const RingSnapshot& snapshot, size_t end) = 0;
    // An independent copy.
    virtual std::unique_ptr<KvStorage> clone() const = 0;
    virtual size_t num_bytes() const = 0;
};

class KvCache {
public:
    // max_tokens: the context's limit; window: keys that a query of a sliding block sees, itself included.
    KvCache(std::unique_ptr<KvStorage> storage, size_t window, size_t max_tokens);

    // An independent copy.
    std::unique_ptr<KvCache> clone() const;

    // Positions [0, num_tokens()) are processed.
    size_t num_tokens() const { return num_tokens_; }
    size_t num_bytes() const;
    KvStorage& storage() { return *storage_; }

    // The last position, at most `position`, where processing can go on exactly after a rewind; position <=
    // num_tokens().
    size_t resume_position(size_t position) const;

    // Drops everything from resume_position(position) on.
    void rewind(size_t position);

    // Makes room for `count` more tokens, whose keys and values the backend may write from now on. They count once
    // they are committed; a batch that fails in between leaves the cache as if it had not begun.
    void prepare(size_t count);
    void commit(size_t count);

    // Whether `count` more tokens fit what was reserved before, and committing them takes no snapshot: then work on
    // tokens that were prepared already may be in flight meanwhile, because the storage is neither moved nor copied.
    bool can_run_ahead(size_t count) const;

    // Remembers the rings as they are at num_tokens().
    void take_snapshot();

private:
    struct Snapshot {
        size_t position;
        std::shared_ptr<const RingSnapshot> rings;
    };

    // Then they can always rewind.
    bool rings_hold_everything() const { return max_tokens_ <= storage_->ring_slots(); }
    bool snapshot_is_due(size_t num_tokens) const;
    bool rings_reach(size_t position) const;
    const Snapshot* snapshot_for(size_t position) const;
    void forget_one_snapshot();

    std::unique_ptr<KvStorage> storage_;
    size_t window_;
    size_t max_tokens_;
    size_t num_tokens_ = 0;
    size_t num_reserved_ = 0; // positions that the storage was asked to make room for
    // Ring positions [ring_begin_, ring_end_) are intact. ring_end_ exceeds num_tokens_ after a failed batch.
    size_t ring_begin_ = 0;
    size_t ring_end_ = 0;
    std::vector<Snapshot> snapshots_; // ascending positions
};

} // namespace gptoss
