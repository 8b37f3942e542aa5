// The kernel of README.md's example.
#include <metal_stdlib>

using namespace metal;

constant bool inverts [[function_constant(2)]];

kernel void scale(constant float& factor [[buffer(0)]],
                  device float* values [[buffer(1)]],            // [n]
                  threadgroup float* scratch [[threadgroup(0)]], // [threads of the threadgroup]
                  uint i [[thread_position_in_grid]],
                  uint t [[thread_index_in_threadgroup]]) {
    scratch[t] = is_function_constant_defined(inverts) && inverts ? 1 / factor : factor;
    values[i] *= scratch[t];
}
