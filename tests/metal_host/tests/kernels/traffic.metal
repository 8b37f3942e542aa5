// Kernels whose traffic is known exactly: test_trace_traffic.py says it for each.
#include <metal_stdlib>
using namespace metal;

// 4 bytes a lane, one after the other.
kernel void coalesced(const device uint* input [[buffer(0)]], // [threads of the grid]
                      device uint* output [[buffer(1)]],      // [threads of the grid]
                      uint position [[thread_position_in_grid]]) {
    output[position] = input[position];
}

// 16 bytes a lane.
kernel void coalesced_vectors(const device uint4* input [[buffer(0)]], // [threads of the grid]
                              device uint4* output [[buffer(1)]],      // [threads of the grid]
                              uint position [[thread_position_in_grid]]) {
    output[position] = input[position];
}

// Each lane reads from a line of its own.
kernel void strided(const device uint* input [[buffer(0)]], // [threads of the grid, 32]
                    device uint* output [[buffer(1)]],      // [threads of the grid]
                    uint position [[thread_position_in_grid]]) {
    output[position] = input[position * 32];
}

// Every lane reads the same element.
kernel void uniform(const device uint* input [[buffer(0)]], // [1]
                    device uint* output [[buffer(1)]],      // [threads of the grid]
                    uint position [[thread_position_in_grid]]) {
    output[position] = input[0];
}

// Begins in the middle of a line, so that a simdgroup touches two.
kernel void across_lines(const device uint* input [[buffer(0)]], // [16 + threads of the grid]
                         device uint* output [[buffer(1)]],      // [threads of the grid]
                         uint position [[thread_position_in_grid]]) {
    output[position] = input[position + 16];
}

// In the opposite order, and two lanes read the same element.
kernel void shared(const device uint* input [[buffer(0)]], // [threads of the grid / 2]
                   device uint* output [[buffer(1)]],      // [threads of the grid]
                   uint position [[thread_position_in_grid]],
                   uint num_threads [[threads_per_grid]]) {
    output[position] = input[(num_threads - 1 - position) / 2];
}

// Each threadgroup reads the whole input, each simdgroup of it once in each round.
kernel void read_again(const device uint* input [[buffer(0)]], // [32]
                       device uint* output [[buffer(1)]],      // [threads of the grid]
                       uint position [[thread_position_in_grid]],
                       uint lane [[thread_index_in_simdgroup]]) {
    uint sum = 0;
    for (uint round = 0; round < 5; round++) {
        sum += simd_sum(input[lane]);
    }
    output[position] = sum;
}

// Lanes take different branches, and a loop as often as their number says: execution n of a line is one access.
kernel void divergent(const device uint* input [[buffer(0)]], // [32, 32]
                      device uint* output [[buffer(1)]],      // [threads of the grid]
                      uint position [[thread_position_in_grid]],
                      uint lane [[thread_index_in_simdgroup]]) {
    uint sum = 0;
    for (uint i = 0; i <= lane; i++) {
        sum += input[i * 32 + lane];
    }
    if (lane % 2 == 0) {
        output[position] = sum;
    } else {
        output[position] = sum + 1;
    }
}

// What simd_sum separates is not one access, although the line is the same.
kernel void separated(const device uint* input [[buffer(0)]], // [32]
                      device uint* output [[buffer(1)]],      // [threads of the grid]
                      uint position [[thread_position_in_grid]],
                      uint lane [[thread_index_in_simdgroup]]) {
    uint sum = 0;
    for (uint half_of_lanes = 0; half_of_lanes < 2; half_of_lanes++) {
        uint value = 0;
        if (lane / 16 == half_of_lanes) {
            value = input[lane];
        }
        sum += simd_sum(value);
    }
    output[position] = sum;
}

// Which of two buffers is read depends on the lane.
kernel void either(const device uint* even [[buffer(0)]], // [32]
                   const device uint* odd [[buffer(1)]],  // [32]
                   device uint* output [[buffer(2)]],     // [threads of the grid]
                   uint position [[thread_position_in_grid]],
                   uint lane [[thread_index_in_simdgroup]]) {
    const device uint* input = lane % 2 == 0 ? even : odd;
    output[position] = input[lane];
}

kernel void counted(device atomic_uint* counters [[buffer(0)]], // [2]
                    uint position [[thread_position_in_grid]]) {
    atomic_fetch_add_explicit(&counters[position % 2], 1u, memory_order_relaxed);
}

// Writes 4 bytes a thread of threadgroup memory, and reads 16.
kernel void staged(const device float* input [[buffer(0)]],         // [threads of the grid]
                   device float* output [[buffer(1)]],              // [threads of the grid]
                   threadgroup float4* argument [[threadgroup(0)]], // [1]
                   uint position [[thread_position_in_grid]],
                   uint thread_index [[thread_index_in_threadgroup]]) {
    threadgroup float tile[64];
    tile[thread_index] = input[position];
    if (thread_index == 0) {
        argument[0] = float4(1.0f);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    output[position] = tile[63 - thread_index] + dot(argument[0], float4(1.0f));
}
