// Dense weights, bf16 or 8-bit codes, as 16-bit integers that share a scale in a group of 128 inputs (kernels.h).
//
// Scales of groups are powers of two. Four outputs are prepared at a time, so that their rows are read as long streams.

namespace gptoss::cpu {
namespace {

constexpr float kRoundToInteger = 12582912.0f; // 1.5 * 2^23: added to a number, it leaves its integer in the low bits

// Where a group of four outputs begins in their matrix.
struct GroupPlaces {
    size_t first;
    size_t stride;
    size_t last; // outputs behind it repeat it: there are no more

    GPTOSS_INLINE_MEMBER size_t offset(size_t output) const { return first + (output < last ? output : last) * stride; }
};

// 4,096 to 8,160 of the group's largest weight; weights from a thirty-second part of that on are exact.
struct Bf16Integers {
    const uint16_t* values; // [outputs, num_inputs]

    struct Group {
        GroupPlaces places;
        LaneFloats scales;     // of the integers of output i, in lane i of each quarter
        LaneFloats factors[4]; // that make them of the weights
    };

    GPTOSS_INLINE_MEMBER void prepare(size_t num_blocks, Group& group) const {
        LaneWords highest_lanes[4];
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) {
            const uint16_t* const row = values + group.places.offset(i);
            LaneShorts highest = load<LaneShorts>(row) & 0x7FFF;
#pragma GCC unroll 16
            for (size_t input = kRegisterInputs; input < num_blocks * 32; input += kRegisterInputs) {
                const LaneShorts magnitudes = load<LaneShorts>(row + input) & 0x7FFF;
                highest = magnitudes > highest ? magnitudes : highest;
            }
            const LaneWords words = (LaneWords)highest;
            highest_lanes[i] = HigherLanes{}(words >> 16, words & 0xFFFFu);
        }
        const LaneWords exponents =
            combine_all_quarters(combine_within_quarters(highest_lanes, HigherLanes{}), HigherLanes{}) >> 7;
        // A group of less than 2^-114 counts as zero, and one with an infinity or no number has no number for a scale.
        const LaneWords usable = (LaneWords)(exponents > 12u) & (LaneWords)(exponents < 255u);
        const LaneWords infinite = (LaneWords)(exponents == 255u);
        const LaneFloats factors = (LaneFloats)(usable & ((266u - exponents) << 23));
        group.scales = (LaneFloats)((usable & ((exponents - 12u) << 23)) | (infinite & 0x7FC00000u));
        for (size_t i = 0; i < 4; i++) {
            group.factors[i] = spread_lane(factors, i);
        }
    }

    GPTOSS_INLINE_MEMBER void prefetch(size_t index) const {
        for (size_t line = 0; line < kGroupInputs; line += 32) {
            __builtin_prefetch(values + index + line, 0, 3);
        }
    }

    // The integers of kRegisterInputs inputs from `input` on, of output i.
    GPTOSS_INLINE_MEMBER LaneShorts integers(const Group& group, size_t i, size_t input) const {
        const LaneWords pairs = load<LaneWords>(values + group.places.offset(i) + input);
        const LaneFloats even = (LaneFloats)(pairs << 16);
        const LaneFloats odd = (LaneFloats)(pairs & 0xFFFF0000u);
        const LaneWords low = (LaneWords)(even * group.factors[i] + kRoundToInteger);
        const LaneWords high = (LaneWords)(odd * group.factors[i] + kRoundToInteger);
        return (LaneShorts)((low & 0xFFFFu) | (high << 16));
    }
};

// 32 to 64 times the codes of the block with the highest scale, and less in the others.
struct CodedIntegers {
    const int8_t* codes;    // [outputs, num_inputs]
    const uint16_t* scales; // fp16 [outputs, num_inputs / 32]

    struct Group {
        GroupPlaces places;
        LaneFloats scales;                              // of the integers of output i, in lane i of each quarter
        alignas(64) uint32_t factors[4 * kGroupBlocks]; // [output, block] for scale_codes(), twice in a word
    };

    GPTOSS_INLINE_MEMBER void prepare(size_t num_blocks, Group& group) const {
        alignas(32) uint16_t halves[4 * kGroupBlocks] = {};
        for (size_t i = 0; i < 4; i++) {
            const uint16_t* const from = scales + group.places.offset(i) / kCodeBlock;
            if (num_blocks == kGroupBlocks) {
                memcpy(halves + i * kGroupBlocks, from, kGroupBlocks * sizeof(uint16_t));
            } else {
                memcpy(halves + i * kGroupBlocks, from, num_blocks * sizeof(uint16_t));
            }
        }
        LaneWords in_order = {};
        for (size_t r = 0; r < kRegisters; r++) {
            const LaneWords block_scales = (LaneWords)load_half_register(halves + r * kRegisterLanes);
            const LaneWords magnitudes = block_scales & 0x7FFFFFFFu;
            const LaneWords pairs = HigherLanes{}(magnitudes, quarter_shuffle<1, 0, 3, 2>(magnitudes));
            // Of each output, four times.
            const LaneWords exponents = HigherLanes{}(pairs, quarter_shuffle<2, 3, 0, 1>(pairs)) >> 23;
            // Scales are fp16, so that exponents are 103 to 142, or 0 for a group of zeros.
            const LaneWords some = (LaneWords)(exponents > 0u);
            const LaneFloats to_factor = (LaneFloats)(some & ((268u - exponents) << 23)); // 2^14 / 2^exponent
            const LaneWords factors = (LaneWords)((LaneFloats)block_scales * to_factor + kRoundToInteger) & 0xFFFFu;
            store(group.factors + r * kRegisterLanes, factors * 0x00010001u);
            // Lane i of quarter i, all others zero.
            LaneWords diagonal;
            for (size_t lane = 0; lane < kRegisterLanes; lane++) {
                diagonal[lane] = r * kQuarters + lane / 4 == lane % 4 ? ~0u : 0u;
            }
            in_order |= diagonal & some & ((exponents - 5u) << 23);
        }
        group.scales = (LaneFloats)combine_all_quarters(in_order, AddLanes{});
    }

    GPTOSS_INLINE_MEMBER void prefetch(size_t index) const {
        __builtin_prefetch(codes + index, 0, 3);
        __builtin_prefetch(codes + index + 64, 0, 3);
    }

    GPTOSS_INLINE_MEMBER LaneShorts integers(const Group& group, size_t i, size_t input) const {
        const int8_t* const from = codes + group.places.offset(i) + input;
#if defined(__AVX512F__)
        const LaneShorts values =
            (LaneShorts)_mm512_maskz_cvtepi8_epi16(~(__mmask32)0, _mm256_loadu_si256((const __m256i*)from));
#elif defined(__AVX2__)
        const LaneShorts values = (LaneShorts)_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)from));
#else
        typedef int8_t RegisterBytes __attribute__((vector_size(kRegisterInputs)));
        const LaneShorts values = (LaneShorts) __builtin_convertvector(load<RegisterBytes>(from), SignedLaneShorts);
#endif
        const uint32_t factor = group.factors[i * kGroupBlocks + input / kCodeBlock];
        return scale_codes(values << 6, (LaneShorts)(LaneWords{} + factor));
    }
};

// What the products want of weights, of any source.
template <class Source>
struct DenseIntegers {
    static constexpr CodeOrder kOrder = CodeOrder::natural;

    Source source;
    size_t num_inputs;
    size_t num_outputs;

    GPTOSS_INLINE_MEMBER void prepare(size_t output,
                                      size_t group,
                                      size_t num_blocks,
                                      typename Source::Group& result) const {
        // All four may be behind the last one.
        const size_t first = output < num_outputs ? output : num_outputs - 1;
        result.places = {first * num_inputs + group * kGroupInputs, num_inputs, num_outputs - 1 - first};
        source.prepare(num_blocks, result);
    }

    // Where output `output`'s group kGroupsAhead groups on begins, or the group of the output four behind it.
    GPTOSS_INLINE_MEMBER size_t ahead(size_t output, size_t group) const {
        const size_t num_groups = (num_inputs + kGroupInputs - 1) / kGroupInputs;
        const size_t later = group + kGroupsAhead;
        return later < num_groups ? output * num_inputs + later * kGroupInputs
                                  : (output + 4) * num_inputs + (later - num_groups) * kGroupInputs;
    }

    GPTOSS_INLINE_MEMBER void load_scales(size_t, size_t, LaneWords (&)[4]) const {}

    // kOutputLanes outputs, lane = output: pairs[i * kStride] has inputs 2i and 2i + 1.
    template <size_t kStride>
    GPTOSS_INLINE_MEMBER void unpack_lanes(
        size_t output, size_t group, size_t num_blocks, LaneWords, LaneShorts* pairs, LaneFloats& scales) const {
        alignas(64) int16_t integers[kOutputLanes][kGroupInputs];
        float scales_in_order[kOutputLanes];
        for (size_t q = 0; q < kQuarters; q++) {
            typename Source::Group four;
            prepare(output + 4 * q, group, num_blocks, four);
            for (size_t i = 0; i < 4; i++) {
                for (size_t input = 0; input < num_blocks * 32; input += kRegisterInputs) {
                    store(integers[4 * q + i] + input, source.integers(four, i, input));
                }
            }
            memcpy(scales_in_order + 4 * q, &four.scales, 16);
        }
        scales = load<LaneFloats>(scales_in_order);
        for (size_t input = 0; input < num_blocks * 32; input += 8) {
            LaneWords columns[4];
            load_columns((const uint8_t*)(integers[0] + input), sizeof(integers[0]), columns);
            for (size_t j = 0; j < 4; j++) {
                pairs[(input / 2 + j) * kStride] = (LaneShorts)columns[j];
            }
        }
    }

    // What comes after this group of an output: the activations of hundreds of rows would drive anything later out of
    // the second-level cache.
    GPTOSS_INLINE_MEMBER void prefetch_later(size_t output, size_t group, size_t panel) const {
        const size_t next = (group + 1) * kGroupInputs;
        source.prefetch(next < num_inputs ? output * num_inputs + next : (output + panel) * num_inputs);
    }
};

} // namespace
} // namespace gptoss::cpu
