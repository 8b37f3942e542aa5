// Random numbers that depend on a key and a counter only: no state to carry from token to token, and the same numbers
// whatever the number of threads or the order of launches. The CPU backend's generator (source/sampler.cpp), bit by
// bit.
#pragma once

#include <metal_stdlib>

namespace gptoss_metal {

using namespace metal;

// The finaliser of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
inline ulong mix_bits(ulong value) {
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ul;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBul;
    return value ^ (value >> 31);
}

// A number in [0, 1) in units of 2^-64, with 53 random bits: as many as a double has, so that GPU and CPU use the same.
inline ulong uniform_random(ulong key, ulong counter) {
    constexpr ulong golden_gamma = 0x9E3779B97F4A7C15ul;
    // The key is mixed on its own first, so that neighbouring seeds do not give shifted copies of one sequence.
    return mix_bits(mix_bits(key + golden_gamma) + (counter + 1) * golden_gamma) & ~0x7FFul;
}

// floor(a * b / 2^64): with a fraction in units of 2^-64 as one factor, that share of the other.
inline ulong multiply_high(ulong a, ulong b) {
    const ulong a_low = a & 0xFFFFFFFFul;
    const ulong a_high = a >> 32;
    const ulong b_low = b & 0xFFFFFFFFul;
    const ulong b_high = b >> 32;
    const ulong middle = a_high * b_low + ((a_low * b_low) >> 32);
    const ulong other_middle = a_low * b_high + (middle & 0xFFFFFFFFul);
    return a_high * b_high + (middle >> 32) + (other_middle >> 32);
}

} // namespace gptoss_metal
