// Where an expert's matrix is, and how lanes hold the activations that it is multiplied with.
#pragma once

#include <metal_stdlib>

#include "arguments.h"
#include "function_constants.h"

namespace gptoss_metal {

using namespace metal;

constant uint constant_expert_inputs [[function_constant(kExpertInputs)]];
constant uint constant_expert_outputs [[function_constant(kExpertOutputs)]];
constant uint constant_expert_active [[function_constant(kExpertActive)]];

struct ExpertShape {
    uint num_inputs;  // a multiple of 32
    uint num_outputs; // a multiple of 32
    uint num_active;
};

// The pipeline's shape where it was specialised for one, or else the arguments'.
inline ExpertShape expert_shape(constant ExpertArguments& arguments) {
    return {is_function_constant_defined(constant_expert_inputs) ? constant_expert_inputs : arguments.num_inputs,
            is_function_constant_defined(constant_expert_outputs) ? constant_expert_outputs : arguments.num_outputs,
            is_function_constant_defined(constant_expert_active) ? constant_expert_active : arguments.num_active};
}

struct ExpertMatrix {
    const device uint4* blocks; // [num_outputs, num_blocks], 32 codes each
    const device uchar* scales; // [num_outputs, num_blocks]
    const device ushort* bias;  // bf16 [num_outputs]
    uint num_blocks;            // of a row: num_inputs / 32
};

inline ExpertMatrix expert_matrix(const device uchar* experts, // bytes [num_experts, expert_stride]
                                  constant ExpertArguments& arguments,
                                  uint expert,
                                  uint num_inputs) {
    const device uchar* start = experts + ulong(expert) * arguments.expert_stride;
    return {(const device uint4*)(start + arguments.blocks_offset), start + arguments.scales_offset,
            (const device ushort*)(start + arguments.bias_offset), num_inputs / 32};
}

// Transposes as many registers of neighbouring lanes as there are lanes in a group, 4 or 8: register k of a group's
// lane m gets what register m of its lane k had.
template <uint kNumLanes, class T>
inline void transpose_among_lanes(thread T* values, uint lane) { // [kNumLanes]
#pragma unroll
    for (uint bit = 1; bit < kNumLanes; bit *= 2) {
        const bool upper = (lane & bit) != 0;
#pragma unroll
        for (uint i = 0; i < kNumLanes; i++) {
            if ((i & bit) == 0) {
                const T received = simd_shuffle_xor(upper ? values[i] : values[i | bit], ushort(bit));
                if (upper) {
                    values[i] = received;
                } else {
                    values[i | bit] = received;
                }
            }
        }
    }
}

// Loads one block of 32 activations into each lane, of the `num_lanes` blocks from `first_block` on: as many as lanes
// share an input row, a power of two. Returns which block of the row it is; past the row's end all are zero.
//
// A block is 128 bytes, so lanes that each load their own touch 32 lines with every load. From 8 lanes on they load
// what lies side by side instead, 512 bytes in 4 lines, and trade: 12 shuffles of 16 bytes for 8 loads.
inline uint load_activation_block(const device float4* input, // [num_blocks * 8]
                                  uint first_block,
                                  uint num_blocks,
                                  uint num_lanes,
                                  uint lane,
                                  thread float4* values) { // [8]
    const uint member = lane % num_lanes;
    const bool shared = num_lanes >= 8;
#pragma unroll
    for (uint i = 0; i < 8; i++) {
        const uint quad = first_block * 8 + (shared ? i * num_lanes + member : member * 8 + i);
        values[i] = quad < num_blocks * 8 ? input[quad] : float4(0.0f);
    }
    if (!shared) {
        return first_block + member;
    }
    transpose_among_lanes<8>(values, lane);
    return first_block + member % 8 * (num_lanes / 8) + member / 8;
}

} // namespace gptoss_metal
