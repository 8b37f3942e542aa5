// Which of two accesses comes first, whatever the schedule: barriers give every access of a thread a moment, and two
// moments are ordered or not.
//
// Metal's rules, as far as kernels here use them:
// - A thread's own accesses are ordered.
// - threadgroup_barrier orders the threads of a threadgroup, simdgroup_barrier the lanes of a simdgroup; each only for
//   the memory that its mem_flags name, and mem_none orders no memory at all.
// - Threadgroups of one launch are never ordered. Simdgroup operations (simd_sum, simd_shuffle...) order no memory, nor
//   do atomics: those of Metal 3.0 are all relaxed.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "machine.h"

namespace metal_host::trace {

enum class address_space : uint8_t { device, threadgroup };
inline constexpr std::size_t num_address_spaces = 2;

// A stretch of one thread's run in which no barrier orders the memory of one address space.
struct moment {
    uint32_t threadgroup;       // index in the grid
    uint32_t threadgroup_epoch; // threadgroup barriers passed
    uint32_t simdgroup_epoch;   // simdgroup barriers passed
    uint16_t simdgroup;
    uint16_t thread; // index in the threadgroup
};

// For accesses of different threads; those of one thread are always ordered.
inline bool are_ordered(const moment& first, const moment& second) {
    if (first.threadgroup != second.threadgroup) {
        return false;
    }
    if (first.thread == second.thread || first.threadgroup_epoch != second.threadgroup_epoch) {
        return true;
    }
    return first.simdgroup == second.simdgroup && first.simdgroup_epoch != second.simdgroup_epoch;
}

// Numbers moments, from 1, in the order in which they are first asked for. One for each address space.
class timeline {
public:
    static constexpr uint32_t none = 0;

    // Forgets everything.
    void restart();
    // A threadgroup starts. Moments of earlier ones are forgotten unless they are to be kept, which device memory
    // needs.
    void threadgroup_begin(bool keep_earlier);
    void threadgroup_barrier();
    void simdgroup_barrier(uint32_t simdgroup);

    // The moment that the running thread is in.
    uint32_t now(const thread_state& thread) {
        const uint32_t known = current_[thread.index];
        return known != none ? known : begin_moment(thread);
    }
    // False for `none` and for moments that are forgotten.
    bool is_known(uint32_t number) const { return number >= first_number_; }
    const moment& at(uint32_t number) const { return moments_[number - first_number_]; }

private:
    uint32_t begin_moment(const thread_state& thread);

    std::vector<moment> moments_; // those with the numbers first_number_...
    uint32_t first_number_ = 1;
    uint32_t threadgroup_epoch_ = 0;
    std::array<uint32_t, 1024 / simdgroup_width> simdgroup_epochs_{}; // [simdgroups]
    std::array<uint32_t, 1024> current_{}; // [threads]: numbers, `none` until first asked for
};

} // namespace metal_host::trace
