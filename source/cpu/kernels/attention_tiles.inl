// Attention over one tile of keys: scores, their softmax weights, and the weighted sum of values.

namespace gptoss::cpu {
namespace {

// Positions whose scores are held at a time, from multiples of it. Keys or values of a tile are 16 KB in fp32: half of
// the smallest first-level cache around.
constexpr size_t kKeyTile = 64;
constexpr size_t kBlocksPerTile = kKeyTile / kKeyBlock;

// How many accumulators the inner loops keep: heads times blocks of keys, heads times vectors of values. Each loaded
// key or value serves all heads of a loop, each loaded query or weight all blocks or vectors.
#if defined(__AVX512F__)
constexpr size_t kHeadsTogether = 8; // 16 accumulators of one register each
constexpr size_t kBlocksTogether = 2;
constexpr size_t kVectorsTogether = 2;
#else
constexpr size_t kHeadsTogether = 4; // 4 accumulators of two to four registers each
constexpr size_t kBlocksTogether = 1;
constexpr size_t kVectorsTogether = 1;
#endif

// Where the blocks of a tile are: in the cache (uint16_t), or unpacked (float).
template <class Element>
struct KeyTile {
    const Element* keys[kBlocksPerTile];   // -> [64][16]
    const Element* values[kBlocksPerTile]; // -> [16][64]
};

GPTOSS_INLINE Floats load_cached(const uint16_t* address) {
    return load_half(address);
}

GPTOSS_INLINE Floats load_cached(const float* address) {
    return load<Floats>(address);
}

GPTOSS_INLINE Floats maximum(Floats a, Floats b) {
#if defined(__AVX512F__)
    return (Floats)_mm512_maskz_max_ps(kAllLanes, (__m512)a, (__m512)b);
#else
    return a > b ? a : b;
#endif
}

// e^x for x <= 0, to 2 ulp: exactly 1 for 0 and exactly 0 below -87, -infinity included.
GPTOSS_INLINE Floats softmax_exponential(Floats x) {
    const Ints underflow = x < broadcast(-87.0f);
    x = maximum(x, broadcast(-87.0f));
    const Floats shifted = x * 1.44269504f + 12582912.0f; // 1.5 * 2^23: the integer part lands in the low bits
    const Floats r = x * 1.44269504f - (shifted - 12582912.0f);
    Floats p = r * 0x1.5bba14p-10f + 0x1.3cea88p-7f; // 2^r for |r| <= 1/2 to 1e-7
    p = p * r + 0x1.c6b752p-5f;
    p = p * r + 0x1.ebf9bcp-3f;
    p = p * r + 0x1.62e42ap-1f;
    p = p * r + 1.0f;
    const Ints power = (Ints)p + ((Ints)shifted << 23);
    return underflow ? Floats{} : (Floats)power;
}

// Runs use<kCount>(head) over [0, num_heads) in steps that leave the most heads to each.
template <class Use>
GPTOSS_INLINE void for_heads(size_t num_heads, const Use& use) {
    size_t head = 0;
    for (; head + kHeadsTogether <= num_heads; head += kHeadsTogether) {
        use.template operator()<kHeadsTogether>(head);
    }
    for (; head + 2 <= num_heads; head += 2) {
        use.template operator()<2>(head);
    }
    for (; head < num_heads; head++) {
        use.template operator()<1>(head);
    }
}

// scores[h][16 * b + i] = queries[h] . key i of block b, summed in ascending order. `ahead` is where values follow that
// are needed soon.
template <size_t kHeads, size_t kBlocks, class Element>
GPTOSS_INLINE void score_blocks(const float* queries, const Element* const* keys, float* scores, const Element* ahead) {
    Floats sums[kHeads][kBlocks] = {};
    for (size_t d = 0; d < kHeadSize; d++) {
        if constexpr (sizeof(Element) == sizeof(uint16_t)) {
            __builtin_prefetch(ahead + d * 32);
        }
        Floats key[kBlocks];
        for (size_t b = 0; b < kBlocks; b++) {
            key[b] = load_cached(keys[b] + d * kKeyBlock);
        }
        for (size_t h = 0; h < kHeads; h++) {
            for (size_t b = 0; b < kBlocks; b++) {
                sums[h][b] += queries[h * kHeadSize + d] * key[b];
            }
        }
    }
    for (size_t h = 0; h < kHeads; h++) {
        for (size_t b = 0; b < kBlocks; b++) {
            store(scores + h * kKeyTile + b * kKeyBlock, sums[h][b]);
        }
    }
}

// The scores of keys [begin, end) of the tile, and of what else is in their blocks.
template <class Element>
GPTOSS_INLINE void score_tile(const float* queries, // [num_heads, 64]
                              size_t num_heads,
                              const KeyTile<Element>& tile,
                              size_t begin,
                              size_t end,
                              float* scores) { // [num_heads, kKeyTile]
    const size_t end_block = (end + kKeyBlock - 1) / kKeyBlock;
    for_heads(num_heads, [&]<size_t kHeads>(size_t head) {
        const float* const head_queries = queries + head * kHeadSize;
        float* const head_scores = scores + head * kKeyTile;
        size_t block = begin / kKeyBlock;
        for (; block + kBlocksTogether <= end_block; block += kBlocksTogether) {
            score_blocks<kHeads, kBlocksTogether>(head_queries, tile.keys + block, head_scores + block * kKeyBlock,
                                                  tile.values[block]);
        }
        for (; block < end_block; block++) {
            score_blocks<kHeads, 1>(head_queries, tile.keys + block, head_scores + block * kKeyBlock,
                                    tile.values[block]);
        }
    });
}

// The running state of a softmax (Milakov and Gimelshein, Online normalizer calculation for softmax, 2018), for one
// query of every head. highest and corrections have room for a multiple of 16 heads.
struct SoftmaxState {
    float* highest;     // [num_heads] of the scores so far
    float* corrections; // [num_heads] what the sums so far have to be multiplied by
    float* sums;        // [num_heads, 16] of the weights so far, by position modulo 16
};

// The highest lane of each of eight vectors, in the lanes 0 to 7: half of the shuffles that eight reductions take.
GPTOSS_INLINE Floats highest_lanes(const Floats (&v)[8]) {
    Floats pairs[4]; // [a b a b] of two vectors in each quarter
    for (size_t i = 0; i < 4; i++) {
        pairs[i] = maximum(
            __builtin_shufflevector(v[2 * i], v[2 * i + 1], 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29),
            __builtin_shufflevector(v[2 * i], v[2 * i + 1], 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15,
                                    31));
    }
    Floats fours[2]; // [a b c d] in each quarter
    for (size_t i = 0; i < 2; i++) {
        fours[i] = maximum(__builtin_shufflevector(pairs[2 * i], pairs[2 * i + 1], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24,
                                                   25, 12, 13, 28, 29),
                           __builtin_shufflevector(pairs[2 * i], pairs[2 * i + 1], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11,
                                                   26, 27, 14, 15, 30, 31));
    }
    const Floats halves = maximum(
        __builtin_shufflevector(fours[0], fours[1], 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23),
        __builtin_shufflevector(fours[0], fours[1], 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31));
    return maximum(halves,
                   __builtin_shufflevector(halves, halves, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
}

// The highest score of each lane. Scores that are not of the keys [begin, end) become -infinity, which leaves no
// weight.
GPTOSS_INLINE Floats mask_scores(float* scores, size_t begin, size_t end) { // [kKeyTile]
    const Ints lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const Floats never = broadcast(-__builtin_inff());
    Floats highest = never;
    for (size_t i = begin / kKeyBlock * kKeyBlock; i < end; i += kKeyBlock) {
        Floats score = load<Floats>(scores + i);
        if (i < begin || i + kKeyBlock > end) {
            const Ints positions = lanes + (int32_t)i;
            const Ints visible = (positions >= (int32_t)begin) & (positions < (int32_t)end);
            score = visible ? score : never;
            store(scores + i, score);
        }
        highest = maximum(highest, score);
    }
    return highest;
}

// As weigh_scores.
GPTOSS_INLINE void weigh(float* scores, size_t num_heads, size_t begin, size_t end, const SoftmaxState& state) {
    const Floats never = broadcast(-__builtin_inff());
    for (size_t first = 0; first < num_heads; first += kLanes) {
        Floats halves[2] = {never, never};
        for (size_t half = 0; half < 2 && first + half * 8 < num_heads; half++) {
            Floats highest[8];
            for (size_t h = 0; h < 8; h++) {
                const size_t head = first + half * 8 + h;
                highest[h] = head < num_heads ? mask_scores(scores + head * kKeyTile, begin, end) : never;
            }
            halves[half] = highest_lanes(highest);
        }
        const Floats tile_highest =
            __builtin_shufflevector(halves[0], halves[1], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
        const Floats old_highest = load<Floats>(state.highest + first);
        const Floats new_highest = maximum(old_highest, tile_highest);
        store(state.highest + first, new_highest);
        store(state.corrections + first, softmax_exponential(old_highest - new_highest));
        for (size_t head = first; head < num_heads && head < first + kLanes; head++) {
            float* const head_scores = scores + head * kKeyTile;
            const Floats highest = broadcast(state.highest[head]);
            Floats sums = load<Floats>(state.sums + head * kLanes) * state.corrections[head];
            for (size_t i = begin / kKeyBlock * kKeyBlock; i < end; i += kKeyBlock) {
                const Floats weight = softmax_exponential(load<Floats>(head_scores + i) - highest);
                store(head_scores + i, weight);
                sums += weight;
            }
            store(state.sums + head * kLanes, sums);
        }
    }
}

// Scores of the keys [begin, end) become weights, exp(score - highest); of the others in their blocks exactly 0. Not
// inlined: it is the same machine code, and so the same rounding, for one query and for many.
__attribute__((noinline)) void weigh_scores(float* scores, // [num_heads, kKeyTile]
                                            size_t num_heads,
                                            size_t begin,
                                            size_t end,
                                            const SoftmaxState& state) {
    if (begin == 0 && end == kKeyTile) {
        weigh(scores, num_heads, 0, kKeyTile, state); // loops of known length: nearly always
    } else {
        weigh(scores, num_heads, begin, end, state);
    }
}

// output = output * corrections + weights . values, over the keys [begin, end) in ascending order. Others are not read:
// a slot that was never written may hold anything. The keys of the tile `next` are needed soon.
template <size_t kHeads, class Element>
GPTOSS_INLINE void add_values(const float* weights, // [kHeads, kKeyTile]
                              const KeyTile<Element>& tile,
                              size_t begin,
                              size_t end,
                              const KeyTile<Element>& next,
                              const float* corrections, // [kHeads]
                              float* output) {          // [kHeads, 64]
    constexpr size_t kDimensions = kVectorsTogether * kLanes;
    for (size_t d = 0; d < kHeadSize; d += kDimensions) {
        Floats sums[kHeads][kVectorsTogether];
        for (size_t h = 0; h < kHeads; h++) {
            for (size_t v = 0; v < kVectorsTogether; v++) {
                sums[h][v] = load<Floats>(output + h * kHeadSize + d + v * kLanes) * corrections[h];
            }
        }
        for (size_t i = begin; i < end;) {
            size_t block = i / kKeyBlock;
            const Element* values = tile.values[block] + i % kKeyBlock * kHeadSize + d;
            // As far as the blocks are neighbours: everywhere, but where a ring begins again.
            while ((block + 1) * kKeyBlock < end &&
                   tile.values[block + 1] == tile.values[block] + kKeyBlock * kHeadSize) {
                block++;
            }
            const size_t run_end = (block + 1) * kKeyBlock < end ? (block + 1) * kKeyBlock : end;
            const Element* ahead = next.keys[0] + d * kKeyTile + i * kDimensions;
            for (; i < run_end; i++, values += kHeadSize, ahead += kDimensions) {
                if constexpr (sizeof(Element) == sizeof(uint16_t)) {
                    __builtin_prefetch(ahead);
                }
                Floats value[kVectorsTogether];
                for (size_t v = 0; v < kVectorsTogether; v++) {
                    value[v] = load_cached(values + v * kLanes);
                }
                for (size_t h = 0; h < kHeads; h++) {
                    for (size_t v = 0; v < kVectorsTogether; v++) {
                        sums[h][v] += weights[h * kKeyTile + i] * value[v];
                    }
                }
            }
        }
        for (size_t h = 0; h < kHeads; h++) {
            for (size_t v = 0; v < kVectorsTogether; v++) {
                store(output + h * kHeadSize + d + v * kLanes, sums[h][v]);
            }
        }
    }
}

} // namespace
} // namespace gptoss::cpu
