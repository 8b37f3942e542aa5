// Rotary position embedding (Su et al., RoFormer, 2021): pair j of a head turns by position * inverse_frequency[j].
//
// The model file stores the two members of a pair as neighbouring rows (2j, 2j + 1) of the q and k projections. The
// 32 frequencies (YaRN) and the factor that multiplies cosine and sine (its "concentration") come from the host.
#pragma once

#include <metal_stdlib>

namespace gptoss_metal {

using namespace metal;

// The cosine (x) and sine (y) of an angle in radians, within 1e-7 for magnitudes up to 2^20.
//
// Kernels are compiled with fast-math, whose sine is inaccurate beyond [-pi, pi], and an angle is as large as its
// position: 131,071 radians at the end of the context. Here every step that must not be rearranged is an explicit fma,
// so the result is the same with and without fast-math, and the same on the GPU as on the host that tests it.
inline float2 cosine_and_sine(float angle) {
    // Cody and Waite: subtract the nearest multiple of pi/2, whose two parts are exact to 49 bits. The first
    // difference is exact, because the product is not rounded and its leading bits cancel.
    constexpr float half_pi_high = 1.57079637f;
    constexpr float half_pi_low = -4.37113883e-8f;
    const float quarter_turns = rint(angle * 0.636619747f);
    const float reduced = fma(-quarter_turns, half_pi_low, fma(-quarter_turns, half_pi_high, angle));

    // Minimax polynomials in the square, for |reduced| <= 0.83: a little beyond pi/4, because the product above
    // is rounded. Their errors are 3e-9 and 2e-10, below those of the fp32 operations.
    const float square = reduced * reduced;
    const float sine_terms = fma(square, fma(square, -1.94556342e-4f, 8.33164621e-3f), -0.166666448f);
    const float cosine_terms = fma(square, fma(square, 2.43963696e-5f, -1.38869940e-3f), 4.16666381e-2f);
    const float sine = fma(reduced * square, sine_terms, reduced);
    const float cosine = fma(square * square, cosine_terms, fma(square, -0.5f, 1.0f));

    const int quadrant = int(quarter_turns) & 3;
    const bool odd = (quadrant & 1) != 0;
    const float unsigned_cosine = odd ? sine : cosine;
    const float unsigned_sine = odd ? cosine : sine;
    return float2(quadrant == 1 || quadrant == 2 ? -unsigned_cosine : unsigned_cosine,
                  quadrant >= 2 ? -unsigned_sine : unsigned_sine);
}

// What one pair is multiplied by at a position, as a complex number. The angle is a product in fp32, because the models
// were trained with that; float(position) is exact to 2^24.
inline float2 rotation(uint position, float inverse_frequency, float concentration) {
    return cosine_and_sine(float(position) * inverse_frequency) * concentration;
}

// Elements (2j, 2j + 1) of a query or key head, turned.
inline float2 rotate_pair(float2 pair, float2 rotation) {
    return float2(pair.x * rotation.x - pair.y * rotation.y, pair.y * rotation.x + pair.x * rotation.y);
}

} // namespace gptoss_metal
