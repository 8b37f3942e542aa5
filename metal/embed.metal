// Token embedding: residual[row] = embedding[tokens[row]], bf16 widened to fp32, or 8-bit codes times their scale.
//
// Dispatch num_columns / 8 by num_rows threads: each makes 32 bytes of the residual of 16 of the table, or of 8 codes.
// The host checks the tokens that it takes from callers. An id beyond the vocabulary reads the last row, so that
// whatever comes here, nothing outside the table is read.
#include <metal_stdlib>

#include "arguments.h"
#include "numbers.h"

using namespace metal;
using namespace gptoss_metal;

kernel void embed(constant EmbedArguments& arguments [[buffer(0)]],
                  const device uint* tokens [[buffer(1)]],     // [num_rows]
                  const device uint4* embedding [[buffer(2)]], // bf16 [vocabulary_size, num_columns]
                  device float4* residual [[buffer(3)]],       // [num_rows, num_columns / 4]
                  uint2 position [[thread_position_in_grid]]) {
    const uint words_per_row = arguments.num_columns / 8;
    const uint word = position.x;
    const uint row = position.y;
    if (word >= words_per_row || row >= arguments.num_rows) {
        return;
    }
    const uint token = min(tokens[row], arguments.vocabulary_size - 1);
    const uint4 eight = embedding[ulong(token) * words_per_row + word];
    device float4* output = residual + 2 * (ulong(row) * words_per_row + word);
    output[0] = bf16x4_to_float(eight.xy);
    output[1] = bf16x4_to_float(eight.zw);
}

kernel void embed_int8(constant EmbedArguments& arguments [[buffer(0)]],
                       const device uint* tokens [[buffer(1)]], // [num_rows]
                       const device uint2* codes [[buffer(2)]], // int8 [vocabulary_size, num_columns]
                       device float4* residual [[buffer(3)]],   // [num_rows, num_columns / 4]
                       const device half* scales [[buffer(4)]], // [vocabulary_size, num_columns / 32]
                       uint2 position [[thread_position_in_grid]]) {
    const uint words_per_row = arguments.num_columns / 8;
    const uint word = position.x;
    const uint row = position.y;
    if (word >= words_per_row || row >= arguments.num_rows) {
        return;
    }
    const uint token = min(tokens[row], arguments.vocabulary_size - 1);
    const uint2 eight = codes[ulong(token) * words_per_row + word];
    const float scale = float(scales[ulong(token) * (arguments.num_columns / 32) + word / 4]);
    device float4* output = residual + 2 * (ulong(row) * words_per_row + word);
    output[0] = int8x4_to_float(eight.x) * scale;
    output[1] = int8x4_to_float(eight.y) * scale;
}
