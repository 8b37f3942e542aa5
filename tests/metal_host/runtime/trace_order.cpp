#include "trace_order.h"

namespace metal_host::trace {

void timeline::restart() {
    moments_.clear();
    first_number_ = 1;
    threadgroup_begin(true);
}

void timeline::threadgroup_begin(bool keep_earlier) {
    if (!keep_earlier) {
        // Numbers go on, so that what refers to a forgotten moment can tell.
        first_number_ += static_cast<uint32_t>(moments_.size());
        moments_.clear();
    }
    threadgroup_epoch_ = 0;
    simdgroup_epochs_.fill(0);
    current_.fill(none);
}

void timeline::threadgroup_barrier() {
    ++threadgroup_epoch_;
    current_.fill(none);
}

void timeline::simdgroup_barrier(uint32_t simdgroup) {
    ++simdgroup_epochs_[simdgroup];
    for (uint32_t lane = 0; lane < simdgroup_width; ++lane) {
        current_[simdgroup * simdgroup_width + lane] = none;
    }
}

uint32_t timeline::begin_moment(const thread_state& thread) {
    moments_.push_back({.threadgroup = current_threadgroup().index,
                        .threadgroup_epoch = threadgroup_epoch_,
                        .simdgroup_epoch = simdgroup_epochs_[thread.simdgroup],
                        .simdgroup = static_cast<uint16_t>(thread.simdgroup),
                        .thread = static_cast<uint16_t>(thread.index)});
    const uint32_t number = first_number_ + static_cast<uint32_t>(moments_.size()) - 1;
    current_[thread.index] = number;
    return number;
}

} // namespace metal_host::trace
