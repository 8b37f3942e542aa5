// Vectors: how they are made, laid out, packed, reinterpreted and assigned to. What can be enumerated (operators,
// swizzles) test_shim_vectors.py writes kernels for itself.
#include <metal_stdlib>

using namespace metal;

// Every way to make a float4 of vectors and scalars, and what else makes one.
kernel void constructors(device const float* input [[buffer(0)]], // [4]
                         device float4* output [[buffer(1)]],     // [20]
                         uint thread_index [[thread_position_in_grid]]) {
    const float a = input[thread_index];
    const float b = input[1];
    const float c = input[2];
    const float d = input[3];
    const float2 ab(a, b);
    const float2 cd(c, d);
    output[0] = float4(a, b, c, d);
    output[1] = float4(ab, c, d);
    output[2] = float4(a, float2(b, c), d);
    output[3] = float4(a, b, cd);
    output[4] = float4(ab, cd);
    output[5] = float4(float3(a, b, c), d);
    output[6] = float4(a, float3(b, c, d));
    output[7] = float4(float4(a, b, c, d));
    output[8] = float4(ab.xy, cd.xy);
    output[9] = float4(a);
    output[10] = a;
    output[11] = 3; // an int, spread
    output[12] = float4(1, 2u, a, 4.0h);
    output[13] = {a, b, c, d};
    output[14] = float4{a, b, c, d};
    output[15] = float4(vec<float, 2>(a, b), cd);
    output[16] = float4(int4(1, -2, 3, -4));
    output[17] = static_cast<float4>(half4(a, b, c, d));
    output[18] = float4(uint4(ab.xyxy));
    output[19] = float4(float3(ab, c).zyx, float2(cd).y);
}

// A conversion to integers cuts off, one to bool asks whether it is not zero.
kernel void conversions(device const float4* input [[buffer(0)]],
                        device int4* output [[buffer(1)]], // [8]
                        uint thread_index [[thread_position_in_grid]]) {
    const float4 value = input[thread_index];
    output[0] = int4(value);
    output[1] = int4(short4(value));
    output[2] = int4(char4(value));
    output[3] = int4(uchar4(abs(value)));
    output[4] = int4(long4(value));
    output[5] = int4(bool4(value));
    output[6] = int4(half4(value));
    output[7] = int4(uint4(uchar4(int4(value)))); // modulo 256
}

kernel void sizes(device uint* output [[buffer(0)]], uint thread_index [[thread_position_in_grid]]) {
    uint next = thread_index;
#define SIZES_OF(T) output[next++] = sizeof(T), output[next++] = alignof(T)
#define SIZES_OF_ALL(T) \
    SIZES_OF(T);        \
    SIZES_OF(T##2);     \
    SIZES_OF(T##3);     \
    SIZES_OF(T##4)
    SIZES_OF_ALL(bool);
    SIZES_OF_ALL(char);
    SIZES_OF_ALL(uchar);
    SIZES_OF_ALL(short);
    SIZES_OF_ALL(ushort);
    SIZES_OF_ALL(half);
    SIZES_OF_ALL(bfloat);
    SIZES_OF_ALL(int);
    SIZES_OF_ALL(uint);
    SIZES_OF_ALL(float);
    SIZES_OF_ALL(long);
    SIZES_OF_ALL(ulong);
    SIZES_OF(packed_half2);
    SIZES_OF(packed_half3);
    SIZES_OF(packed_half4);
    SIZES_OF(packed_float2);
    SIZES_OF(packed_float3);
    SIZES_OF(packed_float4);
}

struct with_packed {
    half first;
    packed_half3 middle;
    float last;
};

kernel void packed(device const packed_float3* input [[buffer(0)]], // [threads]
                   device packed_float3* output [[buffer(1)]],      // [4, threads]
                   device uint* layout [[buffer(2)]],               // [2]
                   uint i [[thread_position_in_grid]],
                   uint threads [[threads_per_grid]]) {
    const float3 value = input[i];
    output[i] = value.zyx;
    output[threads + i] = input[i] * 2.0f + value;
    packed_float3 sum = input[i];
    sum += 1.0f;
    sum[2] = input[i][0];
    output[2 * threads + i] = sum;
    output[3 * threads + i] = packed_float3(1.0f, dot(input[i], value), length(input[i]));
    layout[0] = sizeof(with_packed);
    with_packed pair;
    pair.middle = half3(1, 2, 3);
    pair.first = pair.middle[2];
    layout[1] = pair.first;
}

kernel void reinterpretation(device const uint4* input [[buffer(0)]],
                             device uint4* output [[buffer(1)]], // [7]
                             uint i [[thread_position_in_grid]]) {
    const uint4 bits = input[i];
    output[0] = as_type<uint4>(as_type<float4>(bits));
    output[1] = uint4(as_type<float>(bits.x));
    output[2] = uint4(as_type<half2>(bits.y).xyyx);
    output[3] = uint4(as_type<uchar4>(bits.z));
    output[4] = uint4(as_type<ulong>(bits.xy), as_type<ulong2>(bits).y >> 32, 0, 0);
    output[5] = uint4(ushort4(as_type<vec<ushort, 4>>(bits.zw)));
    output[6] = as_type<uint4>(as_type<float4>(bits << 16));
}

// What is assigned to a part leaves the rest alone.
kernel void partial_assignment(device float4* vectors [[buffer(0)]], // [12]
                               uint thread_index [[thread_position_in_grid]]) {
    device float4* v = vectors + thread_index;
    v[0].x = 10;
    v[1].zw = float2(10, 20);
    v[2].wx = v[2].xw;   // exchanged
    v[3].xyz = v[3].zxy; // rotated
    v[4].yz = v[5].yz;   // the same components of another vector
    v[5].rgb += 1;
    v[6].xz *= float2(2, 3);
    v[7][2] = 10;
    v[8].xy = v[8].zw = float2(7, 8); // one after the other
    v[9].w = v[9].xyz[1];
    v[10].xyzw = v[10].wzyx + v[10];
    (v[11] += 1).x = 0;
    float4 local = v[11];
    local.yw = local.wy;
    v[11] = local;
}

// Vectors that are not aligned, which on a GPU are read wrongly or not at all.
kernel void misaligned(device const char* bytes [[buffer(0)]],
                       device float4* output [[buffer(1)]],
                       uint offset [[thread_position_in_grid]]) {
    output[0] = *reinterpret_cast<device const float4*>(bytes + 4 * offset);
}
