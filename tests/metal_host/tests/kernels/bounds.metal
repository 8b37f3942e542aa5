// Kernels that access memory they must not, at the line marked `// error`. Threadgroups of 64 threads.
#include <metal_stdlib>
using namespace metal;

constant uint powers_of_two[4] = {1, 2, 4, 8};

struct ScaleArguments {
    uint num_elements;
    float factor;
};

kernel void read_after_buffer(const device float* input [[buffer(0)]], // [64], but 65 are read
                              device float* output [[buffer(1)]],      // [64]
                              uint position [[thread_position_in_grid]]) {
    output[position] = input[position + 1]; // error
}

kernel void write_after_buffer(device float* output [[buffer(0)]], // [64], but 65 are written
                               uint position [[thread_position_in_grid]]) {
    output[position + 1] = 1.0f; // error
}

kernel void read_before_buffer(const device float* input [[buffer(0)]], // [64]
                               device float* output [[buffer(1)]],      // [64]
                               uint position [[thread_position_in_grid]]) {
    output[position] = input[int(position) - 1]; // error
}

kernel void read_across_the_end(const device float* input [[buffer(0)]], // [64], the last float4 has 2 of its elements
                                device float* output [[buffer(1)]],      // [64]
                                uint position [[thread_position_in_grid]]) {
    const float4 four = reinterpret_cast<const device float4*>(input + 2)[position / 4]; // error
    output[position] = four.x + four.y + four.z + four.w;
}

kernel void read_far_away(const device float* input [[buffer(0)]], // [64]
                          device float* output [[buffer(1)]],      // [64]
                          uint position [[thread_position_in_grid]]) {
    output[position] = input[(ulong(position) + 1) << 36]; // error
}

kernel void read_of_unbound_buffer(const device float* input [[buffer(0)]], // none
                                   device float* output [[buffer(1)]],      // [64]
                                   uint position [[thread_position_in_grid]]) {
    output[position] = input[position]; // error
}

kernel void write_to_constant_buffer(const device float* input [[buffer(0)]], // [64]
                                     uint position [[thread_position_in_grid]]) {
    const_cast<device float*>(input)[position] = 1.0f; // error
}

kernel void atomic_after_buffer(device atomic_uint* counters [[buffer(0)]], // [64], but 65 are counted in
                                uint position [[thread_position_in_grid]]) {
    atomic_fetch_add_explicit(&counters[position + 1], 1u, memory_order_relaxed); // error
}

kernel void write_after_threadgroup_memory(device float* output [[buffer(0)]], // [64]
                                           uint position [[thread_position_in_grid]]) {
    threadgroup float before[64];
    threadgroup float tile[64];
    threadgroup float after[64];
    before[position] = 0.0f;
    after[position] = 0.0f;
    tile[position + 1] = 1.0f; // error
    threadgroup_barrier(mem_flags::mem_threadgroup);
    output[position] = tile[position] + before[position] + after[position];
}

kernel void read_before_threadgroup_memory(device float* output [[buffer(0)]], // [64]
                                           uint position [[thread_position_in_grid]]) {
    threadgroup float tile[64];
    tile[position] = 1.0f;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    output[position] = tile[int(position) - 1]; // error
}

kernel void write_after_threadgroup_argument(device float* output [[buffer(0)]],         // [64]
                                             threadgroup float* tile [[threadgroup(0)]], // [64]
                                             uint position [[thread_position_in_grid]]) {
    tile[position + 1] = 1.0f; // error
    threadgroup_barrier(mem_flags::mem_threadgroup);
    output[position] = tile[position];
}

kernel void uninitialised_read(device float* output [[buffer(0)]], // [64]
                               uint position [[thread_position_in_grid]]) {
    threadgroup float tile[64];
    if (position != 40) {
        tile[position] = 1.0f;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    output[position] = tile[63 - position]; // error
}

// Only the first two of the four bytes have been written.
kernel void partly_uninitialised_read(device float* output [[buffer(0)]], // [64]
                                      uint position [[thread_position_in_grid]]) {
    threadgroup float tile[64];
    *reinterpret_cast<threadgroup half*>(&tile[position]) = 1.0h;
    output[position] = tile[position]; // error
}

// The first threadgroup writes what the second reads.
kernel void uninitialised_read_in_second_threadgroup(device float* output [[buffer(0)]], // [128]
                                                     uint position [[thread_position_in_grid]],
                                                     uint thread_index [[thread_index_in_threadgroup]],
                                                     uint threadgroup_index [[threadgroup_position_in_grid]]) {
    threadgroup float tile[64];
    if (threadgroup_index == 0) {
        tile[thread_index] = 1.0f;
    }
    output[position] = tile[thread_index]; // error
}

// What was never written is the number of rounds: the largest there can be.
kernel void uninitialised_number_of_rounds(const device float* input [[buffer(0)]], // [64]
                                           device float* output [[buffer(1)]],      // [64]
                                           uint position [[thread_position_in_grid]]) {
    threadgroup uint num_rounds;
    float sum = 0.0f;
    const uint end = num_rounds; // error
    for (uint round = 0; round < end; round++) {
        sum += input[round % 64];
    }
    output[position] = sum;
}

// The error is reported before another one that follows from it.
kernel void uninitialised_index(const device float* input [[buffer(0)]], // [64]
                                device float* output [[buffer(1)]],      // [64]
                                uint position [[thread_position_in_grid]]) {
    threadgroup uint index;
    const uint chosen = index; // error
    output[position] = input[chosen];
}

kernel void uninitialised_atomic(device uint* output [[buffer(0)]], // [64]
                                 uint position [[thread_position_in_grid]]) {
    threadgroup atomic_uint counter;
    output[position] = atomic_fetch_add_explicit(&counter, 1u, memory_order_relaxed); // error
}

// All of it is in order: both ends of each buffer, constants, arguments, stack memory, a copy of a whole struct.
kernel void in_bounds(constant ScaleArguments& arguments [[buffer(0)]],
                      const device float* input [[buffer(1)]],        // [64]
                      device float* output [[buffer(2)]],             // [64]
                      threadgroup float* argument [[threadgroup(0)]], // [64]
                      uint position [[thread_position_in_grid]]) {
    threadgroup float tile[64];
    const ScaleArguments copied = arguments;
    float on_stack[8];
    for (uint i = 0; i < 8; i++) {
        on_stack[i] = input[(position + i) % copied.num_elements] * arguments.factor;
    }
    tile[63 - position] = on_stack[position % 8] * powers_of_two[position % 4];
    argument[position] = 1.0f;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    output[position] = tile[position] + argument[63 - position];
}
