// Sorts (row, slot) pairs by the expert that the router chose for them, so that an expert's rows lie side by side.
//
// A stable counting sort in one threadgroup of 512: among the pairs of an expert, the order of rows stays. It needs no
// atomics, so every run gives the same order. Each simdgroup takes a contiguous share of the pairs and each of its
// lanes counts four experts, looking at the pairs one by one; prefix sums over experts and simdgroups turn the counts
// into places, and the same walk again writes the pairs there. 512 rows of 4 experts are 128 pairs for each simdgroup,
// far less work than a single tile of the products that follow.
//
// The list of tiles is what makes the products' grid known to a host that has not seen the counts: at most
// num_pairs / tile_rows + num_experts tiles have rows, and at most num_pairs. The rest of the list says that there is
// nothing to do.
#include <metal_stdlib>

#include "arguments.h"
#include "expert_geometry.h"

using namespace metal;
using namespace gptoss_metal;

// The experts that a lane counts: 4 of them, 32 apart, so that every lane has work with 32 experts, too.
inline uint4 experts_of_lane(uint lane) {
    return lane + uint4(0, 32, 64, 96);
}

// Dispatch one threadgroup.
[[max_total_threads_per_threadgroup(kExpertSortThreads)]] kernel void expert_sort(
    constant ExpertSortArguments& arguments [[buffer(0)]],
    const device uint* expert_ids [[buffer(1)]], // [num_pairs], each below num_experts
    device uint* offsets [[buffer(2)]],          // [num_experts + 1]: each expert's first place in the order
    device uint* permutation [[buffer(3)]],      // [num_pairs]: the pairs in their new order
    device ExpertTile* tiles [[buffer(4)]],      // [num_tiles]
    uint index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    constexpr uint num_simdgroups = kExpertSortThreads / 32;
    threadgroup uint places[num_simdgroups * kExpertSortMaxExperts]; // counts at first, then where the next pair goes
    threadgroup uint first_pairs[kExpertSortMaxExperts + 1];         // of each expert
    threadgroup uint first_tiles[kExpertSortMaxExperts + 1];

    const uint share = (arguments.num_pairs + num_simdgroups - 1) / num_simdgroups;
    const uint begin = min(simdgroup * share, arguments.num_pairs);
    const uint end = min(begin + share, arguments.num_pairs);
    const uint4 own_experts = experts_of_lane(lane);
    threadgroup uint* own_places = places + simdgroup * kExpertSortMaxExperts;

    uint4 counts = uint4(0);
    for (uint first = begin; first < end; first += 32) {
        const uint expert = expert_ids[min(first + lane, end - 1)];
        for (uint i = 0; i < min(end - first, 32u); i++) {
            counts += uint4(own_experts == uint4(simd_broadcast(expert, ushort(i))));
        }
    }
#pragma unroll
    for (uint k = 0; k < 4; k++) {
        own_places[own_experts[k]] = counts[k];
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);

    // One simdgroup adds up; its lanes take four neighbouring experts each.
    if (simdgroup == 0) {
        uint4 num_pairs = uint4(0);
        for (uint s = 0; s < num_simdgroups; s++) {
            const threadgroup uint* counted = places + s * kExpertSortMaxExperts + 4 * lane;
            num_pairs += uint4(counted[0], counted[1], counted[2], counted[3]);
        }
        const uint4 num_tiles = (num_pairs + (arguments.tile_rows - 1)) / arguments.tile_rows;
        uint pair = simd_prefix_exclusive_sum(num_pairs.x + num_pairs.y + num_pairs.z + num_pairs.w);
        uint tile = simd_prefix_exclusive_sum(num_tiles.x + num_tiles.y + num_tiles.z + num_tiles.w);
#pragma unroll
        for (uint k = 0; k < 4; k++) {
            const uint expert = 4 * lane + k;
            first_pairs[expert] = pair;
            first_tiles[expert] = tile;
            for (uint s = 0; s < num_simdgroups; s++) {
                const uint count = places[s * kExpertSortMaxExperts + expert];
                places[s * kExpertSortMaxExperts + expert] = pair;
                pair += count;
            }
            tile += num_tiles[k];
        }
        if (lane == 31) {
            first_pairs[kExpertSortMaxExperts] = pair;
            first_tiles[kExpertSortMaxExperts] = tile;
        }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);

    uint4 next;
#pragma unroll
    for (uint k = 0; k < 4; k++) {
        next[k] = own_places[own_experts[k]];
    }
    for (uint first = begin; first < end; first += 32) {
        const uint expert = expert_ids[min(first + lane, end - 1)];
        for (uint i = 0; i < min(end - first, 32u); i++) {
            const bool4 chosen = own_experts == uint4(simd_broadcast(expert, ushort(i)));
            if (any(chosen)) {
                permutation[chosen.x ? next.x : chosen.y ? next.y : chosen.z ? next.z : next.w] = first + i;
                next += uint4(chosen);
            }
        }
    }

    for (uint expert = index; expert <= arguments.num_experts; expert += kExpertSortThreads) {
        offsets[expert] = first_pairs[expert];
    }
    for (uint expert = simdgroup; expert < arguments.num_experts; expert += num_simdgroups) {
        const uint first_tile = first_tiles[expert];
        for (uint tile = first_tile + lane; tile < first_tiles[expert + 1]; tile += 32) {
            const uint first = first_pairs[expert] + (tile - first_tile) * arguments.tile_rows;
            tiles[tile] = ExpertTile{expert, first, min(arguments.tile_rows, first_pairs[expert + 1] - first)};
        }
    }
    for (uint tile = first_tiles[kExpertSortMaxExperts] + index; tile < arguments.num_tiles;
         tile += kExpertSortThreads) {
        tiles[tile] = ExpertTile{0, 0, 0};
    }
}
