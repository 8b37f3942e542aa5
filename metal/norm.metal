// RMSNorm of rows: output = x * rsqrt(mean(x^2) + epsilon) * gain, in fp32.
//
// Where a neighbour can do it, the norm has no dispatch of its own. One row (decode): the qkv projection, the router
// and the unembedding accumulate the sum of squares beside their dot products (matvec.h, router.metal). The residual
// add that precedes every norm is the epilogue of the output projection and of the experts' combination. What is left
// are the norms before products of several rows, each read by many threadgroups, which should not each normalise it
// again.
//
// One threadgroup a row. A row is read twice; the second time it comes from the core's cache (11.5 KB at 2,880
// columns), which costs less than the registers or threadgroup memory to hold rows of any length.
#include <metal_stdlib>

#include "arguments.h"
#include "dense_geometry.h"
#include "numbers.h"
#include "reduction.h"

using namespace metal;
using namespace gptoss_metal;

[[max_total_threads_per_threadgroup(kNormThreads)]] kernel void norm(
    constant NormArguments& arguments [[buffer(0)]],
    const device float4* input [[buffer(1)]], // [rows, num_columns / 4]
    const device uint2* gain [[buffer(2)]],   // bf16 [num_columns]
    device float4* output [[buffer(3)]],      // [rows, num_columns / 4]
    uint row [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup float partials[kNormThreads / 32];
    const uint quads = arguments.num_columns / 4;
    input += ulong(row) * quads;
    output += ulong(row) * quads;

    float squares = 0.0f;
    for (uint i = thread_index; i < quads; i += kNormThreads) {
        squares += dot(input[i], input[i]);
    }
    squares = threadgroup_sum(squares, partials, lane, simdgroup, kNormThreads / 32);
    const float scale = precise::rsqrt(squares / float(arguments.num_columns) + arguments.epsilon);

    for (uint i = thread_index; i < quads; i += kNormThreads) {
        output[i] = input[i] * scale * bf16x4_to_float(gain[i]);
    }
}
