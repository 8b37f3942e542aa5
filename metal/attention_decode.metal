// Attention of few rows (1 to 31) of one context over its whole cache: keys are divided into splits, so that one row
// keeps the whole GPU busy (Dao et al., Flash-Decoding, 2023), and a second kernel merges the splits and adds the sink.
//
// One key and value is read once for all query heads of its group, and in the forms for several rows for all rows of
// a threadgroup, too: verifying 8 drafted tokens with 8 heads a group reads the cache once. Rows of different contexts
// have different caches: launches of their own, without barriers between them. Everything is fp32 but the cache.
//
// Splits are the host's choice. Each reads its queries and writes its sums, 4 KB together for 8 heads, and a key and
// its value are 256 bytes, so splits of 256 keys cost 6 % more traffic, and their merge 4 %. At 8,192 keys with 8
// key/value heads, that is 256 simdgroups. Short windows want smaller ones, down to a tile of 32 keys: an M1 has 8 GPU
// cores, an M3 Ultra 80.
#include <metal_stdlib>

#include "attention_tile.h"
#include "numbers.h"

using namespace metal;
using namespace gptoss_metal;

// Every simdgroup has one block of 8 vectors; all of them share each staged tile. A lane holds 16 registers of queries,
// 16 of sums and 2 to 4 of products, so registers do not limit occupancy; threadgroup memory does: 10.6 KB with one
// simdgroup, which leaves 5 of them in the 60 KB of a core of M1 to M5, with 8 KB of keys and values on their way for
// each. That is several times what latency (about 500 cycles) and bandwidth (10 bytes a cycle and core) need.
//
// Dispatch threadgroups [splits, num_kv_heads, ceil(num_rows * heads_per_group / (8 num_simdgroups))].
template <uint num_simdgroups>
[[max_total_threads_per_threadgroup(kAttentionDecodeMaxThreads)]] kernel void attention_decode(
    constant AttentionArguments& arguments [[buffer(0)]],
    device const float* queries [[buffer(1)]],          // [num_rows, num_heads, 64], rotated
    device const half* keys [[buffer(2)]],              // [capacity, num_kv_heads, 64]
    device const half* values [[buffer(3)]],            // [capacity, num_kv_heads, 64]
    device float* split_values [[buffer(4)]],           // [num_rows, num_heads, splits, 64]
    device float2* split_maxima_and_sums [[buffer(5)]], // [num_rows, num_heads, splits]
    uint3 threadgroup_position [[threadgroup_position_in_grid]],
    uint3 threadgroups [[threadgroups_per_grid]],
    uint thread_index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup uint4 staged_keys[staged_tile_size];
    threadgroup uint4 staged_values[staged_tile_size];
    threadgroup float4 scratch[num_simdgroups * (scores_size + corrections_size)];

    const uint split = threadgroup_position.x;
    const uint num_splits = threadgroups.x;
    const uint kv_head = threadgroup_position.y;
    const uint heads_per_group = arguments.num_heads / arguments.num_kv_heads;
    const uint first_vector = threadgroup_position.z * num_simdgroups * block_vectors;
    const uint own_first_vector = first_vector + simdgroup * block_vectors;

    const KeyRange range = visible_keys_of_vectors(arguments, heads_per_group, first_vector,
                                                   first_vector + num_simdgroups * block_vectors);
    const KeyRange own_range =
        visible_keys_of_vectors(arguments, heads_per_group, own_first_vector, own_first_vector + block_vectors);
    const uint num_tiles = (range.end - range.first + keys_per_tile - 1) / keys_per_tile;
    const uint first_tile = num_tiles * split / num_splits;
    const uint end_tile = num_tiles * (split + 1) / num_splits;
    const uint first_slot = range.first % arguments.capacity;

    threadgroup float4* own_scratch = scratch + simdgroup * (scores_size + corrections_size);
    threadgroup float* scores = (threadgroup float*)own_scratch;
    QueryBlocks<1> blocks;
    load_queries(blocks, arguments, queries, heads_per_group, kv_head, own_first_vector, own_scratch, lane);

    for (uint tile = first_tile; tile < end_tile; tile++) {
        const uint first_position = range.first + tile * keys_per_tile;
        threadgroup_barrier(mem_flags::mem_threadgroup);
        stage_tile<num_simdgroups * 32>(keys, values, staged_keys, staged_values, arguments.num_kv_heads, kv_head,
                                        arguments.capacity, first_slot, tile * keys_per_tile,
                                        min(range.end - first_position, keys_per_tile), thread_index);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        if (first_position < own_range.end && first_position + keys_per_tile > own_range.first) {
            attend_to_tile(blocks, (const threadgroup half*)staged_keys, (const threadgroup half*)staged_values, scores,
                           (threadgroup float*)(own_scratch + scores_size), first_position, lane);
        }
    }

    const QueryVector vector = query_vector(arguments, heads_per_group, kv_head, own_first_vector + lane / 4);
    const ulong index = (ulong(vector.row) * arguments.num_heads + vector.head) * num_splits + split;
    const float sum = sum_of_vector(blocks.running_sum[0]);
    if (vector.exists && lane % 4 == 0) {
        split_maxima_and_sums[index] = float2(blocks.running_max[0], sum);
    }
#pragma unroll
    for (uint half_index = 0; half_index < 2; half_index++) {
        unload_weighted_values(blocks, half_index, scores);
        if (vector.exists) {
            const threadgroup float4* source = weighted_values_of_lane(scores, 0, lane);
            device float4* target = (device float4*)(split_values + index * head_size) + half_index * 8 + lane % 4 * 2;
            target[0] = source[0];
            target[1] = source[1];
        }
    }
}

// By the vectors that a threadgroup has: 8 for one row of a 20b or 120b, 32 and 64 for 2 to 4 and for more rows.
template [[host_name("attention_decode_8")]] kernel decltype(attention_decode<1>) attention_decode<1>;
template [[host_name("attention_decode_32")]] kernel decltype(attention_decode<4>) attention_decode<4>;
template [[host_name("attention_decode_64")]] kernel decltype(attention_decode<8>) attention_decode<8>;

constant constexpr uint combine_simdgroups = kAttentionCombineThreads / 32;

// Merges the splits of one query vector. The sink is one more column of its softmax, which has no value: it takes its
// share of the sum, once. A split without visible keys has the sum 0, so that its maximum does not matter.
//
// Dispatch threadgroups [num_heads, num_rows] of 4 simdgroups, each of which takes every fourth pair of splits: the 16
// lanes of half a simdgroup read the 256 bytes of one.
[[max_total_threads_per_threadgroup(kAttentionCombineThreads)]] kernel void attention_combine(
    constant AttentionCombineArguments& arguments [[buffer(0)]],
    device const float4* split_values [[buffer(1)]],          // [num_rows, num_heads, splits, 16]
    device const float2* split_maxima_and_sums [[buffer(2)]], // [num_rows, num_heads, splits]
    device const ushort* sinks [[buffer(3)]],                 // bf16 [num_heads], logits
    device float4* output [[buffer(4)]],                      // [num_rows, num_heads, 16]
    uint2 threadgroup_position [[threadgroup_position_in_grid]],
    uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup float4 partial_sums[combine_simdgroups * 16];

    const uint vector = threadgroup_position.y * arguments.num_heads + threadgroup_position.x;
    const uint num_splits = arguments.num_splits;
    const float sink = bf16_to_float(sinks[threadgroup_position.x]);
    split_values += ulong(vector) * num_splits * 16;
    split_maxima_and_sums += ulong(vector) * num_splits;

    float largest = sink;
    for (uint split = lane; split < num_splits; split += 32) {
        largest = max(largest, split_maxima_and_sums[split].x);
    }
    largest = simd_max(largest);

    float sum = lane == 0 ? precise::exp(sink - largest) : 0.0f;
    for (uint split = lane; split < num_splits; split += 32) {
        const float2 maximum_and_sum = split_maxima_and_sums[split];
        sum += maximum_and_sum.y * precise::exp(maximum_and_sum.x - largest);
    }
    sum = simd_sum(sum);

    float4 weighted = float4(0.0f);
    for (uint split = simdgroup * 2 + lane / 16; split < num_splits; split += combine_simdgroups * 2) {
        weighted += precise::exp(split_maxima_and_sums[split].x - largest) * split_values[split * 16 + lane % 16];
    }
    weighted += simd_shuffle_xor(weighted, 16);
    if (lane < 16) {
        partial_sums[simdgroup * 16 + lane] = weighted;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (simdgroup == 0 && lane < 16) {
        for (uint other = 1; other < combine_simdgroups; other++) {
            weighted += partial_sums[other * 16 + lane];
        }
        output[ulong(vector) * 16 + lane] = weighted / sum;
    }
}
