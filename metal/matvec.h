// One row times a weight matrix: the loop that the projections, the fused qkv projection and the unembedding share.
//
// A threadgroup of 8 simdgroups makes 32 outputs, a simdgroup 4 of them at a time. Activations (fp32) would outweigh
// the weights if every simdgroup read them from memory: 11.5 KB beside the 5.8 KB of one bf16 row of 2,880. So they are
// staged in threadgroup memory, once for 32 rows of weights (6 % of the bytes asked for in bf16, 12 % in 8 bits), and
// from there each value that a lane reads serves 4 rows. Each lane has four 16-byte loads of weights in flight, a
// simdgroup 2 KB, in whole lines of 128 bytes; 16 KB of tile let a core hold more than one threadgroup. More rows a
// simdgroup would leave small matrices (2,880 rows: 90 threadgroups) with too few threadgroups for 40 cores.
//
// RMSNorm rides along: y = rsqrt(mean(x^2) + epsilon) * sum(w * gain * x), so the tile holds gain * x, the squares are
// summed while it is staged, and the scale is applied to the finished sums.
#pragma once

#include "dense_geometry.h"
#include "dense_weights.h"
#include "reduction.h"

namespace gptoss_metal {

// Where a thread is, as matvec needs it.
struct MatvecThread {
    uint index; // in the threadgroup
    uint lane;
    uint simdgroup;
};

// Threadgroup memory of one matvec.
struct MatvecMemory {
    threadgroup float4* tile;    // [kMatvecTileColumns / 4], in the order of tile_slot
    threadgroup float* partials; // [kMatvecThreads / 32]: sums of squares
};

// Where four columns of the tile are. A lane takes kQuadsPerLoad of them for each load of weights; they are stored so
// that for each of these, the 32 lanes read 512 contiguous bytes, without bank conflicts.
template <uint kQuadsPerLoad>
inline uint tile_slot(uint quad) {
    const uint simdgroup_load = quad / (32 * kQuadsPerLoad);
    const uint lane = quad / kQuadsPerLoad % 32;
    const uint part = quad % kQuadsPerLoad;
    return (simdgroup_load * kQuadsPerLoad + part) * 32 + lane;
}

// The products of 4 rows from `first_row` on with the input, in every lane. Rows past the end repeat the last one. All
// threads of the threadgroup must come here. `gain` and `epsilon` are read only with kNormalized.
template <bool kNormalized, class Matrix>
inline float4 matvec(const thread Matrix& matrix,
                     uint num_rows,
                     uint first_row,
                     const device float4* input, // [num_columns / 4]
                     const device uint2* gain,   // bf16 [num_columns]
                     float epsilon,
                     MatvecMemory memory,
                     MatvecThread self) {
    constexpr uint quads_per_load = Matrix::kQuadsPerLoad;
    const uint num_columns = matrix.num_columns;
    uint rows[kMatvecOutputsPerSimdgroup];
#pragma unroll
    for (uint r = 0; r < kMatvecOutputsPerSimdgroup; r++) {
        rows[r] = min(first_row + r, num_rows - 1);
    }

    float squares = 0.0f;
    float4 sums = float4(0.0f);
    for (uint first_column = 0; first_column < num_columns; first_column += kMatvecTileColumns) {
        const uint tile_columns = min(num_columns - first_column, uint(kMatvecTileColumns));
        if (first_column > 0) {
            // Slower simdgroups still read the tile of before.
            threadgroup_barrier(mem_flags::mem_threadgroup);
        }
        for (uint quad = self.index; quad < tile_columns / 4; quad += kMatvecThreads) {
            float4 x = input[first_column / 4 + quad];
            if (kNormalized) {
                squares += dot(x, x);
                x *= bf16x4_to_float(gain[first_column / 4 + quad]);
            }
            memory.tile[tile_slot<quads_per_load>(quad)] = x;
        }
        if (kNormalized) {
            // So far; the last tile's deposit is the whole sum.
            deposit_sum(squares, memory.partials, self.lane, self.simdgroup);
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);
        if (first_row >= num_rows) {
            continue;
        }

        const uint first_load = first_column / Matrix::kColumnsPerLoad;
        const uint num_loads = tile_columns / Matrix::kColumnsPerLoad;
        for (uint i = self.lane; i < num_loads; i += 32) {
            typename Matrix::Load weights[kMatvecOutputsPerSimdgroup];
#pragma unroll
            for (uint r = 0; r < kMatvecOutputsPerSimdgroup; r++) {
                weights[r] = matrix.load(rows[r], first_load + i);
            }
            float4 x[quads_per_load];
#pragma unroll
            for (uint part = 0; part < quads_per_load; part++) {
                x[part] = memory.tile[(i - self.lane) * quads_per_load + part * 32 + self.lane];
            }
#pragma unroll
            for (uint r = 0; r < kMatvecOutputsPerSimdgroup; r++) {
                sums[r] += Matrix::dot(weights[r], x);
            }
        }
    }

    sums = simd_sum(sums);
    if (kNormalized) {
        squares = collect_sum(memory.partials, self.lane, kMatvecThreads / 32);
        sums *= precise::rsqrt(squares / float(num_columns) + epsilon);
    }
    return sums;
}

// The sum of the row that a lane finishes: lanes 0 to 3 one each. (Not sums[lane]: registers have no index.)
inline float lane_sum(float4 sums, uint lane) {
    return lane == 0 ? sums.x : lane == 1 ? sums.y : lane == 2 ? sums.z : sums.w;
}

} // namespace gptoss_metal
