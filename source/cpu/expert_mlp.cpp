#include "expert_mlp.h"

#include <algorithm>

#include "buffers.h"

namespace gptoss::cpu {

namespace {

// Of a matrix, that one task computes: the integer kernels unpack the weights of 64 outputs at a time, 92 KB of them
// with 2,880 inputs. A hidden element takes two outputs.
constexpr size_t kOutputsPerTask = 64;
constexpr size_t kHiddenPerTask = kOutputsPerTask / 2;

// Of one thread.
size_t scratch_floats(const ModelConfig& config) {
    return kLinearScratchRows * size_t{std::max(config.embedding_dim, config.mlp_dim)};
}

template <class Element>
size_t num_bytes(const std::vector<Element>& buffer) {
    return buffer.capacity() * sizeof(Element);
}

} // namespace

ExpertMlp::ExpertMlp(const ModelConfig& config, const Kernels& kernels, size_t num_threads, bool exact)
    : config_(config), kernels_(kernels), exact_(exact), scratch_stride_(scratch_floats(config)) {
    if (exact_) {
        scratch_.resize(num_threads * scratch_stride_);
    }
}

// As the members come; begin() gives them these sizes.
size_t ExpertMlp::workspace_bytes_for(const ModelConfig& config, size_t num_rows) {
    const size_t num_assignments = num_rows * config.num_active_experts;
    return num_assignments * config.embedding_dim * sizeof(float) +
           (num_rows * config.embedding_dim + num_assignments * config.mlp_dim) / 32 * sizeof(QuantizedBlock);
}

size_t ExpertMlp::workspace_bytes() const {
    return num_bytes(output_) + num_bytes(quantized_) + num_bytes(quantized_hidden_) + num_bytes(block_ordered_) +
           num_bytes(hidden_) + num_bytes(scratch_);
}

void ExpertMlp::begin(size_t num_rows) {
    const size_t num_assignments = num_rows * config_.num_active_experts;
    fit(output_, num_assignments * config_.embedding_dim);
    if (exact_) {
        fit(block_ordered_, num_rows * config_.embedding_dim);
        fit(hidden_, num_assignments * config_.mlp_dim);
        inputs_.resize(num_assignments);
    } else {
        fit(quantized_, num_rows * config_.embedding_dim / 32);
        fit(quantized_hidden_, num_assignments * config_.mlp_dim / 32);
        quantized_inputs_.resize(num_assignments);
    }
}

Mxfp4Matrix ExpertMlp::gate_up_matrix(const uint8_t* expert, const ExpertPlaces& places) const {
    return {.blocks = expert + places.mlp1_blocks.offset,
            .scales = expert + places.mlp1_scales.offset,
            .bias = reinterpret_cast<const uint16_t*>(expert + places.mlp1_bias.offset),
            .num_inputs = config_.embedding_dim};
}

Mxfp4Matrix ExpertMlp::down_matrix(const uint8_t* expert, const ExpertPlaces& places) const {
    return {.blocks = expert + places.mlp2_blocks.offset,
            .scales = expert + places.mlp2_scales.offset,
            .bias = reinterpret_cast<const uint16_t*>(expert + places.mlp2_bias.offset),
            .num_inputs = config_.mlp_dim};
}

template <class Piece>
void ExpertMlp::for_each_piece(size_t num_inputs,
                               size_t num_outputs,
                               size_t outputs_per_piece,
                               const ParallelLoop& parallel,
                               const Piece& piece) const {
    const std::vector<ExpertGroups::Group>& groups = groups_.groups();
    const size_t pieces_per_group = (num_outputs + outputs_per_piece - 1) / outputs_per_piece;
    const size_t rows_per_group = groups_.num_assignments() / groups.size();
    parallel(groups.size() * pieces_per_group, rows_per_group * kOutputsPerTask * num_inputs,
             [&](size_t task, uint32_t thread) {
                 const size_t first = task % pieces_per_group * outputs_per_piece;
                 piece(groups[task / pieces_per_group], first, std::min(num_outputs, first + outputs_per_piece),
                       thread);
             });
}

void ExpertMlp::apply(const uint8_t* experts,
                      const ExpertPlaces& places,
                      const float* normalized,
                      float* residual,
                      const ParallelLoop& parallel) {
    const size_t embedding_dim = config_.embedding_dim;
    const size_t num_active = config_.num_active_experts;
    const size_t num_rows = groups_.num_assignments() / num_active;
    if (exact_) {
        apply_exactly(experts, places, normalized, parallel);
    } else {
        apply_as_integers(experts, places, normalized, parallel);
    }
    parallel(num_rows, num_active * embedding_dim, [&](size_t row, uint32_t) {
        kernels_.add_weighted_rows({.rows = output_.data(),
                                    .indices = groups_.assignments_of(row),
                                    .weights = groups_.weights_of(row),
                                    .output = residual + row * embedding_dim,
                                    .num_rows = num_active,
                                    .size = embedding_dim});
    });
}

void ExpertMlp::apply_as_integers(const uint8_t* experts,
                                  const ExpertPlaces& places,
                                  const float* normalized,
                                  const ParallelLoop& parallel) {
    const size_t embedding_dim = config_.embedding_dim;
    const size_t embedding_blocks = embedding_dim / 32;
    const size_t hidden_blocks = config_.mlp_dim / 32;
    const size_t num_assignments = groups_.num_assignments();
    const size_t num_rows = num_assignments / config_.num_active_experts;

    parallel(num_rows, embedding_dim, [&](size_t row, uint32_t) {
        kernels_.quantize(normalized + row * embedding_dim, quantized_.data() + row * embedding_blocks, embedding_dim);
    });
    for (size_t assignment = 0; assignment < num_assignments; assignment++) {
        quantized_inputs_[assignment] = quantized_.data() + groups_.row_of(assignment) * embedding_blocks;
    }
    for_each_piece(
        embedding_dim, config_.mlp_dim, kHiddenPerTask, parallel,
        [&](const ExpertGroups::Group& group, size_t first, size_t last, uint32_t) {
            kernels_.integer_gate_up({.matrix = gate_up_matrix(experts + group.expert * places.stride, places),
                                      .inputs = quantized_inputs_.data() + group.begin,
                                      .hidden = quantized_hidden_.data() + group.begin * hidden_blocks,
                                      .num_rows = group.end - group.begin,
                                      .hidden_stride = hidden_blocks,
                                      .first = first,
                                      .last = last,
                                      .swiglu_limit = config_.swiglu_limit});
        });
    for (size_t assignment = 0; assignment < num_assignments; assignment++) {
        quantized_inputs_[assignment] = quantized_hidden_.data() + assignment * hidden_blocks;
    }
    for_each_piece(config_.mlp_dim, embedding_dim, kOutputsPerTask, parallel,
                   [&](const ExpertGroups::Group& group, size_t first, size_t last, uint32_t) {
                       kernels_.integer_down({.matrix = down_matrix(experts + group.expert * places.stride, places),
                                              .inputs = quantized_inputs_.data() + group.begin,
                                              .output = output_.data() + group.begin * embedding_dim,
                                              .num_rows = group.end - group.begin,
                                              .output_stride = embedding_dim,
                                              .first = first,
                                              .last = last});
                   });
}

void ExpertMlp::apply_exactly(const uint8_t* experts,
                              const ExpertPlaces& places,
                              const float* normalized,
                              const ParallelLoop& parallel) {
    const size_t embedding_dim = config_.embedding_dim;
    const size_t mlp_dim = config_.mlp_dim;
    const size_t num_assignments = groups_.num_assignments();
    const size_t num_rows = num_assignments / config_.num_active_experts;

    parallel(num_rows, embedding_dim, [&](size_t row, uint32_t) {
        kernels_.to_block_order(normalized + row * embedding_dim, block_ordered_.data() + row * embedding_dim,
                                embedding_dim);
    });
    for (size_t assignment = 0; assignment < num_assignments; assignment++) {
        inputs_[assignment] = block_ordered_.data() + groups_.row_of(assignment) * embedding_dim;
    }
    for_each_piece(
        embedding_dim, mlp_dim, kHiddenPerTask, parallel,
        [&](const ExpertGroups::Group& group, size_t first, size_t last, uint32_t thread) {
            kernels_.expert_gate_up({.matrix = gate_up_matrix(experts + group.expert * places.stride, places),
                                     .inputs = inputs_.data() + group.begin,
                                     .hidden = hidden_.data() + group.begin * mlp_dim,
                                     .num_rows = group.end - group.begin,
                                     .hidden_stride = mlp_dim,
                                     .first = first,
                                     .last = last,
                                     .swiglu_limit = config_.swiglu_limit,
                                     .scratch = scratch_.data() + thread * scratch_stride_});
        });
    for (size_t assignment = 0; assignment < num_assignments; assignment++) {
        inputs_[assignment] = hidden_.data() + assignment * mlp_dim;
    }
    for_each_piece(mlp_dim, embedding_dim, kOutputsPerTask, parallel,
                   [&](const ExpertGroups::Group& group, size_t first, size_t last, uint32_t thread) {
                       kernels_.expert_down({.matrix = down_matrix(experts + group.expert * places.stride, places),
                                             .inputs = inputs_.data() + group.begin,
                                             .output = output_.data() + group.begin * embedding_dim,
                                             .num_rows = group.end - group.begin,
                                             .output_stride = embedding_dim,
                                             .first = first,
                                             .last = last,
                                             .scratch = scratch_.data() + thread * scratch_stride_});
                   });
}

} // namespace gptoss::cpu
