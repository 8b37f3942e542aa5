#include "kv_cache.h"

#include <algorithm>

namespace gptoss {

namespace {

// One snapshot of the 20b takes 3 MB (12 sliding blocks, 128 positions, 2 KB each): 96 MB at most.
constexpr size_t kMaxSnapshots = 32;

// Long stretches without an end of a prompt get a snapshot this often, so that a rewind to anywhere re-processes a
// bounded number of tokens.
constexpr size_t kSnapshotInterval = 2048;

constexpr size_t kInitialCapacity = 256;

} // namespace

KvCache::KvCache(std::unique_ptr<KvStorage> storage, size_t window, size_t max_tokens)
    : storage_(std::move(storage)), window_(window), max_tokens_(max_tokens) {}

std::unique_ptr<KvCache> KvCache::clone() const {
    auto copy = std::make_unique<KvCache>(storage_->clone(), window_, max_tokens_);
    copy->num_tokens_ = num_tokens_;
    copy->ring_begin_ = ring_begin_;
    copy->ring_end_ = ring_end_;
    copy->snapshots_ = snapshots_; // immutable, so they can be shared
    return copy;
}

size_t KvCache::num_bytes() const {
    size_t total = storage_->num_bytes();
    for (const Snapshot& snapshot : snapshots_) {
        total += snapshot.rings->num_bytes();
    }
    return total;
}

// The next query, at `position`, sees the window - 1 positions before it, and then itself.
bool KvCache::rings_reach(size_t position) const {
    const size_t first_needed = position - std::min(position, window_ - 1);
    return position == 0 || (first_needed >= ring_begin_ && position <= ring_end_);
}

// A snapshot at p holds `window` positions before p: enough to resume at p, and one position earlier, which is what
// computing the logits of the last token again takes.
const KvCache::Snapshot* KvCache::snapshot_for(size_t position) const {
    for (auto snapshot = snapshots_.rbegin(); snapshot != snapshots_.rend(); ++snapshot) {
        if (snapshot->position <= position + 1) {
            return &*snapshot;
        }
    }
    return nullptr;
}

size_t KvCache::resume_position(size_t position) const {
    if (rings_reach(position)) {
        return position;
    }
    const Snapshot* const snapshot = snapshot_for(position);
    return snapshot == nullptr ? 0 : std::min(snapshot->position, position);
}

void KvCache::rewind(size_t position) {
    const size_t resume = resume_position(position);
    if (!rings_reach(resume)) {
        const Snapshot* const snapshot = snapshot_for(position);
        storage_->restore_rings(*snapshot->rings, snapshot->position);
        ring_end_ = snapshot->position;
        ring_begin_ = ring_end_ - std::min(ring_end_, window_);
    }
    num_tokens_ = resume;
    std::erase_if(snapshots_, [resume](const Snapshot& snapshot) { return snapshot.position > resume; });
}

void KvCache::prepare(size_t count) {
    const size_t end = num_tokens_ + count;
    // Doubling, so that growing costs a constant number of copies per token.
    size_t capacity = kInitialCapacity;
    while (capacity < end) {
        capacity *= 2;
    }
    const size_t num_wanted = std::max(end, std::min(capacity, max_tokens_));
    storage_->reserve(num_wanted);
    num_reserved_ = std::max(num_reserved_, num_wanted);
    // From here on the slots of [num_tokens_, end) may be overwritten, and with them what was a ring's length before.
    // What a ring holds behind num_tokens_ is of a discarded continuation: it is not to be resumed from.
    ring_end_ = end;
    ring_begin_ = std::max(ring_begin_, end - std::min(end, storage_->ring_slots()));
}

void KvCache::commit(size_t count) {
    num_tokens_ += count;
    if (snapshot_is_due(num_tokens_)) {
        take_snapshot();
    }
}

bool KvCache::snapshot_is_due(size_t num_tokens) const {
    const size_t last = snapshots_.empty() ? 0 : snapshots_.back().position;
    return !rings_hold_everything() && num_tokens >= last + kSnapshotInterval;
}

bool KvCache::can_run_ahead(size_t count) const {
    return num_tokens_ + count <= num_reserved_ && !snapshot_is_due(num_tokens_ + count);
}

void KvCache::take_snapshot() {
    if (num_tokens_ == 0 || rings_hold_everything()) {
        return;
    }
    if (!snapshots_.empty() && snapshots_.back().position == num_tokens_) {
        return;
    }
    if (snapshots_.size() == kMaxSnapshots) {
        forget_one_snapshot();
    }
    snapshots_.push_back({num_tokens_, storage_->save_rings(num_tokens_)});
}

// Forgets the snapshot whose absence costs least: the one whose neighbours are closest together.
void KvCache::forget_one_snapshot() {
    size_t cheapest = 0;
    size_t smallest_gap = SIZE_MAX;
    for (size_t i = 0; i < snapshots_.size(); i++) {
        const size_t before = i == 0 ? 0 : snapshots_[i - 1].position;
        const size_t after = i + 1 == snapshots_.size() ? num_tokens_ : snapshots_[i + 1].position;
        if (after - before < smallest_gap) {
            smallest_gap = after - before;
            cheapest = i;
        }
    }
    snapshots_.erase(snapshots_.begin() + static_cast<std::ptrdiff_t>(cheapest));
}

} // namespace gptoss
