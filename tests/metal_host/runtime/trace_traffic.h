// How many bytes a launch asks for, and how many of these it could have got together: counts for each buffer.
//
// The unit that a GPU's memory system sees is the access of a simdgroup: one instruction, executed by its lanes in
// step. Here lanes run one after the other. So the accesses of each are collected until the lanes meet, at a simdgroup
// operation, a barrier or the kernel's end; then the n-th access of each lane at one instruction since they last met
// are taken for one simdgroup access. Lanes that do not take a branch are missing from the accesses in it, as on the
// GPU.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "machine.h"
#include "trace_lazy_array.h"

namespace metal_host::trace {

inline constexpr std::size_t bytes_per_line = 128;

// A kind of memory access; atomics that return the old value are both.
enum direction : uint8_t { reads = 1, writes = 2 };

// Of one buffer or of all threadgroup memory in one launch. Each pair: read, written. Python's Traffic mirrors it.
struct traffic_counts {
    uint64_t bytes[2];             // summed over the lanes
    uint64_t simdgroup_bytes[2];   // different ones within each simdgroup access, summed over these
    uint64_t threadgroup_bytes[2]; // different ones within each threadgroup, summed over these
    uint64_t distinct_bytes[2];    // different ones in the whole launch
    uint64_t simdgroup_accesses;
    uint64_t lines; // of 128 bytes, counted from the buffer's start: different ones of each simdgroup access, summed
};

// The traffic of one region of memory.
class region_traffic {
public:
    explicit region_traffic(std::size_t size);

    // A simdgroup access, the part of it in this region: `bytes` over all lanes of which these intervals are distinct.
    void count_access(unsigned directions, uint64_t bytes);
    void count_interval(unsigned directions, std::size_t begin, std::size_t end);
    void count_lines(uint64_t lines) { counts_.lines += lines; }
    void threadgroup_end();

    const traffic_counts& counts() const { return counts_; }

private:
    // Which bytes were accessed, one bit each.
    struct byte_set {
        lazy_array<uint64_t> of_threadgroup; // [size / 64]
        lazy_array<uint64_t> of_launch;      // [size / 64]
        std::vector<uint32_t> touched;       // words of of_threadgroup that are not zero
    };

    traffic_counts counts_{};
    std::array<byte_set, 2> accessed_; // read, written
};

// Collects the accesses of the lanes of one simdgroup until they meet.
class simdgroup_accesses {
public:
    // `region`: an index below 65,536; `location`: where in the kernels' code.
    void add(
        uint32_t lane, int32_t location, uint32_t region, std::size_t offset, std::size_t size, unsigned directions);

    // The lanes have met: counts what was collected, and starts anew.
    void fold(std::vector<region_traffic>& regions);
    void discard();

private:
    // One access of a simdgroup.
    struct column {
        uint64_t instruction;                            // location, size and directions
        uint32_t lane_mask;                              // bit i: lane i takes part
        int32_t previous;                                // this instruction's previous execution: a column, or -1
        std::array<uint64_t, simdgroup_width> addresses; // [lanes] region << 48 | offset
    };

    static uint64_t instruction(int32_t location, std::size_t size, unsigned directions);
    bool is_next_execution(const column& candidate, uint64_t instruction, uint32_t lane) const;
    uint32_t find_or_add_column(uint64_t instruction, uint32_t lane);
    static void fold(const column& access, std::vector<region_traffic>& regions);

    std::vector<column> columns_;
    std::size_t num_columns_ = 0;                         // in use; the others are kept for their memory
    std::array<uint32_t, simdgroup_width> next_column_{}; // [lanes] where the lane's next access most likely belongs
    std::unordered_map<uint64_t, std::vector<uint32_t>> columns_of_; // instruction -> its executions in order
};

} // namespace metal_host::trace
