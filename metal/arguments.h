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

struct RopeArguments {
    uint32_t num_heads;
    uint32_t num_kv_heads;
    uint32_t num_rows;
    uint32_t first_position; // of row 0; row r has position first_position + r
    uint32_t capacity;       // slots of the cache
    float concentration;     // multiplies cosine and sine (YaRN)
};

// A span of rows of one context and that context's cache, which holds the span already.
struct AttentionArguments {
    uint32_t num_heads; // a multiple of num_kv_heads
    uint32_t num_kv_heads;
    uint32_t num_rows;
    uint32_t first_position; // of row 0
    uint32_t window;         // keys that a query sees, its own position's included; 0: all
    uint32_t capacity;       // slots of the cache: at least as many as the rows see together
};

struct AttentionCombineArguments {
    uint32_t num_heads;
    uint32_t num_splits;
};

// ---- Experts ---------------------------------------------------------------------------------------------------

// One of an expert's two matrices, in all experts: gate-up (E inputs, 2I outputs) or down (I inputs, E outputs).
struct ExpertArguments {
    uint64_t blocks_offset; // bytes from an expert's start to its MXFP4 blocks, [num_outputs, num_inputs / 32, 16]
    uint64_t scales_offset; // bytes to its scale bytes, [num_outputs, num_inputs / 32]
    uint64_t bias_offset;   // bytes to its bias, bf16 [num_outputs]
    uint64_t expert_stride; // bytes from one expert to the next
    uint32_t num_inputs;
    uint32_t num_outputs;
    uint32_t num_active; // experts of a row
    float swiglu_limit;  // read by gate-up only
};

struct ExpertSortArguments {
    uint32_t num_pairs;   // rows times active experts
    uint32_t num_experts; // 1 to 128
    uint32_t tile_rows;   // pairs of a tile
    uint32_t num_tiles;   // length of the list of tiles: at least min(num_pairs, num_pairs / tile_rows + num_experts)
};

// Pairs of one expert that one threadgroup takes: `count` from `first` on in the sorted order. Count 0: no work.
struct ExpertTile {
    uint32_t expert;
    uint32_t first;
    uint32_t count;
};

struct ExpertCombineArguments {
    uint32_t num_columns; // the hidden size
    uint32_t num_active;
};

// ---- Sampling --------------------------------------------------------------------------------------------------

struct SamplingArguments {
    uint32_t vocabulary_size;
    uint32_t max_stop_tokens; // columns of the stop tokens
    uint32_t max_top_tokens;  // columns of the most likely tokens asked for
};

enum SamplingFeature {
    sampling_uses_allowed_mask = 1, // else every token is allowed
    sampling_uses_bias = 2,         // else no token has one
};

// How one row samples, with gptoss_sampling_options' meaning, ranges and order of steps (include/gptoss.h). An element
// of buffer 1, not of buffer 0.
struct SamplingOptions {
    uint64_t seed;
    float temperature;
    float top_p;
    float min_p;
    float repetition_penalty;
    float presence_penalty;
    float frequency_penalty;
    uint32_t top_k;
    uint32_t num_stop_tokens;
    uint32_t num_top_tokens; // most likely tokens to report with their log-probabilities
    uint32_t features;       // a sum of SamplingFeature
};

// What became of a row. In a row's state, anything but `sampling_goes_on` means that it has ended: launches that were
// encoded before the host knew leave the state, the history and the next token as they are.
enum SamplingStatus {
    sampling_goes_on = 0,          // a token was sampled, and another one may follow
    sampling_stopped = 1,          // a stop token was sampled: the last one
    sampling_had_ended = 2,        // only in results: nothing was sampled, because the row had ended before
    sampling_not_finite = 3,       // the model's logits are not finite numbers
    sampling_all_forbidden = 4,    // mask, biases and penalties leave no token
    sampling_infinite_penalty = 5, // biases or penalties made a logit infinite
};

// Of one row, from token to token.
struct SamplingState {
    uint32_t position; // of the token that is drawn next: the counter of its random number
    uint32_t status;   // SamplingStatus
};

// What the host reads back, for each row and token.
struct SamplingResult {
    uint32_t token; // 0xFFFFFFFF if none was sampled
    uint32_t status;
    float log_probability; // of the token in the model's own distribution: log_softmax(logits)[token]
    float log_sum;         // log(sum(exp(logits - max(logits))))
};

struct TopToken {
    uint32_t token; // 0xFFFFFFFF where there are no more
    float log_probability;
};

} // namespace gptoss_metal
