// Launches of the dense kernels: embedding, norm, projections, router and unembedding.
//
// None of these puts a barrier before or after its launch: the caller knows what ran before.
// E embedding size, H query heads, G key/value heads, D head size, A active experts, V vocabulary.
#pragma once

#include <cstdint>

#include "../model_config.h"
#include "encoder.h"

namespace gptoss::metal {

// Which kernels suit a number of rows. Activations are fp32 in all of them.
enum class RowForm {
    one,  // matrix-vector products, norms fused
    few,  // 2 to 31: tiles that read the weights once, in fp32
    many, // tiles for which the weights become half
};

constexpr uint32_t kMaxFewRows = 31;

constexpr RowForm row_form(size_t num_rows) {
    return num_rows == 1 ? RowForm::one : num_rows <= kMaxFewRows ? RowForm::few : RowForm::many;
}

// A matrix of the model file, by rows.
struct DenseMatrix {
    uint32_t num_outputs;
    uint32_t num_inputs; // a multiple of 32
    Slice weight;        // bf16 or, with scales, 8-bit codes [num_outputs, num_inputs]
    Slice scales = {};   // of codes: half [num_outputs, num_inputs / 32]

    bool is_q8() const { return scales.buffer != nullptr; }
};

// residual = embedding[tokens]
void launch_embed(Encoder& encoder,
                  const ModelConfig& config,
                  uint32_t num_rows,
                  const Slice& tokens,          // u32 [num_rows]
                  const DenseMatrix& embedding, // [V, E]
                  const Slice& residual);       // fp32 [num_rows, E], written

// normalized = rms_norm(residual) * gain
void launch_norm(Encoder& encoder,
                 const ModelConfig& config,
                 uint32_t num_rows,
                 const Slice& residual,    // fp32 [num_rows, E]
                 const Slice& gain,        // bf16 [E]
                 const Slice& normalized); // fp32 [num_rows, E], written

// Where one row's queries, keys and values go.
struct QkvRow {
    uint32_t position;         // in the context
    Slice inverse_frequencies; // fp32 [D / 2]
    Slice queries;             // fp32 [H, D], written
    Slice key;                 // half [G, D], the cache's slot of the position, written
    Slice value;               // half [G, D], likewise
};

// One row: norm, projection, rotation and the write into the cache.
void launch_qkv_row(Encoder& encoder,
                    const ModelConfig& config,
                    const DenseMatrix& matrix, // [(H + 2G) D, E]
                    const Slice& bias,         // bf16 [(H + 2G) D]
                    const Slice& gain,         // bf16 [E]
                    const Slice& residual,     // fp32 [E]
                    const QkvRow& row);

enum class Epilogue {
    store,
    add, // to what is there
};

// output = or += input . weight^T + bias
void launch_projection(Encoder& encoder,
                       RowForm form,
                       Epilogue epilogue,
                       uint32_t num_rows,
                       const DenseMatrix& matrix,
                       const Slice& bias,    // bf16 [num_outputs]
                       const Slice& input,   // fp32 [num_rows, num_inputs]
                       const Slice& output); // fp32 [num_rows, num_outputs]

// What the router leaves.
struct RouterOutputs {
    Slice experts;    // u32 [num_rows, A], written
    Slice weights;    // fp32 [num_rows, A], written
    Slice normalized; // fp32 [num_rows, E], written
};

// normalized = rms_norm(residual) * gain, the best experts of normalized . weight^T + bias, and their softmax
void launch_router(Encoder& encoder,
                   const ModelConfig& config,
                   RowForm form,
                   uint32_t num_rows,
                   const DenseMatrix& matrix, // bf16 [experts, E]
                   const Slice& bias,         // bf16 [experts]
                   const Slice& gain,         // bf16 [E]
                   const Slice& residual,     // fp32 [num_rows, E]
                   const RouterOutputs& outputs);

// logits = rms_norm(residual) * gain . weight^T, of one row
void launch_unembed_row(Encoder& encoder,
                        const ModelConfig& config,
                        const DenseMatrix& matrix, // [V, E]
                        const Slice& gain,         // bf16 [E]
                        const Slice& residual,     // fp32 [E]
                        const Slice& logits);      // fp32 [V], written

// logits = normalized . weight^T, of any number of rows. In fp32 like everything that decides between tokens.
void launch_unembed_rows(Encoder& encoder,
                         uint32_t num_rows,
                         const DenseMatrix& matrix, // [V, E]
                         const Slice& normalized,   // fp32 [num_rows, E]
                         const Slice& logits);      // fp32 [num_rows, V], written

} // namespace gptoss::metal
