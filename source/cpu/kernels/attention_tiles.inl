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

// Scores of the keys [begin, end) become weights, exp(score - highest); of the others in their blocks exactly 0. Not
// inlined: it is the same machine code, and so the same rounding, for one query and for many.
__attribute__((noinline)) void weigh_scores(float* scores, // [num_heads, kKeyTile]
                                            size_t num_heads,
                                            size_t begin,
                                            size_t end,
                                            const SoftmaxState& state) {
    const size_t first = begin / kKeyBlock * kKeyBlock;
    const Ints lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (size_t head = 0; head < num_heads; head += kLanes) {
        const size_t count = num_heads - head < kLanes ? num_heads - head : kLanes;
        Floats tile_highest = load<Floats>(state.highest + head);
        for (size_t h = 0; h < count; h++) {
            float* const row = scores + (head + h) * kKeyTile;
            Floats highest = broadcast(-__builtin_inff());
            for (size_t i = first; i < end; i += kKeyBlock) {
                Floats score = load<Floats>(row + i);
                if (i < begin || i + kKeyBlock > end) {
                    const Ints positions = lanes + (int32_t)i;
                    const Ints visible = (positions >= (int32_t)begin) & (positions < (int32_t)end);
                    score = visible ? score : broadcast(-__builtin_inff());
                    store(row + i, score);
                }
                highest = maximum(highest, score);
            }
            tile_highest = lanes == (int32_t)h ? maximum(tile_highest, broadcast(highest_lane(highest))) : tile_highest;
        }
        store(state.corrections + head, softmax_exponential(load<Floats>(state.highest + head) - tile_highest));
        store(state.highest + head, tile_highest);
        for (size_t h = 0; h < count; h++) {
            float* const row = scores + (head + h) * kKeyTile;
            const Floats highest = broadcast(state.highest[head + h]);
            Floats sums = load<Floats>(state.sums + (head + h) * kLanes) * state.corrections[head + h];
            for (size_t i = first; i < end; i += kKeyBlock) {
                const Floats weight = softmax_exponential(load<Floats>(row + i) - highest);
                store(row + i, weight);
                sums += weight;
            }
            store(state.sums + (head + h) * kLanes, sums);
        }
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
            const size_t block = i / kKeyBlock;
            const size_t block_end = (block + 1) * kKeyBlock < end ? (block + 1) * kKeyBlock : end;
            const Element* values = tile.values[block] + i % kKeyBlock * kHeadSize + d;
            const Element* ahead = next.keys[block] + d / kDimensions * kKeyBlock * 32;
            for (; i < block_end; i++, values += kHeadSize, ahead += 32) {
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
