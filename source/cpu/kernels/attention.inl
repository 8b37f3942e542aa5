// Attention.

namespace gptoss::cpu {
namespace {

constexpr size_t kKeyTile = 256; // positions whose scores are held at a time

// For kQueries heads, with the running maximum and sum of Milakov and Gimelshein, Online normalizer calculation for
// softmax, 2018. The sink is a column without a value: it starts the sum and nothing else.
template <size_t kQueries>
GPTOSS_INLINE void attend(const AttentionArguments& arguments, size_t first_query) {
    const float* const queries = arguments.queries + first_query * kHeadSize;
    float highest[kQueries];
    float sum[kQueries];
    float output[kQueries][kHeadSize];
    for (size_t q = 0; q < kQueries; q++) {
        highest[q] = arguments.sinks[first_query + q];
        sum[q] = 1.0f;
        memset(output[q], 0, sizeof(output[q]));
    }

    float weights[kQueries][kKeyTile]; // scores first, then exp(score - highest)
    // Tiles begin at multiples of the key block, so that a block of 16 keys is one load per component.
    size_t tile = arguments.first / kKeyBlock * kKeyBlock;
    for (; tile <= arguments.last; tile += kKeyTile) {
        const size_t left = arguments.last + 1 - tile;
        const size_t tile_size = left < kKeyTile ? left : kKeyTile;
        for (size_t block = 0; block < tile_size; block += kKeyBlock) {
            const uint16_t* const keys = arguments.keys + (tile + block) % arguments.capacity * kHeadSize;
            Floats scores[kQueries] = {};
            for (size_t d = 0; d < kHeadSize; d++) {
                const Floats key = load_half(keys + d * kKeyBlock);
                for (size_t q = 0; q < kQueries; q++) {
                    scores[q] += queries[q * kHeadSize + d] * key;
                }
            }
            Ints positions = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
            positions += (int32_t)(tile + block);
            const Ints visible = (positions >= (int32_t)arguments.first) & (positions <= (int32_t)arguments.last);
            const Floats never = broadcast(-__builtin_inff());
            for (size_t q = 0; q < kQueries; q++) {
                store(weights[q] + block, select(visible, scores[q], never));
            }
        }
        const size_t rounded = (tile_size + kKeyBlock - 1) / kKeyBlock * kKeyBlock;
        for (size_t q = 0; q < kQueries; q++) {
            Floats highest_lanes = broadcast(highest[q]);
            for (size_t i = 0; i < rounded; i += kLanes) {
                const Floats scores = load<Floats>(weights[q] + i);
                highest_lanes = select(scores > highest_lanes, scores, highest_lanes);
            }
            const float new_highest = highest_lane(highest_lanes);
            if (new_highest > highest[q]) {
                const float correction = exponential(broadcast(highest[q] - new_highest))[0];
                sum[q] *= correction;
                for (size_t d = 0; d < kHeadSize; d++) {
                    output[q][d] *= correction;
                }
                highest[q] = new_highest;
            }
            Floats sum_lanes = {};
            for (size_t i = 0; i < rounded; i += kLanes) {
                const Floats weight = exponential(load<Floats>(weights[q] + i) - highest[q]);
                store(weights[q] + i, weight);
                sum_lanes += weight;
            }
            sum[q] += sum_of_lanes(sum_lanes);
        }
        // Values outside the visible range are not read: a slot that was never written may hold anything.
        const size_t begin = tile < arguments.first ? arguments.first - tile : 0;
        for (size_t d = 0; d < kHeadSize; d += kLanes) {
            Floats sums[kQueries];
            for (size_t q = 0; q < kQueries; q++) {
                sums[q] = load<Floats>(output[q] + d);
            }
            for (size_t i = begin; i < tile_size;) {
                // Slots are consecutive within a block of keys.
                const size_t block_end = (i / kKeyBlock + 1) * kKeyBlock;
                const size_t end = block_end < tile_size ? block_end : tile_size;
                const uint16_t* values = arguments.values + (tile + i) % arguments.capacity * kHeadSize + d;
                for (; i < end; i++, values += kHeadSize) {
                    const Floats value = load_half(values);
                    for (size_t q = 0; q < kQueries; q++) {
                        sums[q] += weights[q][i] * value;
                    }
                }
            }
            for (size_t q = 0; q < kQueries; q++) {
                store(output[q] + d, sums[q]);
            }
        }
    }
    for (size_t q = 0; q < kQueries; q++) {
        float* const result = arguments.output + (first_query + q) * kHeadSize;
        for (size_t d = 0; d < kHeadSize; d++) {
            result[d] = output[q][d] / sum[q];
        }
    }
}

void attention(const AttentionArguments& arguments) {
    size_t query = 0;
    for (; query + 8 <= arguments.num_queries; query += 8) {
        attend<8>(arguments, query);
    }
    for (; query + 2 <= arguments.num_queries; query += 2) {
        attend<2>(arguments, query);
    }
    for (; query < arguments.num_queries; query++) {
        attend<1>(arguments, query);
    }
}

} // namespace
} // namespace gptoss::cpu
