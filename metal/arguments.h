// The arguments of every kernel, as bytes: included by the kernels and by the C++ that launches them.
//
// Only 4-byte members, and 8-byte ones at offsets that are multiples of 8, so that both compilers lay them out alike
// and without holes. Each struct is bound to buffer 0 of its kernels. Counts are in elements unless a name says bytes.
#pragma once

#if !defined(__METAL_VERSION__)
#include <cstdint>
#endif

namespace gptoss_metal {

// ---- Embedding and norm ----------------------------------------------------------------------------------------

struct EmbedArguments {
    uint32_t num_columns; // of the embedding: the hidden size
    uint32_t num_rows;    // tokens of this launch
    uint32_t vocabulary_size;
};

struct NormArguments {
    uint32_t num_columns;
    float epsilon;
};

// ---- Projections, router, unembedding --------------------------------------------------------------------------

struct ProjectionArguments {
    uint32_t num_inputs;
    uint32_t num_outputs;
    uint32_t num_rows; // of the input; the matrix-vector kernels take one row, whatever stands here
};

struct QkvArguments {
    uint32_t num_inputs;
    uint32_t num_query_rows;     // query heads times 64
    uint32_t num_key_value_rows; // key/value heads times 64: rows of k, and of v
    uint32_t position;           // of the token, from 0
    uint32_t cache_slot;         // where the cache keeps that position
    float epsilon;               // of the norm
    float concentration;         // what YaRN multiplies cosines and sines by
};

struct RouterArguments {
    uint32_t num_inputs;
    uint32_t num_rows;
    uint32_t num_experts; // 1 to 128
    uint32_t num_active;  // 1 to num_experts
    float epsilon;
};

struct UnembedArguments {
    uint32_t num_inputs;
    uint32_t vocabulary_size;
    float epsilon;
};

// ---- Rotary embedding and attention ----------------------------------------------------------------------------

// ---- Experts ---------------------------------------------------------------------------------------------------

// ---- Sampling --------------------------------------------------------------------------------------------------

} // namespace gptoss_metal
