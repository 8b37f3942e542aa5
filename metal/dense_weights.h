// The two formats of dense weight matrices, [num_rows, num_columns] by rows, read 16 bytes at a time.
//
// Both structs offer the same operations, so that the kernels' loops are written once:
//     load(row, index)   the row's 16 bytes at `index`, and what belongs to them; columns index * kColumnsPerLoad on
//     dot(load, x)       the product of a load with as many activations
//     quad(load, i)      its i-th four weights
//
// Where a kernel declares a buffer as words (uint2, uint4), the comment says what they hold, and counts that.
#pragma once

#include "numbers.h"

namespace gptoss_metal {

// bf16: 8 columns a load.
struct Bf16Matrix {
    static constant constexpr uint kColumnsPerLoad = 8;
    static constant constexpr uint kQuadsPerLoad = 2;
    typedef uint4 Load;

    const device uint4* values; // [num_rows, num_columns / 8]
    uint num_columns;

    Load load(uint row, uint index) const { return values[ulong(row) * (num_columns / kColumnsPerLoad) + index]; }

    static float4 quad(Load load, uint i) { return i == 0 ? bf16x4_to_float(load.xy) : bf16x4_to_float(load.zw); }

    static float dot(Load load, const thread float4* x) {
        return metal::dot(quad(load, 0), x[0]) + metal::dot(quad(load, 1), x[1]);
    }
};

// 8-bit codes with a half scale for each 32 columns: 16 columns a load. value = code * scale
struct Int8Matrix {
    static constant constexpr uint kColumnsPerLoad = 16;
    static constant constexpr uint kQuadsPerLoad = 4;
    struct Load {
        uint4 codes;
        float scale;
    };

    const device uint4* codes; // [num_rows, num_columns / 16]
    const device half* scales; // [num_rows, num_columns / 32]
    uint num_columns;

    Load load(uint row, uint index) const {
        return {codes[ulong(row) * (num_columns / kColumnsPerLoad) + index],
                float(scales[ulong(row) * (num_columns / 32) + index / 2])};
    }

    static float4 unscaled_quad(Load load, uint i) { return int8x4_to_float(load.codes[i]); }

    static float4 quad(Load load, uint i) { return unscaled_quad(load, i) * load.scale; }

    // The scale once for 16 products, not 16 times.
    static float dot(Load load, const thread float4* x) {
        float sum = 0.0f;
        for (uint i = 0; i < kQuadsPerLoad; i++) {
            sum += metal::dot(unscaled_quad(load, i), x[i]);
        }
        return sum * load.scale;
    }
};

} // namespace gptoss_metal
