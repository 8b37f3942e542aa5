// Launches that sample one token from one row of logits, and prepare everything that the next one's work reads.
//
// V vocabulary, G = ceil(V / 32) groups of tokens.
#pragma once

#include <cstdint>

#include "encoder.h"

namespace gptoss::metal {

// Where the GPU finds what it samples by. The last launch changes the state and the history.
struct SamplingBuffers {
    Slice options;     // SamplingOptions
    Slice state;       // SamplingState, read and written
    Slice logits;      // fp32 [V]
    Slice biased;      // u32 [G] bits: tokens whose bias counts
    Slice biases;      // fp32 [V]
    Slice seen;        // u32 [G] bits: tokens of the context, read and written
    Slice generated;   // u32 [G] bits: tokens sampled since the last append, read and written
    Slice counts;      // u32 [V] how often each was, read and written
    Slice stop_tokens; // u32 [at least 1]

    // Of one token's launches.
    Slice groups;         // u32 [G, 2]
    Slice model_groups;   // u32 [G, 2]
    Slice cut;            // u32
    Slice num_candidates; // u32
    Slice candidates;     // u32 [V, 2]

    Slice next_token; // u32, written
    Slice result;     // SamplingResult, written
};

struct SamplingShape {
    uint32_t vocabulary_size;
    bool filters; // top_k, top_p or min_p is in use at a temperature above 0
};

// 2 launches, 4 with filters, with barriers between them. What wrote the logits, the state and the history has to lie
// behind a barrier.
void launch_sampling(Encoder& encoder, const SamplingShape& shape, const SamplingBuffers& buffers);

} // namespace gptoss::metal
