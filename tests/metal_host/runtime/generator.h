// Random numbers for the order of threads: drawn at every switch, so they have to cost next to nothing.
#pragma once

#include <cstdint>

namespace metal_host {

// The same seed gives the same order on every machine.
class generator {
public:
    explicit generator(uint64_t seed = 0) : state_(seed) {}

    // A number from 0 to n - 1.
    uint32_t below(uint32_t n) { return static_cast<uint32_t>((next() >> 32) * n >> 32); }

private:
    // Splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
    uint64_t next() {
        state_ += 0x9E3779B97F4A7C15u;
        uint64_t mixed = state_;
        mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9u;
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EBu;
        return mixed ^ mixed >> 31;
    }

    uint64_t state_;
};

} // namespace metal_host
