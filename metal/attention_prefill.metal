// Attention of many rows of one context: tiles of queries pass over the keys that they see.
//
// A threadgroup has 64 neighbouring vectors of the list of (row, head) in one group: 8 queries with 8 heads each in a
// 20b or 120b, 64 queries where every head has keys of its own. The cache holds the span already, so that a chunk of a
// prompt that continues one is the same case as the first. Tiles of keys that no query of a threadgroup sees are not
// visited: a window of 128 keys costs 5 tiles of 32 for 8 queries (135 keys), however long the context is.
#include <metal_stdlib>

#include "attention_tile.h"
#include "numbers.h"

using namespace metal;
using namespace gptoss_metal;

// 4 simdgroups with 2 blocks of 8 vectors each. A matrix of keys or values that is loaded from threadgroup memory
// serves both blocks, and a staged tile 64 vectors: 32 multiply-adds for each byte of the cache (an M1 Max can do 13
// for each byte of memory; what neighbouring threadgroups read again comes from the second-level cache).
//
// A lane holds 32 registers of queries, 32 of sums, 4 of products and 2 to 6 of operands: about 86 with the softmax, so
// that 19 simdgroups would fit in the 208 KB of a core of M1 to M5; 4 blocks would not fit in the 128 that a thread can
// have. Threadgroup memory is 20 KB, which leaves two or three threadgroups in the 60 KB of a core: while
// one waits at a barrier, others multiply. With 8 simdgroups it would be all of 32 KB, and one threadgroup.
constant constexpr uint num_simdgroups = kAttentionPrefillThreads / 32;
constant constexpr uint num_blocks = kAttentionPrefillVectors / num_simdgroups / block_vectors;
constant constexpr uint simdgroup_vectors = num_blocks * block_vectors;
constant constexpr uint threadgroup_vectors = num_simdgroups * simdgroup_vectors;

// Dispatch threadgroups [ceil(num_rows * heads_per_group / 64), num_kv_heads] of 128 threads.
[[max_total_threads_per_threadgroup(kAttentionPrefillThreads)]] kernel void attention_prefill(
    constant AttentionArguments& arguments [[buffer(0)]],
    device const float* queries [[buffer(1)]], // [num_rows, num_heads, 64], rotated
    device const half* keys [[buffer(2)]],     // [capacity, num_kv_heads, 64]
    device const half* values [[buffer(3)]],   // [capacity, num_kv_heads, 64]
    device const ushort* sinks [[buffer(4)]],  // bf16 [num_heads], logits
    device float* output [[buffer(5)]],        // [num_rows, num_heads, 64]
    uint2 threadgroup_position [[threadgroup_position_in_grid]],
    uint2 threadgroups [[threadgroups_per_grid]],
    uint thread_index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup uint4 staged_keys[staged_tile_size];
    threadgroup uint4 staged_values[staged_tile_size];
    threadgroup float4 scratch[num_simdgroups * num_blocks * (scores_size + corrections_size)];

    // The last queries see the most keys: first, so that no long threadgroup is left over at the end.
    const uint query_tile = threadgroups.x - 1 - threadgroup_position.x;
    const uint kv_head = threadgroup_position.y;
    const uint heads_per_group = arguments.num_heads / arguments.num_kv_heads;
    const uint first_vector = query_tile * threadgroup_vectors;
    const uint own_first_vector = first_vector + simdgroup * simdgroup_vectors;

    const KeyRange range =
        visible_keys_of_vectors(arguments, heads_per_group, first_vector, first_vector + threadgroup_vectors);
    const KeyRange own_range =
        visible_keys_of_vectors(arguments, heads_per_group, own_first_vector, own_first_vector + simdgroup_vectors);
    const uint first_slot = range.first % arguments.capacity;

    threadgroup float4* own_scratch = scratch + simdgroup * num_blocks * (scores_size + corrections_size);
    threadgroup float* scores = (threadgroup float*)own_scratch;
    QueryBlocks<num_blocks> blocks;
    load_queries(blocks, arguments, queries, heads_per_group, kv_head, own_first_vector, own_scratch, lane);

    for (uint first_position = range.first; first_position < range.end; first_position += keys_per_tile) {
        threadgroup_barrier(mem_flags::mem_threadgroup);
        stage_tile<num_simdgroups * 32>(keys, values, staged_keys, staged_values, arguments.num_kv_heads, kv_head,
                                        arguments.capacity, first_slot, first_position - range.first,
                                        min(range.end - first_position, keys_per_tile), thread_index);

        threadgroup_barrier(mem_flags::mem_threadgroup);
        if (first_position < own_range.end && first_position + keys_per_tile > own_range.first) {
            attend_to_tile(blocks, (const threadgroup half*)staged_keys, (const threadgroup half*)staged_values, scores,
                           (threadgroup float*)(own_scratch + num_blocks * scores_size), first_position, lane);
        }
    }

    // The sink is one more column of the softmax, which has no value: it takes its share of the sum.
    float scale[num_blocks];
#pragma unroll
    for (uint block = 0; block < num_blocks; block++) {
        const QueryVector vector =
            query_vector(arguments, heads_per_group, kv_head, own_first_vector + block * block_vectors + lane / 4);
        const float sink = vector.exists ? bf16_to_float(sinks[vector.head]) : 0.0f;
        const float largest = max(blocks.running_max[block], sink);
        const float correction = precise::exp(blocks.running_max[block] - largest);
        scale[block] =
            correction / (sum_of_vector(blocks.running_sum[block]) * correction + precise::exp(sink - largest));
    }
#pragma unroll
    for (uint half_index = 0; half_index < 2; half_index++) {
        unload_weighted_values(blocks, half_index, scores);
#pragma unroll
        for (uint block = 0; block < num_blocks; block++) {
            const QueryVector vector =
                query_vector(arguments, heads_per_group, kv_head, own_first_vector + block * block_vectors + lane / 4);
            if (vector.exists) {
                const threadgroup float4* source = weighted_values_of_lane(scores, block, lane);
                device float4* target =
                    (device float4*)(output + (ulong(vector.row) * arguments.num_heads + vector.head) * head_size);
                target[half_index * 8 + lane % 4 * 2] = source[0] * scale[block];
                target[half_index * 8 + lane % 4 * 2 + 1] = source[1] * scale[block];
            }
        }
    }
}
