// Adds the weighted outputs of a row's experts to its residual, in slot order.
//
// Dispatch {num_columns / 4, rows} threads or more: one for four neighbouring columns of a row. Every byte is read once
// and written once, in whole lines.
#include <metal_stdlib>

#include "arguments.h"

using namespace metal;
using namespace gptoss_metal;

kernel void expert_combine(constant ExpertCombineArguments& arguments [[buffer(0)]],
                           const device float4* outputs [[buffer(1)]], // [rows, num_active, num_columns / 4]
                           device float4* residual [[buffer(2)]],      // [rows, num_columns / 4], added to
                           uint2 position [[thread_position_in_grid]]) {
    const uint num_quads = arguments.num_columns / 4;
    if (position.x >= num_quads) {
        return;
    }
    float4 sum = residual[position.y * num_quads + position.x];
    for (uint slot = 0; slot < arguments.num_active; slot++) {
        sum += outputs[(position.y * arguments.num_active + slot) * num_quads + position.x];
    }
    residual[position.y * num_quads + position.x] = sum;
}
