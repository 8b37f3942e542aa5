// The router: norm, logits of up to 128 experts, the best of them, softmax over only these. All in fp32: half logits
// would flip choices, and one flipped choice costs more than everything else that rounds.
//
//     router         one row in a threadgroup of 512: decode and few rows
//     router_tiled   8 rows in a threadgroup of 256, which share every weight that it reads: prefill
//
// Both leave the normalised rows for the experts.
//
// One threadgroup holds all logits of its rows, so the choice needs no second dispatch. That puts a row's whole matrix
// (184 KB for 32 experts of 2,880) through one core; 16 simdgroups with 16-byte loads keep its queues full, and 512
// threads leave 100 registers to each. Normalised rows are staged in threadgroup memory: 16 KB, whole rows up to 4,096
// columns or 512 columns of 8 rows at a time. They are computed from a second reading of the residual, since the scale
// is known only after the first.
//
// Ties go to the lowest expert. Choosing compares integers (sortable_bits), so that even NaN leads to valid experts.
#include <metal_stdlib>

#include "arguments.h"
#include "dense_geometry.h"
#include "dense_weights.h"
#include "function_constants.h"
#include "matvec.h"
#include "reduction.h"

using namespace metal;
using namespace gptoss_metal;

constant uint constant_num_inputs [[function_constant(kProjectionInputs)]];

// Chooses the `num_active` best of the logits and weighs them; by one whole simdgroup, whose lane l has the experts l,
// l + 32, l + 64 and l + 96.
inline void choose_experts(const threadgroup float* logits, // [num_experts]
                           uint num_experts,
                           uint num_active,
                           device uint* experts,  // [num_active]
                           device float* weights, // [num_active]
                           uint lane) {
    constexpr uint experts_per_lane = kRouterMaxExperts / 32;
    constexpr uint none = 0xFFFFFFFFu;
    float logit[experts_per_lane];
    uint candidate[experts_per_lane]; // sortable_bits of the logit; 0 once chosen, or where there is no expert
    uint slot[experts_per_lane];      // where among the chosen, or none
    for (uint i = 0; i < experts_per_lane; i++) {
        const uint expert = lane + 32 * i;
        logit[i] = expert < num_experts ? logits[expert] : 0.0f;
        candidate[i] = expert < num_experts ? sortable_bits(logit[i]) : 0u;
        slot[i] = none;
    }

    for (uint chosen = 0; chosen < num_active; chosen++) {
        uint best = 0;
        for (uint i = 0; i < experts_per_lane; i++) {
            best = max(best, candidate[i]);
        }
        best = simd_max(best);
        uint expert = none;
        for (uint i = experts_per_lane; i-- > 0;) {
            expert = candidate[i] == best ? lane + 32 * i : expert;
        }
        expert = simd_min(expert);
        for (uint i = 0; i < experts_per_lane; i++) {
            if (lane + 32 * i == expert) {
                candidate[i] = 0;
                slot[i] = chosen;
            }
        }
    }

    // The first one chosen has the greatest logit.
    float greatest = -FLT_MAX;
    for (uint i = 0; i < experts_per_lane; i++) {
        greatest = slot[i] != none ? max(greatest, logit[i]) : greatest;
    }
    greatest = simd_max(greatest);
    float exponential[experts_per_lane];
    float sum = 0.0f;
    for (uint i = 0; i < experts_per_lane; i++) {
        exponential[i] = slot[i] != none ? precise::exp(logit[i] - greatest) : 0.0f;
        sum += exponential[i];
    }
    sum = simd_sum(sum);
    for (uint i = 0; i < experts_per_lane; i++) {
        if (slot[i] != none) {
            experts[slot[i]] = lane + 32 * i;
            weights[slot[i]] = exponential[i] / sum;
        }
    }
}

template <uint Rows, uint Threads>
[[max_total_threads_per_threadgroup(kRouterThreads)]] kernel void router(
    constant RouterArguments& arguments [[buffer(0)]],
    const device uint4* weight [[buffer(1)]], // bf16 [num_experts, num_inputs]
    const device ushort* bias [[buffer(3)]],  // bf16 [num_experts]
    const device float4* input [[buffer(4)]], // the residual, [num_rows, num_inputs / 4]
    const device uint2* gain [[buffer(5)]],   // bf16 [num_inputs]
    device uint* experts [[buffer(6)]],       // [num_rows, num_active]
    device float* weights [[buffer(7)]],      // [num_rows, num_active]
    device float4* normalized [[buffer(8)]],  // [num_rows, num_inputs / 4]
    uint threadgroup_index [[threadgroup_position_in_grid]],
    uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    constexpr uint tile_columns = kMatvecTileColumns / Rows;
    constexpr uint num_simdgroups = Threads / 32;
    threadgroup float4 tile[Rows * (kMatvecTileColumns / Rows) / 4]; // [Rows, tile_columns / 4], in tile_slot's order
    threadgroup float logits[Rows * kRouterMaxExperts];
    threadgroup float partials[Threads / 32];
    const uint num_inputs =
        is_function_constant_defined(constant_num_inputs) ? constant_num_inputs : arguments.num_inputs;
    const Bf16Matrix matrix = {weight, num_inputs};

    // For the norm, a row belongs to the simdgroups whose index is the row's, modulo Rows.
    const uint own_row = simdgroup % Rows;
    const uint row = threadgroup_index * Rows + own_row;
    const bool has_row = row < arguments.num_rows;
    const uint own_thread = simdgroup / Rows * 32 + lane;
    constexpr uint own_threads = Threads / Rows;
    input += ulong(row) * (num_inputs / 4);
    normalized += ulong(row) * (num_inputs / 4);

    float squares = 0.0f;
    for (uint quad = own_thread; has_row && quad < num_inputs / 4; quad += own_threads) {
        squares += dot(input[quad], input[quad]);
    }
    deposit_sum(squares, partials, lane, simdgroup);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    squares = simd_sum(lane < num_simdgroups && lane % Rows == own_row ? partials[lane] : 0.0f);
    const float scale = precise::rsqrt(squares / float(num_inputs) + arguments.epsilon);

    for (uint first_column = 0; first_column < num_inputs; first_column += tile_columns) {
        const uint columns = min(num_inputs - first_column, tile_columns);
        if (first_column > 0) {
            // Slower simdgroups still read the tile of before.
            threadgroup_barrier(mem_flags::mem_threadgroup);
        }
        for (uint i = own_thread; i < columns / 4; i += own_threads) {
            const uint quad = first_column / 4 + i;
            float4 x = float4(0.0f);
            if (has_row) {
                x = input[quad] * scale * bf16x4_to_float(gain[quad]);
                normalized[quad] = x;
            }
            tile[own_row * (tile_columns / 4) + tile_slot<Bf16Matrix::kQuadsPerLoad>(i)] = x;
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);

        for (uint expert = simdgroup; expert < arguments.num_experts; expert += num_simdgroups) {
            float sums[Rows] = {};
            for (uint i = lane; i < columns / 8; i += 32) {
                const uint4 eight = matrix.load(expert, first_column / 8 + i);
                for (uint r = 0; r < Rows; r++) {
                    const threadgroup float4* quads = tile + r * (tile_columns / 4) + (i - lane) * 2 + lane;
                    const float4 x[2] = {quads[0], quads[32]};
                    sums[r] += Bf16Matrix::dot(eight, x);
                }
            }
            for (uint r = 0; r < Rows; r++) {
                const float sum = simd_sum(sums[r]);
                if (lane == 0) {
                    threadgroup float& logit = logits[r * kRouterMaxExperts + expert];
                    logit = sum + (first_column == 0 ? bf16_to_float(bias[expert]) : logit);
                }
            }
        }
    }

    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (simdgroup < Rows && has_row) {
        choose_experts(logits + simdgroup * kRouterMaxExperts, arguments.num_experts, arguments.num_active,
                       experts + ulong(row) * arguments.num_active, weights + ulong(row) * arguments.num_active, lane);
    }
}

template [[host_name("router")]] kernel decltype(router<1, kRouterThreads>) router<1, kRouterThreads>;
template [[host_name("router_tiled")]] kernel decltype(router<kRouterTiledRows, kRouterTiledThreads>)
    router<kRouterTiledRows, kRouterTiledThreads>;
