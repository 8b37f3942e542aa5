// Operations among the lanes of one simdgroup. Each lane writes what it gets.
#include <metal_stdlib>

using namespace metal;

// Rows of 32 lanes each.
template <typename T>
void write(device T* output, uint row, uint lane, T value) {
    output[row * 32 + lane] = value;
}

template <typename T>
kernel void reductions(device const T* input [[buffer(0)]], // [32]
                       device T* output [[buffer(1)]],      // [8, 32]
                       uint lane [[thread_index_in_simdgroup]]) {
    const T value = input[lane];
    write(output, 0, lane, simd_sum(value));
    write(output, 1, lane, simd_product(value));
    write(output, 2, lane, simd_max(value));
    write(output, 3, lane, simd_min(value));
    write(output, 4, lane, simd_prefix_inclusive_sum(value));
    write(output, 5, lane, simd_prefix_exclusive_sum(value));
    write(output, 6, lane, simd_prefix_inclusive_product(value));
    write(output, 7, lane, simd_prefix_exclusive_product(value));
}
template [[host_name("reductions_char")]] kernel decltype(reductions<char>) reductions<char>;
template [[host_name("reductions_ushort")]] kernel decltype(reductions<ushort>) reductions<ushort>;
template [[host_name("reductions_int")]] kernel decltype(reductions<int>) reductions<int>;
template [[host_name("reductions_uint")]] kernel decltype(reductions<uint>) reductions<uint>;
template [[host_name("reductions_half")]] kernel decltype(reductions<half>) reductions<half>;
template [[host_name("reductions_float")]] kernel decltype(reductions<float>) reductions<float>;

kernel void vector_reductions(device const float4* input [[buffer(0)]], // [32]
                              device float4* output [[buffer(1)]],      // [4, 32]
                              uint lane [[thread_index_in_simdgroup]]) {
    const float4 value = input[lane];
    write(output, 0, lane, simd_sum(value));
    write(output, 1, lane, float4(simd_max(value.zw), simd_min(value.xy)));
    write(output, 2, lane, simd_prefix_exclusive_sum(value));
    write(output, 3, lane, simd_shuffle_xor(value, 5));
}

template <typename T>
kernel void bitwise(device const T* input [[buffer(0)]], // [32]
                    device T* output [[buffer(1)]],      // [3, 32]
                    uint lane [[thread_index_in_simdgroup]]) {
    write(output, 0, lane, simd_and(input[lane]));
    write(output, 1, lane, simd_or(input[lane]));
    write(output, 2, lane, simd_xor(input[lane]));
}
template [[host_name("bitwise_uchar")]] kernel decltype(bitwise<uchar>) bitwise<uchar>;
template [[host_name("bitwise_int")]] kernel decltype(bitwise<int>) bitwise<int>;
template [[host_name("bitwise_uint")]] kernel decltype(bitwise<uint>) bitwise<uint>;

template <typename T>
kernel void shuffles(device const T* input [[buffer(0)]],      // [32]
                     device const uint* sources [[buffer(1)]], // [32]: a lane each
                     device T* output [[buffer(2)]],           // [8, 32]
                     constant uint& delta [[buffer(3)]],
                     uint lane [[thread_index_in_simdgroup]]) {
    const T value = input[lane];
    write(output, 0, lane, simd_shuffle(value, sources[lane]));
    write(output, 1, lane, simd_broadcast(value, delta));
    write(output, 2, lane, simd_broadcast_first(value));
    write(output, 3, lane, simd_shuffle_xor(value, delta));
    write(output, 4, lane, simd_shuffle_down(value, delta));
    write(output, 5, lane, simd_shuffle_up(value, delta));
    write(output, 6, lane, simd_shuffle_rotate_down(value, delta));
    write(output, 7, lane, simd_shuffle_rotate_up(value, delta));
}
template [[host_name("shuffles_uint")]] kernel decltype(shuffles<uint>) shuffles<uint>;
template [[host_name("shuffles_half")]] kernel decltype(shuffles<half>) shuffles<half>;
template [[host_name("shuffles_float4")]] kernel decltype(shuffles<float4>) shuffles<float4>;

kernel void votes(device const uint* input [[buffer(0)]], // [32]
                  device uint* output [[buffer(1)]],      // [7, 32]
                  uint lane [[thread_index_in_simdgroup]]) {
    const bool answer = input[lane] != 0;
    const simd_vote ballot = simd_ballot(answer);
    write(output, 0, lane, uint(simd_vote::vote_t(ballot)));
    write(output, 1, lane, uint(simd_any(answer)));
    write(output, 2, lane, uint(simd_all(answer)));
    write(output, 3, lane, uint(simd_is_first()));
    write(output, 4, lane, uint(simd_vote::vote_t(simd_active_threads_mask())));
    write(output, 5, lane, uint(ballot.any()));
    write(output, 6, lane, uint(ballot.all()));
}

// Lanes that leave take no part in what follows.
kernel void after_some_left(device const uint* leaves [[buffer(0)]], // [32]
                            device float* output [[buffer(1)]],      // [6, 32]
                            uint lane [[thread_index_in_simdgroup]]) {
    if (leaves[lane] != 0) {
        return;
    }
    const float value = lane;
    write(output, 0, lane, simd_sum(value));
    write(output, 1, lane, simd_max(value));
    write(output, 2, lane, simd_prefix_exclusive_sum(1.0f));
    write(output, 3, lane, simd_broadcast_first(value));
    write(output, 4, lane, float(simd_is_first()));
    write(output, 5, lane, simd_shuffle_down(value, 1));
}

kernel void quads(device const float* input [[buffer(0)]], // [32]
                  device float* output [[buffer(1)]],      // [7, 32]
                  uint lane [[thread_index_in_simdgroup]]) {
    const float value = input[lane];
    write(output, 0, lane, quad_sum(value));
    write(output, 1, lane, quad_product(value));
    write(output, 2, lane, quad_max(value));
    write(output, 3, lane, quad_min(value));
    write(output, 4, lane, quad_shuffle(value, 3 - lane % 4));
    write(output, 5, lane, quad_broadcast(value, 2));
    write(output, 6, lane, quad_shuffle_xor(value, 1));
}

kernel void shuffle_out_of_range(device float* output [[buffer(0)]], uint lane [[thread_index_in_simdgroup]]) {
    output[lane] = simd_shuffle(float(lane), lane + 1);
}

kernel void quad_out_of_range(device float* output [[buffer(0)]], uint lane [[thread_index_in_simdgroup]]) {
    output[lane] = quad_broadcast(float(lane), 4);
}

kernel void divergent(device float* output [[buffer(0)]], uint lane [[thread_index_in_simdgroup]]) {
    if (lane < 7) {
        output[lane] = simd_sum(1.0f);
    } else {
        output[lane] = simd_sum(2.0f);
    }
}

// Two values alternate between the simdgroup's lanes through threadgroup memory.
kernel void synchronised(device uint* output [[buffer(0)]], // [threads]
                         uint index [[thread_index_in_threadgroup]],
                         uint threads [[threads_per_threadgroup]]) {
    threadgroup uint shared[64];
    for (uint round = 0; round < 5; round++) {
        shared[index] = index + round;
        threadgroup_barrier(mem_flags::mem_threadgroup);
        const uint neighbour = shared[(index + 1) % threads];
        simdgroup_barrier(mem_flags::mem_none);
        threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
        output[index] = neighbour;
    }
}
