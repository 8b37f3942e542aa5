// What attention reads: rotated queries, and keys and values in fp16 as the cache has them.

namespace gptoss::cpu {
namespace {

// Sixteen components of a head from d on, rotated. Pairs are neighbours.
GPTOSS_INLINE Floats rotated(const float* head, const float* rotation, size_t d) {
    const Floats values = load<Floats>(head + d);
    const Floats partners =
        __builtin_shufflevector(values, values, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
    return values * load<Floats>(rotation + d) + partners * load<Floats>(rotation + kHeadSize + d);
}

void rotate_and_cache(const RotateAndCacheArguments& arguments) {
    uint16_t keys[kKeyBlock][kHeadSize];
    for (size_t row = 0; row < arguments.num_rows; row++) {
        const float* const rotation = arguments.rotations + row * 2 * kHeadSize;
        float* const queries = arguments.queries + row * arguments.row_stride;
        for (size_t i = 0; i < arguments.num_heads * kHeadSize; i += kLanes) {
            store(queries + i, rotated(queries + i / kHeadSize * kHeadSize, rotation, i % kHeadSize));
        }
        const float* const key = arguments.key + row * arguments.row_stride;
        const float* const value = arguments.value + row * arguments.row_stride;
        uint16_t* const cached_value = arguments.values + (arguments.slot + row) * kHeadSize;
        for (size_t d = 0; d < kHeadSize; d += kLanes) {
            store_half(keys[row] + d, rotated(key, rotation, d));
            store_half(cached_value + d, load<Floats>(value + d));
        }
    }
    // A component at a time: sixteen positions of it are neighbours in the cache.
    uint16_t* const block = arguments.keys + arguments.slot / kKeyBlock * kKeyBlock * kHeadSize;
    for (size_t d = 0; d < kHeadSize; d++) {
        uint16_t* const component = block + d * kKeyBlock + arguments.slot % kKeyBlock;
        for (size_t row = 0; row < arguments.num_rows; row++) {
            component[row] = keys[row][d];
        }
    }
}

} // namespace
} // namespace gptoss::cpu
