#include "trace_traffic.h"

#include <algorithm>
#include <bit>

namespace metal_host::trace {
namespace {

constexpr unsigned region_shift = 48;
constexpr uint64_t offset_mask = (uint64_t{1} << region_shift) - 1;
constexpr unsigned directions_bits = 2;
constexpr unsigned size_bits = 30;

std::size_t size_of(uint64_t instruction) {
    return instruction >> directions_bits & ((uint64_t{1} << size_bits) - 1);
}

unsigned directions_of(uint64_t instruction) {
    return instruction & (reads | writes);
}

} // namespace

region_traffic::region_traffic(std::size_t size) {
    for (byte_set& bytes : accessed_) {
        bytes.of_threadgroup = lazy_array<uint64_t>((size + 63) / 64);
        bytes.of_launch = lazy_array<uint64_t>((size + 63) / 64);
    }
}

void region_traffic::count_access(unsigned directions, uint64_t bytes) {
    ++counts_.simdgroup_accesses;
    for (unsigned i = 0; i < 2; ++i) {
        counts_.bytes[i] += (directions >> i & 1) != 0 ? bytes : 0;
    }
}

void region_traffic::count_interval(unsigned directions, std::size_t begin, std::size_t end) {
    for (unsigned i = 0; i < 2; ++i) {
        if ((directions >> i & 1) == 0) {
            continue;
        }
        counts_.simdgroup_bytes[i] += end - begin;
        byte_set& bytes = accessed_[i];
        for (std::size_t word = begin / 64; word * 64 < end; ++word) {
            const std::size_t first_bit = std::max(begin, word * 64) - word * 64;
            const std::size_t num_bits = std::min(end - word * 64, std::size_t{64}) - first_bit;
            const uint64_t bits = ~uint64_t{0} >> (64 - num_bits) << first_bit;
            uint64_t& known = bytes.of_threadgroup[word];
            if (known == 0) {
                bytes.touched.push_back(static_cast<uint32_t>(word));
            }
            known |= bits;
        }
    }
}

void region_traffic::threadgroup_end() {
    for (unsigned i = 0; i < 2; ++i) {
        for (const uint32_t word : accessed_[i].touched) {
            uint64_t& of_threadgroup = accessed_[i].of_threadgroup[word];
            uint64_t& of_launch = accessed_[i].of_launch[word];
            counts_.threadgroup_bytes[i] += static_cast<uint64_t>(std::popcount(of_threadgroup));
            counts_.distinct_bytes[i] += static_cast<uint64_t>(std::popcount(of_threadgroup & ~of_launch));
            of_launch |= of_threadgroup;
            of_threadgroup = 0;
        }
        accessed_[i].touched.clear();
    }
}

uint64_t simdgroup_accesses::instruction(int32_t location, std::size_t size, unsigned directions) {
    return uint64_t{static_cast<uint32_t>(location)} << (directions_bits + size_bits) | size << directions_bits |
           directions;
}

void simdgroup_accesses::add(
    uint32_t lane, int32_t location, uint32_t region, std::size_t offset, std::size_t size, unsigned directions) {
    const uint64_t executed = instruction(location, size, directions);
    uint32_t index = next_column_[lane];
    if (index >= num_columns_ || !is_next_execution(columns_[index], executed, lane)) {
        index = find_or_add_column(executed, lane);
    }
    columns_[index].lane_mask |= 1u << lane;
    columns_[index].addresses[lane] = uint64_t{region} << region_shift | offset;
    next_column_[lane] = index + 1;
}

bool simdgroup_accesses::is_next_execution(const column& candidate, uint64_t instruction, uint32_t lane) const {
    return candidate.instruction == instruction && (candidate.lane_mask >> lane & 1) == 0 &&
           (candidate.previous < 0 || (columns_[static_cast<uint32_t>(candidate.previous)].lane_mask >> lane & 1) != 0);
}

uint32_t simdgroup_accesses::find_or_add_column(uint64_t instruction, uint32_t lane) {
    std::vector<uint32_t>& executions = columns_of_[instruction];
    // Each lane has taken part in the first so many executions of the instruction, and in none after these.
    const auto next = std::partition_point(executions.begin(), executions.end(), [&](uint32_t index) {
        return (columns_[index].lane_mask >> lane & 1) != 0;
    });
    if (next != executions.end()) {
        return *next;
    }
    if (num_columns_ == columns_.size()) {
        columns_.emplace_back();
    }
    const auto index = static_cast<uint32_t>(num_columns_++);
    columns_[index].instruction = instruction;
    columns_[index].lane_mask = 0;
    columns_[index].previous = executions.empty() ? -1 : static_cast<int32_t>(executions.back());
    executions.push_back(index);
    return index;
}

void simdgroup_accesses::fold(std::vector<region_traffic>& regions) {
    for (std::size_t i = 0; i < num_columns_; ++i) {
        fold(columns_[i], regions);
    }
    discard();
}

void simdgroup_accesses::discard() {
    for (std::size_t i = 0; i < num_columns_; ++i) {
        if (columns_[i].previous < 0) {
            columns_of_[columns_[i].instruction].clear();
        }
    }
    num_columns_ = 0;
    next_column_.fill(0);
}

void simdgroup_accesses::fold(const column& access, std::vector<region_traffic>& regions) {
    std::array<uint64_t, simdgroup_width> sorted;
    std::size_t num_lanes = 0;
    bool is_sorted = true;
    for (uint32_t lanes = access.lane_mask; lanes != 0; lanes &= lanes - 1) {
        sorted[num_lanes] = access.addresses[static_cast<unsigned>(std::countr_zero(lanes))];
        is_sorted = is_sorted && (num_lanes == 0 || sorted[num_lanes - 1] <= sorted[num_lanes]);
        ++num_lanes;
    }
    if (!is_sorted) {
        std::sort(sorted.begin(), sorted.begin() + num_lanes);
    }

    const std::size_t size = size_of(access.instruction);
    const unsigned directions = directions_of(access.instruction);
    for (std::size_t first = 0; first < num_lanes;) {
        const uint64_t region_bits = sorted[first] & ~offset_mask;
        region_traffic& region = regions[region_bits >> region_shift];
        std::size_t last = first; // after the region's last lane
        uint64_t lines = 0;
        uint64_t lines_end = 0; // the lines before this one are counted
        while (last < num_lanes && (sorted[last] & ~offset_mask) == region_bits) {
            const uint64_t begin = sorted[last] & offset_mask;
            uint64_t end = begin + size;
            for (++last; last < num_lanes && sorted[last] <= (region_bits | end); ++last) {
                end = (sorted[last] & offset_mask) + size;
            }
            region.count_interval(directions, begin, end);
            const uint64_t first_line = std::max(begin / bytes_per_line, lines_end);
            lines_end = (end + bytes_per_line - 1) / bytes_per_line;
            lines += lines_end - std::min(first_line, lines_end);
        }
        region.count_access(directions, (last - first) * size);
        region.count_lines(lines);
        first = last;
    }
}

} // namespace metal_host::trace
