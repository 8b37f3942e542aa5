// Simdgroup matrices: 8x8 elements that 32 lanes hold together.
#include <metal_simdgroup_matrix>
#include <metal_stdlib>

using namespace metal;

struct LoadArguments {
    uint stride; // elements from one row to the next, in memory
    uint origin_x;
    uint origin_y;
    uint transpose;
};

template <typename T>
kernel void load_and_store(constant LoadArguments& from [[buffer(0)]],
                           constant LoadArguments& to [[buffer(1)]],
                           device const T* input [[buffer(2)]],
                           device T* output [[buffer(3)]],
                           device T* elements [[buffer(4)]], // [32, 2]: what each lane holds
                           uint lane [[thread_index_in_simdgroup]]) {
    simdgroup_matrix<T, 8, 8> matrix;
    simdgroup_load(matrix, input, from.stride, ulong2(from.origin_x, from.origin_y), from.transpose != 0);
    elements[2 * lane] = matrix.thread_elements()[0];
    elements[2 * lane + 1] = matrix.thread_elements()[1];
    simdgroup_store(matrix, output, to.stride, ulong2(to.origin_x, to.origin_y), to.transpose != 0);
}
template [[host_name("load_and_store_half")]] kernel decltype(load_and_store<half>) load_and_store<half>;
template [[host_name("load_and_store_float")]] kernel decltype(load_and_store<float>) load_and_store<float>;

// output = a * b + c.
template <typename A, typename B, typename D>
kernel void multiply_accumulate(device const A* a [[buffer(0)]],
                                device const B* b [[buffer(1)]],
                                device const D* c [[buffer(2)]],
                                device D* output [[buffer(3)]], // [2, 8, 8]: with and without c
                                uint lane [[thread_index_in_simdgroup]]) {
    simdgroup_matrix<A, 8, 8> left;
    simdgroup_matrix<B, 8, 8> right;
    simdgroup_matrix<D, 8, 8> accumulator;
    simdgroup_matrix<D, 8, 8> product;
    simdgroup_load(left, a);
    simdgroup_load(right, b);
    simdgroup_load(accumulator, c);
    simdgroup_multiply_accumulate(accumulator, left, right, accumulator);
    simdgroup_multiply(product, left, right);
    simdgroup_store(accumulator, output);
    simdgroup_store(product, output + 64);
    (void)lane;
}
template [[host_name("multiply_float")]] kernel decltype(multiply_accumulate<float, float, float>)
    multiply_accumulate<float, float, float>;
template [[host_name("multiply_half_into_float")]] kernel decltype(multiply_accumulate<half, half, float>)
    multiply_accumulate<half, half, float>;
template [[host_name(
    "multiply_half")]] kernel decltype(multiply_accumulate<half, half, half>) multiply_accumulate<half, half, half>;
template [[host_name("multiply_bfloat_and_float")]] kernel decltype(multiply_accumulate<bfloat, float, float>)
    multiply_accumulate<bfloat, float, float>;

kernel void filled(device float* output [[buffer(0)]], // [3, 8, 8]
                   uint lane [[thread_index_in_simdgroup]]) {
    simdgroup_float8x8 diagonal(2.5f);
    simdgroup_float8x8 all = make_filled_simdgroup_matrix<float, 8, 8>(3.5f);
    simdgroup_store(diagonal, output, 8);
    simdgroup_store(all, output + 64, 8);
    all.thread_elements() = float2(lane, -float(lane));
    simdgroup_store(all, output + 128, 8);
}

kernel void through_threadgroup_memory(device const float* input [[buffer(0)]], // [8, 8]
                                       device float* output [[buffer(1)]],      // [8, 8]
                                       uint lane [[thread_index_in_simdgroup]]) {
    threadgroup float tile[8 * 10];
    for (uint i = lane; i < 64; i += 32) {
        tile[i / 8 * 10 + i % 8] = input[i];
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    simdgroup_float8x8 matrix;
    simdgroup_load(matrix, tile, 10);
    simdgroup_store(matrix, output, 8, 0, true);
}
