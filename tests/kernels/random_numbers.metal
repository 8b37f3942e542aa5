// metal/random.h for tests: a thread a number.
#include <metal_stdlib>

#include "../../metal/random.h"

using namespace metal;
using namespace gptoss_metal;

kernel void random_numbers(device const ulong* keys [[buffer(0)]],     // [n]
                           device const ulong* counters [[buffer(1)]], // [n]
                           device ulong* numbers [[buffer(2)]],        // [n]
                           uint thread_position [[thread_position_in_grid]]) {
    numbers[thread_position] = uniform_random(keys[thread_position], counters[thread_position]);
}

kernel void high_halves(device const ulong* a [[buffer(0)]], // [n]
                        device const ulong* b [[buffer(1)]], // [n]
                        device ulong* halves [[buffer(2)]],  // [n]
                        uint thread_position [[thread_position_in_grid]]) {
    halves[thread_position] = multiply_high(a[thread_position], b[thread_position]);
}
