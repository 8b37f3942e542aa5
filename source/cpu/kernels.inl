// The kernels of kernels.h, written with vector extensions that GCC and Clang lower to whatever the including file is
// compiled for. Each including file defines GPTOSS_KERNELS, the table's symbol, and GPTOSS_KERNELS_NAME.
//
// Everything here has internal linkage and nothing of the standard library is called: an inline function that was
// compiled for AVX-512 here and shared with the rest of the program would crash other processors.

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "kernels.h"

namespace gptoss::cpu {
namespace {

constexpr size_t kLanes = 16;
constexpr size_t kMxfp4Block = 32;
constexpr size_t kHeadSize = 64;

// Sixteen lanes, whatever the hardware's width: the compiler splits them.
typedef float Floats __attribute__((vector_size(64)));
typedef float HalfOfFloats __attribute__((vector_size(32)));
typedef float QuarterOfFloats __attribute__((vector_size(16)));
typedef int32_t Ints __attribute__((vector_size(64)));
typedef uint32_t Words __attribute__((vector_size(64)));
typedef uint16_t Shorts __attribute__((vector_size(32)));
typedef uint8_t Bytes __attribute__((vector_size(16)));

#if defined(__AVX512F__)
// GCC 12 calls the intrinsics without a mask uses of an uninitialised value. With all lanes the code is the same.
constexpr __mmask16 kAllLanes = 0xFFFF;
#endif

#define GPTOSS_INLINE static inline __attribute__((always_inline))

template <class Vector, class Element>
GPTOSS_INLINE Vector load(const Element* address) {
    Vector result;
    memcpy(&result, address, sizeof(result));
    return result;
}

template <class Element, class Vector>
GPTOSS_INLINE void store(Element* address, Vector value) {
    memcpy(address, &value, sizeof(value));
}

GPTOSS_INLINE Floats broadcast(float value) {
    return value - Floats{};
}

GPTOSS_INLINE Floats select(Ints condition, Floats if_true, Floats if_false) {
    return (Floats)((condition & (Ints)if_true) | (~condition & (Ints)if_false));
}

GPTOSS_INLINE float sum_of_lanes(Floats values) {
    const HalfOfFloats half = __builtin_shufflevector(values, values, 0, 1, 2, 3, 4, 5, 6, 7) +
                              __builtin_shufflevector(values, values, 8, 9, 10, 11, 12, 13, 14, 15);
    const QuarterOfFloats quarter =
        __builtin_shufflevector(half, half, 0, 1, 2, 3) + __builtin_shufflevector(half, half, 4, 5, 6, 7);
    return (quarter[0] + quarter[2]) + (quarter[1] + quarter[3]);
}

GPTOSS_INLINE float highest_lane(Floats values) {
    float highest = values[0];
    for (size_t lane = 1; lane < kLanes; lane++) {
        highest = values[lane] > highest ? values[lane] : highest;
    }
    return highest;
}

GPTOSS_INLINE float bf16_value(uint16_t bits) {
    const uint32_t word = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &word, sizeof(value));
    return value;
}

GPTOSS_INLINE Floats load_bf16(const uint16_t* address) {
    return (Floats)(__builtin_convertvector(load<Shorts>(address), Words) << 16);
}

// Finite values only: the cache saturates when it is written.
GPTOSS_INLINE Floats load_half(const uint16_t* address) {
#if defined(__AVX512F__)
    return (Floats)_mm512_maskz_cvtph_ps(kAllLanes, _mm256_loadu_si256((const __m256i*)address));
#elif defined(__F16C__)
    const HalfOfFloats low = (HalfOfFloats)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)address));
    const HalfOfFloats high = (HalfOfFloats)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)(address + 8)));
    return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#else
    const Words bits = __builtin_convertvector(load<Shorts>(address), Words);
    // Multiplying by 2^112 moves the exponent's bias and normalises subnormals, exactly.
    const Words scale = Words{} + 0x77800000u;
    const Floats magnitude = (Floats)((bits & 0x7FFFu) << 13) * (Floats)scale;
    return (Floats)((Words)magnitude | ((bits & 0x8000u) << 16));
#endif
}

// e^x to 2 ulp: 0 below -87, and e^88 above 88 (Cody and Waite's reduction, degree 6).
GPTOSS_INLINE Floats exponential(Floats x) {
    const Ints underflow = x < broadcast(-87.0f);
    x = select(underflow, broadcast(-87.0f), x);
    x = select(x > broadcast(88.0f), broadcast(88.0f), x);
    const Floats shifted = x * 1.44269504f + 12582912.0f; // 1.5 * 2^23: the integer part lands in the low bits
    const Floats n = shifted - 12582912.0f;
    const Floats r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    Floats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const Ints power = (__builtin_convertvector(n, Ints) + 127) << 23;
    return select(underflow, Floats{}, p * (Floats)power);
}

// ---- Weights: how sixteen values at a time are made of what the file holds. Element k of a row is in lane k % 16 of
// group k / 16, where k counts in block order for MXFP4.

struct Bf16Weights {
    const uint16_t* weight; // [outputs, num_inputs]
    size_t num_inputs;

    GPTOSS_INLINE void load_pair(const Bf16Weights& weights, size_t row, size_t k, Floats& first, Floats& second) {
        const uint16_t* const address = weights.weight + row * weights.num_inputs + k;
        first = load_bf16(address);
        second = load_bf16(address + kLanes);
    }
};

struct UnpackedWeights {
    const float* weight; // [rows, num_inputs]
    size_t num_inputs;

    GPTOSS_INLINE void load_pair(const UnpackedWeights& weights, size_t row, size_t k, Floats& first, Floats& second) {
        const float* const address = weights.weight + row * weights.num_inputs + k;
        first = load<Floats>(address);
        second = load<Floats>(address + kLanes);
    }
};

// 2^(byte - 14 - 127) for every stored scale byte. Bytes up to 14 give fp32 subnormals.
struct StoredScales {
    float values[256];
    constexpr StoredScales() : values() {
        for (int byte = 0; byte < 256; byte++) {
            double value = 1;
            for (int exponent = byte - 14 - 127; exponent > 0; exponent--) {
                value *= 2;
            }
            for (int exponent = byte - 14 - 127; exponent < 0; exponent++) {
                value *= 0.5;
            }
            values[byte] = (float)value;
        }
    }
};
constexpr StoredScales kStoredScales;

alignas(64) constexpr float kMxfp4Values[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                                -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

// The values of sixteen 4-bit codes, one in each lane.
GPTOSS_INLINE Floats mxfp4_values(Words codes) {
#if defined(__AVX512F__)
    return (Floats)_mm512_maskz_permutexvar_ps(kAllLanes, (__m512i)codes, _mm512_load_ps(kMxfp4Values));
#elif defined(__AVX2__)
    const __m256 table = _mm256_load_ps(kMxfp4Values);
    const Words signs = (codes & 8u) << 28;
    __m256i low;
    __m256i high;
    memcpy(&low, &codes, sizeof(low));
    memcpy(&high, (const char*)&codes + sizeof(low), sizeof(high));
    // The permutation looks at the three low bits of an index: the magnitude.
    const HalfOfFloats low_values = (HalfOfFloats)_mm256_permutevar8x32_ps(table, low);
    const HalfOfFloats high_values = (HalfOfFloats)_mm256_permutevar8x32_ps(table, high);
    const Floats magnitudes =
        __builtin_shufflevector(low_values, high_values, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return (Floats)((Words)magnitudes | signs);
#else
    Floats values;
    for (size_t lane = 0; lane < kLanes; lane++) {
        values[lane] = kMxfp4Values[codes[lane]];
    }
    return values;
#endif
}

struct Mxfp4Weights {
    const uint8_t* blocks; // [outputs, num_inputs / 32, 16]
    const uint8_t* scales; // [outputs, num_inputs / 32]
    size_t num_inputs;

    GPTOSS_INLINE void load_pair(const Mxfp4Weights& weights, size_t row, size_t k, Floats& first, Floats& second) {
        const size_t block = row * (weights.num_inputs / kMxfp4Block) + k / kMxfp4Block;
        const Words bytes = __builtin_convertvector(load<Bytes>(weights.blocks + block * 16), Words);
        const float scale = kStoredScales.values[weights.scales[block]];
        first = mxfp4_values(bytes & 15u) * scale;
        second = mxfp4_values(bytes >> 4) * scale;
    }
};

// ---- Dot products

#if defined(__AVX512F__)
constexpr size_t kTileRows = 4; // weight rows: 4 x 4 accumulators, 8 weights and an input in 32 registers
constexpr size_t kTileInputs = 4;
#else
constexpr size_t kTileRows = 2; // 2 x 2 accumulators of two registers each leave room for the rest in 16
constexpr size_t kTileInputs = 2;
#endif
static_assert(kTileRows <= kLinearScratchRows);

// dots[r][i] = weights[row + r] . inputs[i]
template <size_t kRows, size_t kInputs, class Weights>
GPTOSS_INLINE void dot_products(const Weights& weights,
                                size_t row,
                                const float* const* inputs,
                                float (&dots)[kTileRows][kTileInputs]) {
    Floats sums[kRows][kInputs] = {};
    for (size_t k = 0; k < weights.num_inputs; k += 2 * kLanes) {
        Floats first[kRows];
        Floats second[kRows];
        for (size_t r = 0; r < kRows; r++) {
            Weights::load_pair(weights, row + r, k, first[r], second[r]);
        }
        for (size_t i = 0; i < kInputs; i++) {
            const Floats input = load<Floats>(inputs[i] + k);
            for (size_t r = 0; r < kRows; r++) {
                sums[r][i] += first[r] * input;
            }
        }
        for (size_t i = 0; i < kInputs; i++) {
            const Floats input = load<Floats>(inputs[i] + k + kLanes);
            for (size_t r = 0; r < kRows; r++) {
                sums[r][i] += second[r] * input;
            }
        }
    }
    for (size_t r = 0; r < kRows; r++) {
        for (size_t i = 0; i < kInputs; i++) {
            dots[r][i] = sum_of_lanes(sums[r][i]);
        }
    }
}

// Calls use(row, input, dot) for kRows weight rows from `row` on and every input.
template <size_t kRows, class Weights, class Use>
GPTOSS_INLINE void dot_products_of_inputs(
    const Weights& weights, size_t row, const float* const* inputs, size_t num_inputs, const Use& use) {
    float dots[kTileRows][kTileInputs];
    size_t input = 0;
    for (; input + kTileInputs <= num_inputs; input += kTileInputs) {
        dot_products<kRows, kTileInputs>(weights, row, inputs + input, dots);
        for (size_t i = 0; i < kTileInputs; i++) {
            for (size_t r = 0; r < kRows; r++) {
                use(row + r, input + i, dots[r][i]);
            }
        }
    }
    for (; input < num_inputs; input++) {
        dot_products<kRows, 1>(weights, row, inputs + input, dots);
        for (size_t r = 0; r < kRows; r++) {
            use(row + r, input, dots[r][0]);
        }
    }
}

template <size_t kRows, class Weights, class Use>
GPTOSS_INLINE void multiply_rows(
    const Weights& weights, size_t row, const float* const* inputs, size_t num_rows, float* scratch, const Use& use) {
    // Unpacking pays once several tiles of inputs share the rows.
    if (num_rows > kTileInputs) {
        for (size_t r = 0; r < kRows; r++) {
            for (size_t k = 0; k < weights.num_inputs; k += 2 * kLanes) {
                Floats first;
                Floats second;
                Weights::load_pair(weights, row + r, k, first, second);
                store(scratch + r * weights.num_inputs + k, first);
                store(scratch + r * weights.num_inputs + k + kLanes, second);
            }
        }
        const UnpackedWeights unpacked = {scratch, weights.num_inputs};
        dot_products_of_inputs<kRows>(unpacked, 0, inputs, num_rows,
                                      [&](size_t r, size_t input, float dot) { use(row + r, input, dot); });
    } else {
        dot_products_of_inputs<kRows>(weights, row, inputs, num_rows, use);
    }
}

// Calls use(row, input, dot) for every weight row in [first, last) and every input.
template <class Weights, class Use>
GPTOSS_INLINE void multiply(const Weights& weights,
                            size_t first,
                            size_t last,
                            const float* const* inputs,
                            size_t num_rows,
                            float* scratch,
                            const Use& use) {
    size_t row = first;
    for (; row + kTileRows <= last; row += kTileRows) {
        multiply_rows<kTileRows>(weights, row, inputs, num_rows, scratch, use);
    }
    for (; row < last; row++) {
        multiply_rows<1>(weights, row, inputs, num_rows, scratch, use);
    }
}

void linear(const LinearArguments& arguments) {
    const Bf16Weights weights = {arguments.weight, arguments.num_inputs};
    multiply(weights, arguments.first, arguments.last, arguments.inputs, arguments.num_rows, arguments.scratch,
             [&](size_t row, size_t input, float dot) {
                 float* const output = arguments.output + input * arguments.output_stride + row;
                 const float value = arguments.bias == nullptr ? dot : dot + bf16_value(arguments.bias[row]);
                 *output = arguments.add_to_output ? *output + value : value;
             });
}

GPTOSS_INLINE size_t block_order(size_t index) {
    return index / 32 * 32 + index % 2 * 16 + index % 32 / 2;
}

GPTOSS_INLINE float swiglu(float gate, float up, float limit) {
    gate = gate > limit ? limit : gate;
    up = up > limit ? limit : up < -limit ? -limit : up;
    const float sigmoid = 1.0f / (1.0f + exponential(broadcast(-1.702f * gate))[0]);
    return gate * sigmoid * (up + 1.0f);
}

void expert_gate_up(const ExpertGateUpArguments& arguments) {
    const Mxfp4Matrix& matrix = arguments.matrix;
    const Mxfp4Weights weights = {matrix.blocks, matrix.scales, matrix.num_inputs};
    // Rows 2i and 2i + 1 are the gate and up of one element. The gate waits in the element's place for its up: rows
    // come in ascending order for every input.
    multiply(weights, 2 * arguments.first, 2 * arguments.last, arguments.inputs, arguments.num_rows, arguments.scratch,
             [&](size_t row, size_t input, float dot) {
                 float* const hidden = arguments.hidden + input * arguments.hidden_stride + block_order(row / 2);
                 const float value = dot + bf16_value(matrix.bias[row]);
                 *hidden = row % 2 == 0 ? value : swiglu(*hidden, value, arguments.swiglu_limit);
             });
}

void expert_down(const ExpertDownArguments& arguments) {
    const Mxfp4Matrix& matrix = arguments.matrix;
    const Mxfp4Weights weights = {matrix.blocks, matrix.scales, matrix.num_inputs};
    multiply(weights, arguments.first, arguments.last, arguments.inputs, arguments.num_rows, arguments.scratch,
             [&](size_t row, size_t input, float dot) {
                 arguments.output[input * arguments.output_stride + row] = dot + bf16_value(matrix.bias[row]);
             });
}

// ---- Attention

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

// ---- Element by element

void rms_norm(const float* input, const uint16_t* gain, float* output, size_t size, float epsilon) {
    Floats squares = {};
    for (size_t i = 0; i < size; i += kLanes) {
        const Floats value = load<Floats>(input + i);
        squares += value * value;
    }
    const float scale = 1.0f / __builtin_sqrtf(sum_of_lanes(squares) / (float)size + epsilon);
    for (size_t i = 0; i < size; i += kLanes) {
        store(output + i, load<Floats>(input + i) * scale * load_bf16(gain + i));
    }
}

void bf16_to_float(const uint16_t* input, float* output, size_t size) {
    for (size_t i = 0; i < size; i += kLanes) {
        store(output + i, load_bf16(input + i));
    }
}

void to_block_order(const float* input, float* output, size_t size) {
    for (size_t i = 0; i < size; i++) {
        output[block_order(i)] = input[i];
    }
}

} // namespace

extern const Kernels GPTOSS_KERNELS;
const Kernels GPTOSS_KERNELS = {
    GPTOSS_KERNELS_NAME, rms_norm, bf16_to_float, to_block_order, linear, expert_gate_up, expert_down, attention,
};

} // namespace gptoss::cpu

#undef GPTOSS_INLINE
