// Math functions that do not fit a table: those with several results, with conditions, of whole vectors.
#include <metal_stdlib>

using namespace metal;

kernel void several_results(device const float* input [[buffer(0)]],
                            device float* output [[buffer(1)]], // [threads, 9]
                            uint i [[thread_position_in_grid]]) {
    device float* results = output + 9 * i;
    const float x = input[i];
    float cosine;
    results[0] = sincos(x, cosine);
    results[1] = cosine;
    float whole;
    results[2] = modf(x, whole);
    results[3] = whole;
    int exponent;
    results[4] = frexp(x, exponent);
    results[5] = exponent;
    results[6] = ldexp(x, 3);
    results[7] = ilogb(x);
    float2 cosines;
    const float2 sines = precise::sincos(float2(x, 2 * x), cosines);
    results[8] = sines.y * sines.y + cosines.y * cosines.y;
}

kernel void of_both_precisions(device const float* input [[buffer(0)]],
                               device float* output [[buffer(1)]], // [threads, 6]
                               uint i [[thread_position_in_grid]]) {
    device float* results = output + 6 * i;
    const float x = input[i];
    results[0] = precise::exp(x);
    results[1] = fast::exp(x);
    results[2] = metal::exp(x);
    results[3] = precise::cos(x);
    results[4] = fast::rsqrt(abs(x));
    results[5] = precise::log(float2(abs(x), 1.0f)).x;
}

kernel void predicates(device const float* input [[buffer(0)]],
                       device bool* output [[buffer(1)]], // [threads, 8]
                       uint i [[thread_position_in_grid]]) {
    device bool* results = output + 8 * i;
    const float x = input[i];
    results[0] = isnan(x);
    results[1] = isinf(x);
    results[2] = isfinite(x);
    results[3] = isnormal(x);
    results[4] = signbit(x);
    results[5] = any(isnan(float4(0, x, 0, 0)));
    results[6] = isunordered(x, 1.0f);
    results[7] = isnormal(half(x));
}

kernel void selections(device const float4* input [[buffer(0)]], // [2]
                       device float4* output [[buffer(1)]],      // [5]
                       uint thread_index [[thread_position_in_grid]]) {
    const float4 a = input[thread_index];
    const float4 b = input[1];
    output[0] = select(a, b, a < b); // the larger
    output[1] = select(a, 0.0f, a < 0.0f);
    output[2] = select(a.x, b.x, true);
    output[3] = select(a.wzyx, b, bool4(true, false, true, false));
    output[4] = clamp(a, b.x, 2.0f); // scalars are spread over the vector
}

kernel void geometry(device const float4* input [[buffer(0)]], // [2]
                     device float* output [[buffer(1)]],       // [14]
                     uint thread_index [[thread_position_in_grid]]) {
    const float4 a = input[thread_index];
    const float4 b = input[1];
    output[0] = dot(a, b);
    output[1] = dot(a.xyz, b.xyz);
    output[2] = dot(a.xy, b.zw);
    output[3] = length(a);
    output[4] = length_squared(a.xyz);
    output[5] = distance(a, b);
    const float4 unit = normalize(a);
    const float3 normal = cross(a.xyz, b.xyz);
    for (uint i = 0; i < 4; i++) {
        output[6 + i] = unit[i];
    }
    output[10] = normal.x;
    output[11] = normal.y;
    output[12] = normal.z;
    output[13] = dot(half4(a), half4(b)); // in half
}

kernel void constants(device float* output [[buffer(0)]], uint i [[thread_position_in_grid]]) {
    const float values[] = {M_PI_F,
                            M_E_F,
                            M_LN2_F,
                            M_LOG2E_F,
                            M_SQRT1_2_F,
                            FLT_MAX,
                            FLT_EPSILON,
                            numeric_limits<float>::lowest(),
                            float(numeric_limits<int>::min()),
                            float(numeric_limits<bfloat>::max()),
                            INFINITY,
                            MAXFLOAT,
                            1.0 / 3}; // without a suffix: a float
    output[i] = values[i];
}
