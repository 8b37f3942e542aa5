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

GPTOSS_INLINE RegisterFloats load_cached(const uint16_t* address) {
    return load_half_register(address);
}

GPTOSS_INLINE RegisterFloats load_cached(const float* address) {
    return load<RegisterFloats>(address);
}

GPTOSS_INLINE RegisterFloats maximum(RegisterFloats a, RegisterFloats b) {
#if defined(__AVX512F__)
    return (RegisterFloats)_mm512_maskz_max_ps(kAllLanes, (__m512)a, (__m512)b);
#else
    return a > b ? a : b;
#endif
}

// e^x for x <= 0, to 2 ulp: exactly 1 for 0 and exactly 0 below -87, -infinity included.
GPTOSS_INLINE RegisterFloats softmax_exponential(RegisterFloats x) {
    const RegisterInts underflow = x < broadcast_register(-87.0f);
    x = maximum(x, broadcast_register(-87.0f));
    const RegisterFloats shifted = x * 1.44269504f + 12582912.0f; // 1.5 * 2^23: the integer part lands in the low bits
    const RegisterFloats r = x * 1.44269504f - (shifted - 12582912.0f);
    RegisterFloats p = r * 0x1.5bba14p-10f + 0x1.3cea88p-7f; // 2^r for |r| <= 1/2 to 1e-7
    p = p * r + 0x1.c6b752p-5f;
    p = p * r + 0x1.ebf9bcp-3f;
    p = p * r + 0x1.62e42ap-1f;
    p = p * r + 1.0f;
    const RegisterInts power = (RegisterInts)p + ((RegisterInts)shifted << 23);
    return underflow ? RegisterFloats{} : (RegisterFloats)power;
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
    constexpr size_t kVectors = kBlocks * kRegisters;
    RegisterFloats sums[kHeads][kVectors] = {};
    for (size_t d = 0; d < kHeadSize; d++) {
        if constexpr (sizeof(Element) == sizeof(uint16_t)) {
            __builtin_prefetch(ahead + d * 32);
        }
        RegisterFloats key[kVectors];
        for (size_t v = 0; v < kVectors; v++) {
            key[v] = load_cached(keys[v / kRegisters] + d * kKeyBlock + v % kRegisters * kRegisterLanes);
        }
        for (size_t h = 0; h < kHeads; h++) {
            for (size_t v = 0; v < kVectors; v++) {
                sums[h][v] += queries[h * kHeadSize + d] * key[v];
            }
        }
    }
    for (size_t h = 0; h < kHeads; h++) {
        for (size_t v = 0; v < kVectors; v++) {
            store(scores + h * kKeyTile + v * kRegisterLanes, sums[h][v]);
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

struct HigherFloats {
    GPTOSS_INLINE_MEMBER LaneWords operator()(LaneWords a, LaneWords b) const {
        return (LaneWords)maximum((RegisterFloats)a, (RegisterFloats)b);
    }
};

// The highest lane of each of eight registers.
GPTOSS_INLINE void highest_lanes(const RegisterFloats (&registers)[8], float* result) { // [8]
    LaneWords fours[2]; // in each quarter, those of registers 0 to 3, and 4 to 7
    for (size_t i = 0; i < 2; i++) {
        LaneWords four[4];
        for (size_t j = 0; j < 4; j++) {
            four[j] = (LaneWords)registers[4 * i + j];
        }
        fours[i] = combine_all_quarters(combine_within_quarters(four, HigherFloats{}), HigherFloats{});
    }
    for (size_t i = 0; i < 2; i++) {
        memcpy(result + 4 * i, &fours[i], 16);
    }
}

// The highest score of each lane. Scores that are not of the keys [begin, end) become -infinity, which leaves no
// weight.
GPTOSS_INLINE RegisterFloats mask_scores(float* scores, size_t begin, size_t end) { // [kKeyTile]
    const RegisterFloats never = broadcast_register(-__builtin_inff());
    RegisterInts lanes;
    for (size_t lane = 0; lane < kRegisterLanes; lane++) {
        lanes[lane] = (int32_t)lane;
    }
    RegisterFloats highest = never;
    const size_t end_block = (end + kKeyBlock - 1) / kKeyBlock;
    for (size_t i = begin / kKeyBlock * kKeyBlock; i < end_block * kKeyBlock; i += kRegisterLanes) {
        RegisterFloats score = load<RegisterFloats>(scores + i);
        if (i < begin || i + kRegisterLanes > end) {
            const RegisterInts positions = lanes + (int32_t)i;
            const RegisterInts visible = (positions >= (int32_t)begin) & (positions < (int32_t)end);
            score = visible ? score : never;
            store(scores + i, score);
        }
        highest = maximum(highest, score);
    }
    return highest;
}

// As weigh_scores.
GPTOSS_INLINE void weigh(float* scores, size_t num_heads, size_t begin, size_t end, const SoftmaxState& state) {
    const RegisterFloats never = broadcast_register(-__builtin_inff());
    for (size_t first = 0; first < num_heads; first += kLanes) {
        alignas(64) float tile_highest[kLanes];
        for (size_t half = 0; half < kLanes; half += 8) {
            RegisterFloats highest[8];
            for (size_t h = 0; h < 8; h++) {
                const size_t head = first + half + h;
                highest[h] = head < num_heads ? mask_scores(scores + head * kKeyTile, begin, end) : never;
            }
            highest_lanes(highest, tile_highest + half);
        }
        for (size_t i = 0; i < kLanes; i += kRegisterLanes) {
            const RegisterFloats old_highest = load<RegisterFloats>(state.highest + first + i);
            const RegisterFloats new_highest = maximum(old_highest, load<RegisterFloats>(tile_highest + i));
            store(state.highest + first + i, new_highest);
            store(state.corrections + first + i, softmax_exponential(old_highest - new_highest));
        }
        for (size_t head = first; head < num_heads && head < first + kLanes; head++) {
            float* const head_scores = scores + head * kKeyTile;
            float* const head_sums = state.sums + head * kLanes;
            const RegisterFloats highest = broadcast_register(state.highest[head]);
            RegisterFloats sums[kRegisters];
            for (size_t r = 0; r < kRegisters; r++) {
                sums[r] = load<RegisterFloats>(head_sums + r * kRegisterLanes) * state.corrections[head];
            }
            for (size_t i = begin / kKeyBlock * kKeyBlock; i < end; i += kKeyBlock) {
                for (size_t r = 0; r < kRegisters; r++) {
                    float* const some = head_scores + i + r * kRegisterLanes;
                    const RegisterFloats weight = softmax_exponential(load<RegisterFloats>(some) - highest);
                    store(some, weight);
                    sums[r] += weight;
                }
            }
            for (size_t r = 0; r < kRegisters; r++) {
                store(head_sums + r * kRegisterLanes, sums[r]);
            }
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
    constexpr size_t kVectors = kVectorsTogether * kRegisters;
    constexpr size_t kDimensions = kVectors * kRegisterLanes;
    for (size_t d = 0; d < kHeadSize; d += kDimensions) {
        RegisterFloats sums[kHeads][kVectors];
        for (size_t h = 0; h < kHeads; h++) {
            for (size_t v = 0; v < kVectors; v++) {
                sums[h][v] = load<RegisterFloats>(output + h * kHeadSize + d + v * kRegisterLanes) * corrections[h];
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
                RegisterFloats value[kVectors];
                for (size_t v = 0; v < kVectors; v++) {
                    value[v] = load_cached(values + v * kRegisterLanes);
                }
                for (size_t h = 0; h < kHeads; h++) {
                    for (size_t v = 0; v < kVectors; v++) {
                        sums[h][v] += weights[h * kKeyTile + i] * value[v];
                    }
                }
            }
        }
        for (size_t h = 0; h < kHeads; h++) {
            for (size_t v = 0; v < kVectors; v++) {
                store(output + h * kHeadSize + d + v * kRegisterLanes, sums[h][v]);
            }
        }
    }
}

} // namespace
} // namespace gptoss::cpu
