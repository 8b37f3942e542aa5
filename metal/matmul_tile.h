// Rows times a weight matrix by simdgroup matrices: the loop that projection_few_rows.metal, projection_matmul.metal
// and the unembedding of several rows share.
//
// A threadgroup makes a tile of the output [rows, outputs]. For each 32 columns, it stages its rows of the input and of
// the weights in threadgroup memory, weights converted to the operand type on the way; then every simdgroup multiplies
// its part of the tile in 8x8 matrices and adds up in fp32. The input is fp32 always (Metal multiplies matrices of
// float with those of half): rounded to half, the input of any one product moves the logits by several thousandths.
// Sizes are whole in one dimension only: columns are a multiple of 32. Rows and outputs past the edge are staged as
// zeros and not stored.
#pragma once

#include <metal_simdgroup_matrix>

#include "dense_weights.h"

namespace gptoss_metal {

constant constexpr uint kMatmulStep = 32; // columns that are staged at a time

// Floats from one row of the staged input to the next: 36, not 32, so that 8 rows of an 8x8 matrix lie in distinct
// banks.
constant constexpr uint kMatmulInputStride = 36;

// Weights as half, where an exact product of 8 bits of a bf16 is enough and speed counts. Rows of the tile are 40 halfs
// apart, for the same reason.
struct HalfOperand {
    typedef half Scalar;
    typedef half4 Quad;
    static constant constexpr uint kStride = 40;

    static Quad convert(float4 values) { return float4_to_half4(values); }
};

// Weights as fp32.
struct FloatOperand {
    typedef float Scalar;
    typedef float4 Quad;
    static constant constexpr uint kStride = 36;

    static Quad convert(float4 values) { return values; }
};

// Where finished values go. `index` counts elements of [num_rows, num_outputs].
struct StoreFloat {
    device float* output;
    void operator()(ulong index, float value) const { output[index] = value; }
};

struct AddFloat {
    device float* output;
    void operator()(ulong index, float value) const { output[index] += value; }
};

// What is added to each output.
struct Bf16Bias {
    const device ushort* bias; // bf16 [num_outputs]
    float operator()(uint output) const { return bf16_to_float(bias[output]); }
};

struct NoBias {
    float operator()(uint) const { return 0.0f; }
};

// Where a thread and its threadgroup are, as matmul_tile needs it.
struct MatmulThread {
    uint2 tile; // x: of outputs, y: of rows
    uint index; // in the threadgroup
    uint lane;
    uint simdgroup;
};

// The shape of a threadgroup's tile. RowGroups by OutputGroups simdgroups, each with RowTiles by OutputTiles
// accumulators of 8x8 (2 registers of a lane each).
template <uint RowGroups, uint OutputGroups, uint RowTiles, uint OutputTiles>
struct TileShape {
    static constant constexpr uint kRowTiles = RowTiles;
    static constant constexpr uint kOutputTiles = OutputTiles;
    static constant constexpr uint kOutputGroups = OutputGroups;
    static constant constexpr uint kSimdgroupRows = 8 * RowTiles;
    static constant constexpr uint kSimdgroupOutputs = 8 * OutputTiles;
    static constant constexpr uint kRows = RowGroups * 8 * RowTiles;
    static constant constexpr uint kOutputs = OutputGroups * 8 * OutputTiles;
    static constant constexpr uint kThreads = 32 * RowGroups * OutputGroups;
};

// Threadgroup memory that a tile takes, in 16-byte words: the input's rows, then the weights'. The epilogue's 8 rows of
// fp32 for each simdgroup fit into what the operands leave behind.
template <class Operand, class Shape>
struct TileMemory {
    static constant constexpr uint kInputWords = Shape::kRows * kMatmulInputStride / 4;
    static constant constexpr uint kWords =
        kInputWords + Shape::kOutputs * Operand::kStride * sizeof(typename Operand::Scalar) / 16;
    static_assert(Shape::kThreads / 32 * 8 * Shape::kSimdgroupOutputs * 4 <= kWords * 16,
                  "the epilogue's blocks must fit into the operands' memory");
};

// Stages 32 columns of the input's rows from `first_row` on.
template <class Shape>
inline void stage_input(const device float4* input,
                        uint num_columns,
                        uint num_rows,
                        uint first_row,
                        uint first_column,
                        threadgroup float4* tile,
                        uint index) {
    constexpr uint quads_per_row = kMatmulStep / 4;
    for (uint i = index; i < Shape::kRows * quads_per_row; i += Shape::kThreads) {
        const uint row = i / quads_per_row;
        const uint part = i % quads_per_row;
        float4 quad = float4(0.0f);
        if (first_row + row < num_rows) {
            quad = input[(ulong(first_row + row) * num_columns + first_column) / 4 + part];
        }
        tile[row * kMatmulInputStride / 4 + part] = quad;
    }
}

// Stages 32 columns of the weights' rows from `first_output` on.
template <class Operand, class Shape, class Matrix>
inline void stage_weights(const thread Matrix& matrix,
                          uint num_outputs,
                          uint first_output,
                          uint first_column,
                          threadgroup typename Operand::Quad* tile,
                          uint index) {
    constexpr uint columns_per_load = Matrix::kColumnsPerLoad;
    constexpr uint loads_per_row = kMatmulStep / columns_per_load;
    for (uint i = index; i < Shape::kOutputs * loads_per_row; i += Shape::kThreads) {
        const uint row = i / loads_per_row;
        const uint part = i % loads_per_row;
        threadgroup typename Operand::Quad* quads = tile + (row * Operand::kStride + part * columns_per_load) / 4;
        if (first_output + row < num_outputs) {
            const typename Matrix::Load load = matrix.load(first_output + row, first_column / columns_per_load + part);
            for (uint q = 0; q < Matrix::kQuadsPerLoad; q++) {
                quads[q] = Operand::convert(Matrix::quad(load, q));
            }
        } else {
            for (uint q = 0; q < Matrix::kQuadsPerLoad; q++) {
                quads[q] = Operand::convert(float4(0.0f));
            }
        }
    }
}

// store(row * num_outputs + output, input[row] . weight[output] + bias(output)) for one tile of the output.
template <class Operand, class Shape, class Matrix, class Bias, class Store>
inline void matmul_tile(const thread Matrix& matrix,
                        const device float4* input, // [num_rows, num_columns / 4]
                        uint num_rows,
                        uint num_outputs,
                        Bias bias,
                        Store store,
                        threadgroup float4* memory, // [TileMemory::kWords]
                        MatmulThread self) {
    typedef typename Operand::Scalar Scalar;
    const uint first_row = self.tile.y * Shape::kRows;
    const uint first_output = self.tile.x * Shape::kOutputs;
    threadgroup typename Operand::Quad* weight_tile =
        reinterpret_cast<threadgroup typename Operand::Quad*>(memory + TileMemory<Operand, Shape>::kInputWords);

    // This simdgroup's part of the tile.
    const uint part_row = self.simdgroup / Shape::kOutputGroups * Shape::kSimdgroupRows;
    const uint part_output = self.simdgroup % Shape::kOutputGroups * Shape::kSimdgroupOutputs;
    const threadgroup float* part_input =
        reinterpret_cast<const threadgroup float*>(memory) + part_row * kMatmulInputStride;
    const threadgroup Scalar* part_weight =
        reinterpret_cast<const threadgroup Scalar*>(weight_tile) + part_output * Operand::kStride;

    simdgroup_matrix<float, 8, 8> sums[Shape::kRowTiles][Shape::kOutputTiles];
    for (uint i = 0; i < Shape::kRowTiles; i++) {
        for (uint j = 0; j < Shape::kOutputTiles; j++) {
            sums[i][j] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
        }
    }
    for (uint column = 0; column < matrix.num_columns; column += kMatmulStep) {
        stage_input<Shape>(input, matrix.num_columns, num_rows, first_row, column, memory, self.index);
        stage_weights<Operand, Shape>(matrix, num_outputs, first_output, column, weight_tile, self.index);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        for (uint k = 0; k < kMatmulStep; k += 8) {
            simdgroup_matrix<float, 8, 8> rows[Shape::kRowTiles];
            simdgroup_matrix<Scalar, 8, 8> outputs[Shape::kOutputTiles];
            for (uint i = 0; i < Shape::kRowTiles; i++) {
                simdgroup_load(rows[i], part_input + 8 * i * kMatmulInputStride + k, kMatmulInputStride);
            }
            for (uint j = 0; j < Shape::kOutputTiles; j++) {
                simdgroup_load(outputs[j], part_weight + 8 * j * Operand::kStride + k, Operand::kStride, ulong2(0, 0),
                               true);
            }
            for (uint i = 0; i < Shape::kRowTiles; i++) {
                for (uint j = 0; j < Shape::kOutputTiles; j++) {
                    simdgroup_multiply_accumulate(sums[i][j], rows[i], outputs[j], sums[i][j]);
                }
            }
        }
        // Before the next columns, or after the last ones the epilogue, overwrite what slower simdgroups still read.
        threadgroup_barrier(mem_flags::mem_threadgroup);
    }

    // The layout of a matrix over lanes is not documented, so it goes through threadgroup memory: 8 rows at a time,
    // in a block of the simdgroup's own.
    constexpr uint width = Shape::kSimdgroupOutputs;
    threadgroup float* block = reinterpret_cast<threadgroup float*>(memory) + self.simdgroup * 8 * width;
    for (uint i = 0; i < Shape::kRowTiles; i++) {
        if (i > 0) {
            // Other lanes still read the 8 rows of before.
            simdgroup_barrier(mem_flags::mem_threadgroup);
        }
        for (uint j = 0; j < Shape::kOutputTiles; j++) {
            simdgroup_store(sums[i][j], block + 8 * j, width);
        }
        simdgroup_barrier(mem_flags::mem_threadgroup);
        for (uint element = self.lane; element < 8 * width; element += 32) {
            const uint row = first_row + part_row + 8 * i + element / width;
            const uint output = first_output + part_output + element % width;
            if (row < num_rows && output < num_outputs) {
                store(ulong(row) * num_outputs + output, block[element] + bias(output));
            }
        }
    }
}

} // namespace gptoss_metal
