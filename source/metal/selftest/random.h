// Made-up inputs of the checks: the same numbers on every machine and at every run.
#pragma once

#include <cstdint>
#include <vector>

#include "numbers.h"

namespace gptoss::metal {

class Random {
public:
    explicit Random(uint64_t seed) : state_(seed) {}

    // SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
    uint64_t bits() {
        uint64_t value = state_ += 0x9E3779B97F4A7C15u;
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
        value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
        return value ^ (value >> 31);
    }

    // From 0 to bound - 1.
    uint32_t below(uint32_t bound) { return static_cast<uint32_t>((bits() >> 32) * bound >> 32); }

    // In [low, high).
    double uniform(double low, double high) {
        return low + (high - low) * static_cast<double>(bits() >> 11) * 0x1.0p-53;
    }

    // Close to a normal distribution with variance 1. A sum of uniform numbers and not Box and Muller's formula, whose
    // logarithm and cosine are not the same in every C library.
    double normal() {
        double sum = -6;
        for (int i = 0; i < 12; i++) {
            sum += uniform(0, 1);
        }
        return sum;
    }

    // [count] normally distributed numbers, times `scale`.
    template <class T>
    std::vector<T> normals(size_t count, double scale = 1) {
        std::vector<T> values(count);
        for (T& value : values) {
            value = from_double<T>(normal() * scale);
        }
        return values;
    }

private:
    uint64_t state_;
};

} // namespace gptoss::metal
