// What decode and prefill attention share: a tile of keys and values in threadgroup memory, and one simdgroup's queries
// that take it in (online softmax: Milakov and Gimelshein, 2018; Dao et al., FlashAttention, 2022).
//
// The query heads of one key/value head's group, in all rows of a span, are one list of vectors: number
// row * heads_per_group + head. Attention is two matrix products on that list, whatever mixture of rows and heads a
// piece of it has, so one kernel serves any number of heads. Eight neighbouring vectors are a block: the height of a
// simdgroup matrix. In elementwise steps, 4 neighbouring lanes have one vector of it, and 8 of its elements each.
//
// Why simdgroup matrices even for a single row, where a group of 8 heads is all that shares a key: they spread the
// queries and the weighted sums over the lanes without shuffles (32 registers a lane and block; 128 otherwise), and at
// 8 heads they do a third of what the ALUs of an M1 Max can do while that much cache arrives from memory.
//
// No function constants: the loops over keys have no bound and no division that a known model would make simpler.
#pragma once

#include <metal_stdlib>

#include "arguments.h"
#include "attention_geometry.h"
#include "kv_cache.h"

namespace gptoss_metal {

using namespace metal;

// A tile: 32 keys, so that the 4 lanes of a vector have two float4 of scores each and every step uses all lanes.
// Rows in threadgroup memory are padded by 16 bytes: the 8 rows of a matrix that is loaded then lie in different banks.
constant constexpr uint keys_per_tile = kAttentionKeysPerTile;
constant constexpr uint key_stride = 72;   // halfs from one staged key (or value) to the next: 64 and padding
constant constexpr uint score_stride = 36; // floats from one vector's scores to the next: 32 and padding
constant constexpr uint block_vectors = 8;
constant constexpr uint matrices_per_head = head_size / 8;

// Threadgroup memory, in units of 16 bytes.
constant constexpr uint staged_tile_size = keys_per_tile * key_stride / 8;    // of keys, and as much of values
constant constexpr uint scores_size = block_vectors * score_stride / 4;       // of one block
constant constexpr uint corrections_size = block_vectors * block_vectors / 4; // of one block: a diagonal matrix

// What a masked score is. Finite, because fast-math may assume that there are no infinities; no difference of it and
// a score overflows.
constant constexpr float masked_score = -1e38f;

struct KeyRange {
    uint first; // position
    uint end;   // position after the last; first >= end: none
};

// What the query of a row sees.
inline KeyRange visible_keys(constant AttentionArguments& arguments, uint row) {
    const uint end = arguments.first_position + row + 1;
    const bool slid = arguments.window != 0 && end > arguments.window;
    return KeyRange{slid ? end - arguments.window : 0, end};
}

// What the vectors [first, end) of the list see between them. None if they are beyond its end.
inline KeyRange visible_keys_of_vectors(constant AttentionArguments& arguments,
                                        uint heads_per_group,
                                        uint first,
                                        uint end) {
    const uint num_vectors = arguments.num_rows * heads_per_group;
    if (first >= num_vectors) {
        return KeyRange{0, 0};
    }
    const uint last = min(end, num_vectors) - 1;
    return KeyRange{visible_keys(arguments, first / heads_per_group).first,
                    visible_keys(arguments, last / heads_per_group).end};
}

// Copies one tile: `num_keys` keys and values, the first of which is `distance` slots after `first_slot`, and zeros
// after them. Zeros, because slots that no key was written to may hold NaN, and 0 * NaN would reach the sums of masked
// keys. 8 lanes read a key, a whole line.
template <uint num_threads>
inline void stage_tile(device const half* keys,        // [capacity, num_kv_heads, 64]
                       device const half* values,      // [capacity, num_kv_heads, 64]
                       threadgroup uint4* staged_keys, // [32, 9], of which 8 are used
                       threadgroup uint4* staged_values,
                       uint num_kv_heads,
                       uint kv_head,
                       uint capacity,
                       uint first_slot,
                       uint distance,
                       uint num_keys,
                       uint thread_index) {
    constexpr uint pieces_per_key = head_size / 8;
#pragma unroll
    for (uint piece = thread_index; piece < keys_per_tile * pieces_per_key; piece += num_threads) {
        const uint key = piece / pieces_per_key;
        const uint part = piece % pieces_per_key;
        uint4 key_piece = uint4(0);
        uint4 value_piece = uint4(0);
        if (key < num_keys) {
            const ulong offset = cache_offset(slot_after(first_slot, distance + key, capacity), num_kv_heads, kv_head);
            key_piece = ((device const uint4*)(keys + offset))[part];
            value_piece = ((device const uint4*)(values + offset))[part];
        }
        staged_keys[key * (key_stride / 8) + part] = key_piece;
        staged_values[key * (key_stride / 8) + part] = value_piece;
    }
}

// One vector of the list.
struct QueryVector {
    uint row;
    uint head;   // of all query heads
    bool exists; // false beyond the end of the list
};

inline QueryVector query_vector(constant AttentionArguments& arguments,
                                uint heads_per_group,
                                uint kv_head,
                                uint index) {
    const uint row = index / heads_per_group;
    const uint head = kv_head * heads_per_group + index % heads_per_group;
    return QueryVector{row, head, row < arguments.num_rows};
}

// Queries and probabilities are float: rounded to half, they move the logits by several thousandths. Matrices of float
// are multiplied with those of half (Metal takes operands of different types), and products are summed in float. The
// blocks of one simdgroup share each matrix of keys and values that is loaded.
template <uint num_blocks>
struct QueryBlocks {
    simdgroup_float8x8 queries[num_blocks][matrices_per_head];
    simdgroup_float8x8 weighted_values[num_blocks][matrices_per_head]; // sums of exp(score - running_max) * value
    KeyRange range[num_blocks];                                        // what this lane's vector sees
    float running_max[num_blocks];                                     // of this lane's vector
    float running_sum[num_blocks]; // of exp(score - running_max), of this lane's keys only: a quarter of its vector's
};

// Reads the vectors from `first_vector` on, by way of `scratch` (scores_size for each block): vectors are in matrices
// by eights, but the list is contiguous in memory only where it does not cross from one row to the next.
template <uint num_blocks>
inline void load_queries(thread QueryBlocks<num_blocks>& blocks,
                         constant AttentionArguments& arguments,
                         device const float* queries, // [num_rows, num_heads, 64]
                         uint heads_per_group,
                         uint kv_head,
                         uint first_vector,
                         threadgroup float4* scratch,
                         uint lane) {
    constexpr uint half_head = head_size / 2;
    constexpr uint stride = half_head + 4;
    threadgroup float* staged = (threadgroup float*)scratch; // [num_blocks * 8, stride]
#pragma unroll
    for (uint half_index = 0; half_index < 2; half_index++) {
        simdgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
        for (uint block = 0; block < num_blocks; block++) {
            const uint row_of_block = block * block_vectors + lane / 4;
            const QueryVector vector = query_vector(arguments, heads_per_group, kv_head, first_vector + row_of_block);
            float4 elements[2] = {float4(0), float4(0)};
            if (vector.exists) {
                device const float4* source =
                    (device const float4*)(queries +
                                           (ulong(vector.row) * arguments.num_heads + vector.head) * head_size +
                                           half_index * half_head);
                elements[0] = source[lane % 4 * 2];
                elements[1] = source[lane % 4 * 2 + 1];
            }
            threadgroup float4* target = (threadgroup float4*)(staged + row_of_block * stride);
            target[lane % 4 * 2] = elements[0];
            target[lane % 4 * 2 + 1] = elements[1];
        }
        simdgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
        for (uint block = 0; block < num_blocks; block++) {
#pragma unroll
            for (uint i = 0; i < matrices_per_head / 2; i++) {
                simdgroup_load(blocks.queries[block][half_index * matrices_per_head / 2 + i],
                               staged + block * block_vectors * stride + i * 8, stride);
            }
        }
    }
#pragma unroll
    for (uint block = 0; block < num_blocks; block++) {
        const uint vector = first_vector + block * block_vectors + lane / 4;
        blocks.range[block] = visible_keys_of_vectors(arguments, heads_per_group, vector, vector + 1);
        blocks.running_max[block] = masked_score;
        blocks.running_sum[block] = 0.0f;
#pragma unroll
        for (uint i = 0; i < matrices_per_head; i++) {
            blocks.weighted_values[block][i] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
        }
    }
}

// scores[vector][key] of one staged tile, 8 x 32 for every block, into threadgroup memory.
template <uint num_blocks>
inline void multiply_keys(thread QueryBlocks<num_blocks>& blocks,
                          const threadgroup half* staged_keys, // [32, key_stride]
                          threadgroup float* scores) {         // [num_blocks * 8, score_stride]
#pragma unroll
    for (uint key = 0; key < keys_per_tile; key += 8) {
        simdgroup_float8x8 products[num_blocks];
#pragma unroll
        for (uint block = 0; block < num_blocks; block++) {
            products[block] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
        }
#pragma unroll
        for (uint i = 0; i < matrices_per_head; i++) {
            simdgroup_half8x8 key_matrix; // transposed: [element of the head, key]
            simdgroup_load(key_matrix, staged_keys + key * key_stride + i * 8, key_stride, ulong2(0), true);
#pragma unroll
            for (uint block = 0; block < num_blocks; block++) {
                simdgroup_multiply_accumulate(products[block], blocks.queries[block][i], key_matrix, products[block]);
            }
        }
#pragma unroll
        for (uint block = 0; block < num_blocks; block++) {
            simdgroup_store(products[block], scores + block * block_vectors * score_stride + key, score_stride);
        }
    }
}

// Turns one block's scores into exp(score - new maximum), 0 for masked keys, and adds them to the running sum. Returns
// the factor by which older sums have to be multiplied, because they are relative to the old maximum.
template <uint num_blocks>
inline float scores_to_probabilities(thread QueryBlocks<num_blocks>& blocks,
                                     uint block,
                                     threadgroup float* scores, // [8, score_stride], of this block
                                     uint first_position,       // of the tile
                                     uint lane) {
    threadgroup float4* mine = (threadgroup float4*)(scores + lane / 4 * score_stride + lane % 4 * 8);
    const KeyRange range = blocks.range[block];
    const uint4 position = uint4(first_position + lane % 4 * 8) + uint4(0, 1, 2, 3);

    const bool4 visible[2] = {position >= range.first && position < range.end,
                              position + 4 >= range.first && position + 4 < range.end};
    float4 score[2];
    float tile_max = masked_score;
#pragma unroll
    for (uint i = 0; i < 2; i++) {
        score[i] = select(float4(masked_score), mine[i], visible[i]);
        tile_max = max(tile_max, max(max(score[i].x, score[i].y), max(score[i].z, score[i].w)));
    }
    tile_max = max(tile_max, simd_shuffle_xor(tile_max, 1));
    tile_max = max(tile_max, simd_shuffle_xor(tile_max, 2));

    const float old_max = blocks.running_max[block];
    const float new_max = max(old_max, tile_max);
    // Metal's fast exponential may be off by 3 + 2 |x| units in the last place (its specification, table of relative
    // errors under fast-math): 3e-6 at -10, which fp32 would show.
    const float correction = precise::exp(old_max - new_max);
    float sum = 0.0f;
#pragma unroll
    for (uint i = 0; i < 2; i++) {
        // In the place of the scores that they are made of, so that each lane overwrites its own only.
        const float4 probability = select(float4(0.0f), precise::exp(score[i] - new_max), visible[i]);
        mine[i] = probability;
        sum += (probability.x + probability.y) + (probability.z + probability.w);
    }
    blocks.running_sum[block] = blocks.running_sum[block] * correction + sum;
    blocks.running_max[block] = new_max;
    return correction;
}

// Takes in one staged tile, whose first key has `first_position`. All keys of the tile that a vector does not see are
// masked, wherever they are. `scores` is scratch memory of scores_size for each block, `corrections` of
// corrections_size.
template <uint num_blocks>
inline void attend_to_tile(thread QueryBlocks<num_blocks>& blocks,
                           const threadgroup half* staged_keys,   // [32, key_stride]
                           const threadgroup half* staged_values, // [32, key_stride]
                           threadgroup float* scores,             // [num_blocks * 8, score_stride]
                           threadgroup float* corrections,        // [num_blocks, 8, 8]
                           uint first_position,
                           uint lane) {
    multiply_keys(blocks, staged_keys, scores);
    simdgroup_barrier(mem_flags::mem_threadgroup);

    bool corrected[num_blocks];
#pragma unroll
    for (uint block = 0; block < num_blocks; block++) {
        const float correction =
            scores_to_probabilities(blocks, block, scores + block * block_vectors * score_stride, first_position, lane);
        // The rows of a matrix are scaled by multiplying with a diagonal one, as which lane has which element is not
        // documented. Maxima settle after a few tiles, and then nothing is to be scaled.
        corrected[block] = simd_any(correction != 1.0f);
        if (corrected[block]) {
            const uint column = lane % 4 * 2;
            ((threadgroup float2*)corrections)[block * 32 + lane] =
                float2(column == lane / 4 ? correction : 0.0f, column + 1 == lane / 4 ? correction : 0.0f);
        }
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);

#pragma unroll
    for (uint block = 0; block < num_blocks; block++) {
        if (corrected[block]) {
            simdgroup_float8x8 diagonal;
            simdgroup_load(diagonal, corrections + block * block_vectors * block_vectors, block_vectors);
#pragma unroll
            for (uint i = 0; i < matrices_per_head; i++) {
                simdgroup_float8x8 scaled;
                simdgroup_multiply(scaled, diagonal, blocks.weighted_values[block][i]);
                blocks.weighted_values[block][i] = scaled;
            }
        }
    }
#pragma unroll
    for (uint key = 0; key < keys_per_tile / 8; key++) {
        simdgroup_float8x8 probability[num_blocks];
#pragma unroll
        for (uint block = 0; block < num_blocks; block++) {
            simdgroup_load(probability[block], scores + block * block_vectors * score_stride + key * 8, score_stride);
        }
#pragma unroll
        for (uint i = 0; i < matrices_per_head; i++) {
            simdgroup_half8x8 value_matrix;
            simdgroup_load(value_matrix, staged_values + key * 8 * key_stride + i * 8, key_stride);
#pragma unroll
            for (uint block = 0; block < num_blocks; block++) {
                simdgroup_multiply_accumulate(blocks.weighted_values[block][i], probability[block], value_matrix,
                                              blocks.weighted_values[block][i]);
            }
        }
    }
}

// The sum over all keys of this lane's vector.
inline float sum_of_vector(float running_sum) {
    const float pairs = running_sum + simd_shuffle_xor(running_sum, 1);
    return pairs + simd_shuffle_xor(pairs, 2);
}

// Leaves half of each vector's weighted values, 32 elements, in `scratch` for an elementwise step, in which every lane
// finds 8 elements of its vector in two float4 at weighted_values_of_lane().
template <uint num_blocks>
inline void unload_weighted_values(thread QueryBlocks<num_blocks>& blocks,
                                   uint half_index,
                                   threadgroup float* scratch) { // [num_blocks * 8, score_stride]
    simdgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
    for (uint block = 0; block < num_blocks; block++) {
#pragma unroll
        for (uint i = 0; i < matrices_per_head / 2; i++) {
            simdgroup_store(blocks.weighted_values[block][half_index * matrices_per_head / 2 + i],
                            scratch + block * block_vectors * score_stride + i * 8, score_stride);
        }
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
}

inline const threadgroup float4* weighted_values_of_lane(const threadgroup float* scratch, uint block, uint lane) {
    const uint vector = block * block_vectors + lane / 4;
    return (const threadgroup float4*)(scratch + vector * score_stride + lane % 4 * 8);
}

} // namespace gptoss_metal
