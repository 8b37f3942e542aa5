// What the launcher passes to kernels: positions, buffers, threadgroup memory, function constants.
#include <metal_stdlib>

#include "machine_structs.h"

using namespace metal;

// ---- Positions: each kernel writes one record for each thread, at its position in the grid -------------------

kernel void positions_3d(device Positions* records [[buffer(0)]], // [depth, height, width] of the grid
                         uint3 in_grid [[thread_position_in_grid]],
                         uint3 in_threadgroup [[thread_position_in_threadgroup]],
                         uint3 threadgroup_position [[threadgroup_position_in_grid]],
                         uint3 threadgroups [[threadgroups_per_grid]],
                         uint3 threads [[threads_per_grid]],
                         uint3 size [[threads_per_threadgroup]],
                         uint3 dispatched_size [[dispatch_threads_per_threadgroup]],
                         uint index [[thread_index_in_threadgroup]],
                         uint lane [[thread_index_in_simdgroup]],
                         uint simdgroup [[simdgroup_index_in_threadgroup]],
                         uint simdgroups [[simdgroups_per_threadgroup]],
                         uint dispatched_simdgroups [[dispatch_simdgroups_per_threadgroup]],
                         uint width [[threads_per_simdgroup]],
                         uint width_too [[thread_execution_width]]) {
    device Positions& record = records[(in_grid.z * threads.y + in_grid.y) * threads.x + in_grid.x];
    record.thread_position_in_grid[0] = in_grid.x;
    record.thread_position_in_grid[1] = in_grid.y;
    record.thread_position_in_grid[2] = in_grid.z;
    record.thread_position_in_threadgroup[0] = in_threadgroup.x;
    record.thread_position_in_threadgroup[1] = in_threadgroup.y;
    record.thread_position_in_threadgroup[2] = in_threadgroup.z;
    record.threadgroup_position_in_grid[0] = threadgroup_position.x;
    record.threadgroup_position_in_grid[1] = threadgroup_position.y;
    record.threadgroup_position_in_grid[2] = threadgroup_position.z;
    record.threadgroups_per_grid[0] = threadgroups.x;
    record.threadgroups_per_grid[1] = threadgroups.y;
    record.threadgroups_per_grid[2] = threadgroups.z;
    record.threads_per_grid[0] = threads.x;
    record.threads_per_grid[1] = threads.y;
    record.threads_per_grid[2] = threads.z;
    record.threads_per_threadgroup[0] = size.x;
    record.threads_per_threadgroup[1] = size.y;
    record.threads_per_threadgroup[2] = size.z;
    record.dispatch_threads_per_threadgroup[0] = dispatched_size.x;
    record.dispatch_threads_per_threadgroup[1] = dispatched_size.y;
    record.dispatch_threads_per_threadgroup[2] = dispatched_size.z;
    record.thread_index_in_threadgroup = index;
    record.thread_index_in_simdgroup = lane;
    record.simdgroup_index_in_threadgroup = simdgroup;
    record.simdgroups_per_threadgroup = simdgroups;
    record.dispatch_simdgroups_per_threadgroup = dispatched_simdgroups;
    record.threads_per_simdgroup = width;
    record.thread_execution_width = width_too;
}

// Every type that Metal allows for a position, and the attributes of quadgroups.
kernel void positions_narrow(device uint* output [[buffer(0)]], // [threads, 8]
                             ushort in_grid [[thread_position_in_grid]],
                             ushort2 in_threadgroup [[thread_position_in_threadgroup]],
                             uint2 size [[threads_per_threadgroup]],
                             ushort lane_of_quad [[thread_index_in_quadgroup]],
                             ushort quad [[quadgroup_index_in_threadgroup]],
                             ushort quads [[quadgroups_per_threadgroup]],
                             uint dispatched_quads [[dispatch_quadgroups_per_threadgroup]]) {
    device uint* row = output + in_grid * 8;
    row[0] = in_grid;
    row[1] = in_threadgroup.x;
    row[2] = in_threadgroup.y;
    row[3] = size.x * 1000 + size.y;
    row[4] = lane_of_quad;
    row[5] = quad;
    row[6] = quads;
    row[7] = dispatched_quads;
}

// ---- Buffers -------------------------------------------------------------------------------------------------

kernel void every_kind_of_buffer(constant Scaling& scaling [[buffer(0)]],
                                 constant float* offsets [[buffer(1)]],      // [n]
                                 device const float* input [[buffer(2)]],    // [n]
                                 const device float4* vectors [[buffer(3)]], // [n / 4]
                                 device float* output [[buffer(30)]],        // [n]
                                 device uint& count [[buffer(7)]],
                                 uint i [[thread_position_in_grid]]) {
    output[i] = input[i] * scaling.scale + offsets[i] + vectors[i / 4][i % 4];
    if (i == 0) {
        count = scaling.count;
    }
}

kernel void in_place(device float* output [[buffer(0)]],      // [n]
                     device const float* input [[buffer(1)]], // [n]; may be the same memory
                     uint i [[thread_position_in_grid]]) {
    output[i] += input[i];
}

kernel void reads_one(device const float* input [[buffer(0)]], // [1]
                      device float* output [[buffer(1)]],      // [1]
                      uint i [[thread_position_in_grid]]) {
    output[i] = input[0];
}

// ---- Threadgroup memory --------------------------------------------------------------------------------------

// Copies what threadgroup memory holds when a threadgroup starts, and leaves something else behind.
kernel void fresh_threadgroup_memory(device uint* output [[buffer(0)]],             // [threadgroups, 3]
                                     threadgroup uint* argument [[threadgroup(2)]], // [4]
                                     uint group [[threadgroup_position_in_grid]]) {
    threadgroup uint scalar;
    threadgroup uint matrix[2][3];
    output[group * 3] = argument[3];
    output[group * 3 + 1] = scalar;
    output[group * 3 + 2] = matrix[1][2];
    argument[3] = 0;
    scalar = 0;
    matrix[1][2] = 0;
}

struct alignas(64) Aligned {
    uint values[16];
};

// Where variables lie: each multiple of its alignment, none within another.
kernel void addresses(device uint64_t* output [[buffer(0)]], threadgroup float4* argument [[threadgroup(0)]]) {
    threadgroup uchar byte;
    threadgroup Aligned aligned;
    threadgroup half halves[3];
    output[0] = reinterpret_cast<uint64_t>(&byte);
    output[1] = reinterpret_cast<uint64_t>(&aligned);
    output[2] = reinterpret_cast<uint64_t>(&halves);
    output[3] = reinterpret_cast<uint64_t>(argument);
}

kernel void declares_32768_bytes(device uint* output [[buffer(0)]]) {
    threadgroup uchar all[32768];
    all[0] = 1;
    output[0] = all[0];
}

kernel void declares_32769_bytes(device uint* output [[buffer(0)]]) {
    threadgroup uchar half_of_it[16384];
    threadgroup uchar other_half[16385];
    half_of_it[0] = 1;
    other_half[0] = 1;
    output[0] = half_of_it[0] + other_half[0];
}

kernel void declares_16_bytes(device uint* output [[buffer(0)]], threadgroup uint* argument [[threadgroup(0)]]) {
    threadgroup uint own[4];
    own[0] = 1;
    argument[0] = own[0];
    output[0] = argument[0];
}

// ---- Limits of threads ---------------------------------------------------------------------------------------

[[max_total_threads_per_threadgroup(64)]] kernel void at_most_64_threads(device uint* output [[buffer(0)]],
                                                                         uint i [[thread_position_in_grid]]) {
    output[i] = i;
}

// ---- Templates and names -------------------------------------------------------------------------------------

template <typename T, uint factor>
kernel void multiply(device T* values [[buffer(0)]], uint i [[thread_position_in_grid]]) {
    threadgroup T scratch[factor];
    scratch[factor - 1] = values[i] * T(factor);
    values[i] = scratch[factor - 1];
}
template [[host_name("multiply_float_3")]] kernel decltype(multiply<float, 3>) multiply<float, 3>;
template [[host_name("multiply_uint_5")]] kernel void multiply<uint, 5>(device uint* values [[buffer(0)]],
                                                                        uint i [[thread_position_in_grid]]);

[[host_name("its_other_name")]] kernel void its_own_name(device uint* output [[buffer(0)]]) {
    output[0] = 12;
}

// ---- Function constants --------------------------------------------------------------------------------------

constant uint size [[function_constant(machine_test::SIZE)]];
constant float scale [[function_constant(1)]];
constant bool has_bias [[function_constant(2)]];
constant int offset [[function_constant(3)]];
constant half small [[function_constant(4)]];
constant uint size_or_default = is_function_constant_defined(size) ? size : 7;
constant float twice = is_function_constant_defined(scale) ? 2 * scale : -1;
constant bool adds_bias = is_function_constant_defined(has_bias) && has_bias;

kernel void constants(device float* output [[buffer(0)]]) { // [6]
    output[0] = float(size_or_default);
    output[1] = twice;
    output[2] = adds_bias ? 1 : 0;
    output[3] = is_function_constant_defined(offset) ? float(offset) : 0;
    output[4] = is_function_constant_defined(small) ? float(small) : 0;
    output[5] = is_function_constant_defined(size) ? 1 : 0;
}

kernel void conditional_buffer(device const float* bias [[buffer(0), function_constant(adds_bias)]], // [1]
                               device float* output [[buffer(1)]]) {                                 // [1]
    output[0] = 10;
    if (adds_bias) {
        output[0] += bias[0];
    }
}
