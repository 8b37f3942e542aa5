// half and bfloat: conversions and arithmetic, one element a thread.
#include <metal_stdlib>

using namespace metal;

kernel void half_to_float(device const half* input [[buffer(0)]],
                          device float* output [[buffer(1)]],
                          uint i [[thread_position_in_grid]]) {
    output[i] = input[i];
}

kernel void half4_to_float4(device const half4* input [[buffer(0)]],
                            device float4* output [[buffer(1)]],
                            uint i [[thread_position_in_grid]]) {
    output[i] = float4(input[i]);
}

kernel void float_to_half(device const float* input [[buffer(0)]],
                          device half* output [[buffer(1)]],
                          uint i [[thread_position_in_grid]]) {
    output[i] = half(input[i]);
}

kernel void float4_to_half4(device const float4* input [[buffer(0)]],
                            device half4* output [[buffer(1)]],
                            uint i [[thread_position_in_grid]]) {
    output[i] = half4(input[i]);
}

kernel void bfloat_to_float(device const bfloat* input [[buffer(0)]],
                            device float* output [[buffer(1)]],
                            uint i [[thread_position_in_grid]]) {
    output[i] = input[i];
}

kernel void float_to_bfloat(device const float* input [[buffer(0)]],
                            device bfloat* output [[buffer(1)]],
                            uint i [[thread_position_in_grid]]) {
    output[i] = bfloat(input[i]);
}

kernel void float4_to_bfloat4(device const float4* input [[buffer(0)]],
                              device bfloat4* output [[buffer(1)]],
                              uint i [[thread_position_in_grid]]) {
    output[i] = bfloat4(input[i]);
}

kernel void half_arithmetic(device const half* a [[buffer(0)]],
                            device const half* b [[buffer(1)]],
                            device half* output [[buffer(2)]], // [threads, 8]
                            uint i [[thread_position_in_grid]]) {
    device half* results = output + 8 * i;
    results[0] = a[i] + b[i];
    results[1] = a[i] - b[i];
    results[2] = a[i] * b[i];
    results[3] = a[i] / b[i];
    results[4] = a[i] * b[i] + a[i]; // two roundings
    results[5] = sqrt(abs(a[i]));
    half sum = a[i];
    sum += b[i];
    sum *= 2;
    results[6] = sum;
    results[7] = max(a[i], b[i]);
}

kernel void half4_arithmetic(device const half4* a [[buffer(0)]],
                             device const half4* b [[buffer(1)]],
                             device half4* output [[buffer(2)]], // [threads, 5]
                             uint i [[thread_position_in_grid]]) {
    device half4* results = output + 5 * i;
    results[0] = a[i] + b[i];
    results[1] = a[i] - b[i];
    results[2] = a[i] * b[i];
    results[3] = a[i] / b[i];
    results[4] = a[i] * b[i] + a[i]; // two roundings
}

// Arithmetic of a half and a float is the float's.
kernel void mixed_arithmetic(device const half* a [[buffer(0)]],
                             device const float* b [[buffer(1)]],
                             device float* output [[buffer(2)]],
                             uint i [[thread_position_in_grid]]) {
    output[i] = a[i] * b[i] + a[i];
}

kernel void bfloat_arithmetic(device const bfloat* a [[buffer(0)]],
                              device const bfloat* b [[buffer(1)]],
                              device bfloat* output [[buffer(2)]], // [threads, 4]
                              uint i [[thread_position_in_grid]]) {
    output[4 * i] = a[i] + b[i];
    output[4 * i + 1] = a[i] - b[i];
    output[4 * i + 2] = a[i] * b[i];
    output[4 * i + 3] = a[i] / b[i];
}

kernel void half_constants(device half* output [[buffer(0)]]) {
    output[0] = 0.1h;
    output[1] = 65504.0h;
    output[2] = 1e-7h;
    output[3] = 0x1.8p3h;
    output[4] = HALF_MAX;
    output[5] = numeric_limits<half>::max();
    output[6] = numeric_limits<half>::lowest();
    output[7] = numeric_limits<half>::min();
    output[8] = numeric_limits<half>::denorm_min();
    output[9] = numeric_limits<half>::epsilon();
    output[10] = numeric_limits<half>::infinity();
    output[11] = 1;          // implicit, from int
    output[12] = 0.1f;       // implicit, from float
    output[13] = half(2049); // a tie: to even
}
