// The arithmetic of the CPU backend: one table of functions for each instruction set.
//
// The algorithms are written once, in kernels/*.inl, and compiled once for every instruction set. A kernel works in one
// thread on the part of its output that its arguments name, allocates nothing and calls nothing outside its file.
// The value of an output element does not depend on how the work is cut into calls, nor on how many rows go through
// together: every element is summed in the same order.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gptoss::cpu {

// A dense matrix in one of two formats: bf16, or 8-bit codes with a scale for each 32 inputs (value = code * scale).
struct DenseMatrix {
    const uint16_t* values; // bf16 [outputs, num_inputs], or null: codes and scales
    const int8_t* codes;    // [outputs, num_inputs]
    const uint16_t* scales; // fp16 [outputs, num_inputs / 32], finite
    const uint16_t* bias;   // bf16 [outputs], or null
    size_t num_inputs;      // a multiple of 32
};

// Rows of activations packed for products of many rows, sixteen to a group, zeros behind the last one.
struct PackInputsArguments {
    const float* const* inputs; // [num_rows] -> [num_inputs]
    float* packed;              // [groups, 16, num_inputs], in the kernels' own order
    size_t num_rows;
    size_t num_inputs; // a multiple of 32
    size_t first_group;
    size_t last_group;
};

// output[row] (+)= matrix[first..last) . input[row] + bias
struct LinearArguments {
    DenseMatrix matrix;
    const float* const* inputs; // [num_rows] -> [num_inputs]
    const float* packed_inputs; // the same, packed; null: they are few (kMinPackedRows)
    float* output;              // [num_rows, output_stride]
    size_t num_rows;
    size_t output_stride;
    size_t first; // the outputs of this call
    size_t last;
    bool add_to_output;
    float* scratch; // [kLinearScratchRows, num_inputs]
};

// An expert's MXFP4 matrix. "Block order": within each 32 inputs the 16 even ones come first, then the 16 odd ones,
// because byte j of a block holds element 2j in its low and element 2j + 1 in its high nibble.
struct Mxfp4Matrix {
    const uint8_t* blocks; // [outputs, num_inputs / 32, 16]
    const uint8_t* scales; // [outputs, num_inputs / 32], as stored
    const uint16_t* bias;  // bf16 [outputs]
    size_t num_inputs;     // a multiple of 32
};

// hidden[row][i] = swiglu(gate = output 2i, up = output 2i + 1), in block order
struct ExpertGateUpArguments {
    Mxfp4Matrix matrix;
    const float* const* inputs; // [num_rows] -> [num_inputs] in block order
    float* hidden;              // [num_rows, hidden_stride] in block order
    size_t num_rows;
    size_t hidden_stride;
    size_t first; // the hidden elements of this call
    size_t last;
    float swiglu_limit;
    float* scratch; // [kLinearScratchRows, num_inputs]
};

// output[row] = matrix[first..last) . input[row] + bias
struct ExpertDownArguments {
    Mxfp4Matrix matrix;
    const float* const* inputs; // [num_rows] -> [num_inputs] in block order
    float* output;              // [num_rows, output_stride]
    size_t num_rows;
    size_t output_stride;
    size_t first;
    size_t last;
    float* scratch; // [kLinearScratchRows, num_inputs]
};

// output[i] += weights[0] * rows[indices[0]][i] + weights[1] * rows[indices[1]][i] ..., in this order
struct AddWeightedRowsArguments {
    const float* rows;       // [..., size]
    const uint32_t* indices; // [num_rows]
    const float* weights;    // [num_rows]
    float* output;           // [size]
    size_t num_rows;
    size_t size; // a multiple of 32
};

// Integer products: activations and weights are rounded to integers that share a scale in a group of 128 inputs, or in
// what is left of one at a row's end. Weights take 14 bits with their sign, of MXFP4 12, and activations as many as
// leave the sum of a group's products below 2^31, or of each half of it with dense weights, 13 to 16: so these are
// summed in 32 bits without any rounding. Activations are 32,639 at most, so that both of their bytes can be signed.
inline constexpr size_t kGroupInputs = 128;

// What a call of integer products needs for sums: 512 rows of a dense layer's, or 170 of an expert's, with what becomes
// of them.
inline constexpr size_t kIntegerScratchFloats = 512 * 64;

// The order of a group's codes: that of the inputs, or the one in which masks and shifts leave the nibbles of MXFP4
// blocks. There, four classes follow one another, of the inputs 8i and 8i + 4, 8i + 2 and 8i + 6, 8i + 1 and 8i + 5,
// 8i + 3 and 8i + 7.
enum class CodeOrder { natural, mxfp4 };

// Rows of activations, value = scale * code.
struct QuantizedRows {
    int16_t* codes;  // [groups, num_rows, kGroupInputs], zeros for inputs behind the last one
    float* scales;   // [groups, num_rows]
    size_t num_rows; // that there is room for
};

struct QuantizeArguments {
    const float* input;   // [size]
    QuantizedRows output; // of which row `row` is written
    size_t row;
    size_t size; // a multiple of 32
    CodeOrder order;
};

// The integer form of LinearArguments, for rows 0 to num_rows - 1 of the inputs.
struct IntegerLinearArguments {
    DenseMatrix matrix;
    QuantizedRows inputs; // in natural order
    float* output;        // [num_rows, output_stride]
    size_t num_rows;
    size_t output_stride;
    size_t first; // the outputs of this call
    size_t last;
    bool add_to_output;
    float* scratch; // [kIntegerScratchFloats]
};

// Of fast precision: an expert's activations as bytes that share a scale in a block of 32 inputs, as llama.cpp has them
// (its Q8_0). A block's products are summed as integers without any rounding, and times the scales of both factors
// added in fp32.
struct alignas(64) Int8Group {
    // [even, odd inputs][block][16], -127 to 127: as masks and shifts leave the nibbles of MXFP4 blocks. Zeros for
    // inputs behind the last one.
    int8_t codes[2][kGroupInputs / 32][16];
    float scales[kGroupInputs / 32]; // value = scale * code
    int32_t sums[kGroupInputs / 32]; // of a block's codes
    // What the kernels' own sums begin with where MXFP4 codes are unsigned (int8_lanes.inl).
    uint32_t starts[kGroupInputs / 32];
};

// Rows of activations.
struct Int8Rows {
    Int8Group* groups; // [groups, num_rows]
    size_t num_rows;   // that there is room for
};

struct QuantizeInt8Arguments {
    const float* input; // [size]
    Int8Rows output;    // of which row `row` is written
    size_t row;
    size_t size; // a multiple of 32
};

// The forms of ExpertGateUpArguments for QuantizedRows, in MXFP4's order, and for Int8Rows. hidden is quantized, too.
template <class Rows>
struct QuantizedGateUpArguments {
    Mxfp4Matrix matrix;
    Rows inputs; // from first_row on
    Rows hidden; // as inputs
    size_t first_row;
    size_t num_rows;
    size_t first; // the hidden elements of this call, multiples of kGroupInputs, or the end
    size_t last;
    float swiglu_limit;
    float* scratch; // [kIntegerScratchFloats]
};

// The same of ExpertDownArguments.
template <class Rows>
struct QuantizedDownArguments {
    Mxfp4Matrix matrix;
    Rows inputs; // from first_row on
    size_t first_row;
    float* output; // [num_rows, output_stride]
    size_t num_rows;
    size_t output_stride;
    size_t first; // the outputs of this call, multiples of 32
    size_t last;
    float* scratch; // [kIntegerScratchFloats]
};

// Rotates the queries and keys of one key/value head, and puts keys and values into its cache, for consecutive
// positions of one block of keys.
struct RotateAndCacheArguments {
    float* queries;         // [num_rows, row_stride], of each row [num_heads, 64]; rotated in place
    const float* key;       // [num_rows, row_stride], of each row [64]
    const float* value;     // as key
    const float* rotations; // [num_rows, 2, 64], Rotation of rotary_embedding.h
    size_t row_stride;
    size_t num_heads;
    size_t num_rows;  // slot % 16 + num_rows <= 16
    uint16_t* keys;   // as in AttentionArguments
    uint16_t* values; // as in AttentionArguments
    size_t slot;      // of the first position
};

// The query heads that share one key/value head, for consecutive positions of one context.
//
// Keys are cached in blocks of 16 positions, [position / 16][64][16], so that one load serves 16 keys; values as
// [position][64]. Position p is in slot p % capacity.
//
// The softmax is summed in ranges of kKeyRange positions, from multiples of it, and the ranges' results are added in
// ascending order: by `attention` as it goes, or by `attention_merge` after calls of `attention_range`, which may be
// made in any thread and order. Either way, and whatever the rows of a call, a row's output is the same.
struct AttentionArguments {
    const float* queries; // [num_rows, query_stride], of each row [num_heads, 64]; they carry the factor 1 / sqrt(64)
    size_t query_stride;
    const uint16_t* keys;   // fp16 [capacity / 16][64][16]
    const uint16_t* values; // fp16 [capacity][64]
    size_t capacity;        // a multiple of 16
    const float* sinks;     // [num_heads] logits of the softmax's extra column
    size_t num_heads;
    size_t num_rows; // row r is the query at first_position + r, whose key the cache holds already
    size_t first_position;
    size_t window; // positions that a query sees, its own and those before it
    float* output; // [num_rows, output_stride], of each row [num_heads, 64]
    size_t output_stride;
    float* scratch; // [attention_scratch_floats(num_rows, num_heads)]
};

inline constexpr size_t kKeyBlock = 16;
inline constexpr size_t kKeyRange = 1024;

// Of one row's result for a range: the highest score, the sum of weights and the sum of weighted values of each head.
static constexpr size_t attention_result_floats(size_t num_heads) {
    return 2 * ((num_heads + 15) / 16 * 16) + num_heads * 64;
}

static constexpr size_t attention_scratch_floats(size_t num_rows, size_t num_heads) {
    // Up to a cache line; a tile of 64 keys and values; of each row two results, corrections, sums and weights.
    return 16 + 2 * 64 * 64 +
           num_rows * (2 * attention_result_floats(num_heads) + (num_heads + 15) / 16 * 16 + num_heads * (16 + 64));
}

// Rows of activations in a group that is packed.
inline constexpr size_t kPackedRows = 16;
// So many rows make it pay to pack them.
inline constexpr size_t kMinPackedRows = 33;
// Weight rows that are unpacked to fp32 side by side, and how many such panels are multiplied with the same
// activations while these are in the cache.
inline constexpr size_t kPanelOutputs = 8;
inline constexpr size_t kPanels = 8;
// Weight rows that are unpacked to fp32 at a time when many rows share them.
inline constexpr size_t kLinearScratchRows = kPanels * kPanelOutputs;

// What the processor can do at best (roofline.h).
struct PeakLoops {
    // Reads every byte; num_bytes is a multiple of 512. Returns something that depends on all of them.
    uint64_t (*read_memory)(const void* address, size_t num_bytes);
    void (*multiply_add_fp32)(size_t num_rounds);
    size_t fp32_operations_per_round;             // multiplications and additions
    void (*multiply_add_int8)(size_t num_rounds); // null: the instruction set has nothing for it
    size_t int8_operations_per_round;
};

struct Kernels {
    const char* name;
    PeakLoops peaks;
    // output = input * rsqrt(mean(input^2) + epsilon) * gain, [size], size a multiple of 32
    void (*rms_norm)(const float* input, const uint16_t* gain, float* output, size_t size, float epsilon) = nullptr;
    // output = row `row` of the matrix, [num_inputs], without bias
    void (*dense_row)(const DenseMatrix& matrix, size_t row, float* output) = nullptr;
    void (*to_block_order)(const float* input, float* output, size_t size) = nullptr; // size a multiple of 32
    void (*pack_inputs)(const PackInputsArguments& arguments) = nullptr;
    void (*linear)(const LinearArguments& arguments) = nullptr;
    void (*expert_gate_up)(const ExpertGateUpArguments& arguments) = nullptr;
    void (*expert_down)(const ExpertDownArguments& arguments) = nullptr;
    void (*add_weighted_rows)(const AddWeightedRowsArguments& arguments) = nullptr;
    void (*rotate_and_cache)(const RotateAndCacheArguments& arguments) = nullptr;
    void (*attention)(const AttentionArguments& arguments) = nullptr;
    // results = the rows' results for a range, [num_rows, attention_result_floats(num_heads)]
    void (*attention_range)(const AttentionArguments& arguments, size_t range, float* results) = nullptr;
    // output, from the results of num_ranges consecutive ranges that hold all positions which the rows see
    void (*attention_merge)(const AttentionArguments& arguments, const float* results, size_t num_ranges) = nullptr;
    void (*quantize)(const QuantizeArguments& arguments) = nullptr;
    void (*integer_linear)(const IntegerLinearArguments& arguments) = nullptr;
    void (*integer_gate_up)(const QuantizedGateUpArguments<QuantizedRows>& arguments) = nullptr;
    void (*integer_down)(const QuantizedDownArguments<QuantizedRows>& arguments) = nullptr;
    void (*quantize_int8)(const QuantizeInt8Arguments& arguments) = nullptr;
    void (*int8_gate_up)(const QuantizedGateUpArguments<Int8Rows>& arguments) = nullptr;
    void (*int8_down)(const QuantizedDownArguments<Int8Rows>& arguments) = nullptr;
};

// The slow twin of all others: any processor.
extern const Kernels kKernelsBaseline;
// Those that add to another set have null where their instructions change nothing: use available_kernels().
#if defined(GPTOSS_X86_64_KERNELS)
extern const Kernels kKernelsX86_64V3;     // AVX2, FMA, F16C
extern const Kernels kKernelsX86_64V4;     // AVX-512 F, BW, CD, DQ, VL
extern const Kernels kKernelsX86_64V4Vnni; // added to it: AVX-512 VNNI
extern const Kernels kKernelsX86_64V4Amx;  // added to that: AMX-INT8, products of tiles of 8-bit integers
#endif
#if defined(GPTOSS_ARM64_KERNELS)
extern const Kernels kKernelsArm64Neon;
extern const Kernels kKernelsArm64Dotprod; // added to it: FEAT_DotProd, products of four 8-bit integers
extern const Kernels kKernelsArm64I8mm;    // added to that: FEAT_I8MM, products of 8-bit matrices
#endif

} // namespace gptoss::cpu
