#include "expert_mlp.h"

#include <algorithm>

#include "buffers.h"

namespace gptoss::cpu {

namespace {

// Of a matrix, that one task computes: the kernels unpack the weights of 64 outputs at a time, 92 KB of them with 2,880
// inputs. A hidden element takes two outputs, and a group of them becomes integers together.
constexpr size_t kOutputsPerTask = 64;
constexpr size_t kHiddenPerTask = kGroupInputs;

// Of one thread.
size_t scratch_floats(const ModelConfig& config, gptoss_precision precision) {
    return precision == gptoss_precision_exact
               ? kLinearScratchRows * size_t{std::max(config.embedding_dim, config.mlp_dim)}
               : kIntegerScratchFloats;
}

template <class Element>
size_t num_bytes(const std::vector<Element>& buffer) {
    return buffer.capacity() * sizeof(Element);
}

} // namespace

ExpertMlp::ExpertMlp(const ModelConfig& config, const Kernels& kernels, ThreadPool& pool, gptoss_precision precision)
    : config_(config),
      kernels_(kernels),
      pool_(pool),
      precision_(precision),
      scratch_stride_(scratch_floats(config, precision)) {
    scratch_.resize(pool_.num_threads() * scratch_stride_);
}

// As the members come; begin() gives them these sizes.
size_t ExpertMlp::workspace_bytes_for(const ModelConfig& config, size_t num_threads, size_t num_rows) {
    const size_t num_assignments = num_rows * config.num_active_experts;
    return (num_assignments * config.embedding_dim + num_threads * scratch_floats(config, gptoss_precision_default)) *
               sizeof(float) +
           QuantizedActivations::bytes_for(num_assignments, config.embedding_dim) +
           QuantizedActivations::bytes_for(num_assignments, config.mlp_dim);
}

size_t ExpertMlp::workspace_bytes() const {
    return num_bytes(output_) + quantized_.num_bytes() + quantized_hidden_.num_bytes() + int8_.num_bytes() +
           int8_hidden_.num_bytes() + num_bytes(block_ordered_) + num_bytes(hidden_) + num_bytes(scratch_);
}

void ExpertMlp::begin(size_t num_rows) {
    const size_t num_assignments = num_rows * config_.num_active_experts;
    fit(output_, num_assignments * config_.embedding_dim);
    switch (precision_) {
        case gptoss_precision_default:
            quantized_.begin(num_assignments, config_.embedding_dim);
            quantized_hidden_.begin(num_assignments, config_.mlp_dim);
            break;
        case gptoss_precision_exact:
            fit(block_ordered_, num_rows * config_.embedding_dim);
            fit(hidden_, num_assignments * config_.mlp_dim);
            inputs_.resize(num_assignments);
            break;
        case gptoss_precision_fast:
            int8_.begin(num_assignments, config_.embedding_dim);
            int8_hidden_.begin(num_assignments, config_.mlp_dim);
            break;
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
void ExpertMlp::for_each_piece(size_t num_inputs, size_t num_outputs, size_t outputs_per_piece, const Piece& piece) {
    const std::vector<ExpertGroups::Group>& groups = groups_.groups();
    const size_t pieces_per_group = (num_outputs + outputs_per_piece - 1) / outputs_per_piece;
    const size_t rows_per_group = groups_.num_assignments() / groups.size();
    pool_.run(groups.size() * pieces_per_group, rows_per_group * outputs_per_piece * num_inputs,
              [&](size_t task, uint32_t thread) {
                  const size_t first = task % pieces_per_group * outputs_per_piece;
                  piece(groups[task / pieces_per_group], first, std::min(num_outputs, first + outputs_per_piece),
                        thread);
              });
}

void ExpertMlp::apply(const uint8_t* experts, const ExpertPlaces& places, const float* normalized, float* residual) {
    const size_t embedding_dim = config_.embedding_dim;
    const size_t num_active = config_.num_active_experts;
    const size_t num_rows = groups_.num_assignments() / num_active;
    switch (precision_) {
        case gptoss_precision_default:
            apply_as_integers(experts, places, normalized);
            break;
        case gptoss_precision_exact:
            apply_exactly(experts, places, normalized);
            break;
        case gptoss_precision_fast:
            apply_as_int8(experts, places, normalized);
            break;
    }
    pool_.run(num_rows, num_active * embedding_dim, [&](size_t row, uint32_t) {
        kernels_.add_weighted_rows({.rows = output_.data(),
                                    .indices = groups_.assignments_of(row),
                                    .weights = groups_.weights_of(row),
                                    .output = residual + row * embedding_dim,
                                    .num_rows = num_active,
                                    .size = embedding_dim});
    });
}

template <class Rows, class Quantize>
void ExpertMlp::apply_quantized(const uint8_t* experts,
                                const ExpertPlaces& places,
                                const Rows& inputs,
                                const Rows& hidden,
                                const Quantize& quantize,
                                void (*gate_up)(const QuantizedGateUpArguments<Rows>&),
                                void (*down)(const QuantizedDownArguments<Rows>&)) {
    const size_t embedding_dim = config_.embedding_dim;
    const size_t num_active = config_.num_active_experts;
    const size_t num_rows = groups_.num_assignments() / num_active;

    // Once for each expert that a row goes to, so that an expert's rows lie side by side: gathered from all over, they
    // would drag their neighbours into the caches.
    pool_.run(num_rows, num_active * embedding_dim, [&](size_t row, uint32_t) {
        for (size_t k = 0; k < num_active; k++) {
            quantize(row, groups_.assignments_of(row)[k]);
        }
    });
    for_each_piece(embedding_dim, config_.mlp_dim, kHiddenPerTask,
                   [&](const ExpertGroups::Group& group, size_t first, size_t last, uint32_t thread) {
                       gate_up({.matrix = gate_up_matrix(experts + group.expert * places.stride, places),
                                .inputs = inputs,
                                .hidden = hidden,
                                .first_row = group.begin,
                                .num_rows = group.end - group.begin,
                                .first = first,
                                .last = last,
                                .swiglu_limit = config_.swiglu_limit,
                                .scratch = scratch(thread)});
                   });
    for_each_piece(config_.mlp_dim, embedding_dim, kOutputsPerTask,
                   [&](const ExpertGroups::Group& group, size_t first, size_t last, uint32_t thread) {
                       down({.matrix = down_matrix(experts + group.expert * places.stride, places),
                             .inputs = hidden,
                             .first_row = group.begin,
                             .output = output_.data() + group.begin * embedding_dim,
                             .num_rows = group.end - group.begin,
                             .output_stride = embedding_dim,
                             .first = first,
                             .last = last,
                             .scratch = scratch(thread)});
                   });
}

void ExpertMlp::apply_as_integers(const uint8_t* experts, const ExpertPlaces& places, const float* normalized) {
    const QuantizedRows inputs = quantized_.rows();
    const auto quantize = [&](size_t row, size_t assignment) {
        kernels_.quantize({.input = normalized + row * config_.embedding_dim,
                           .output = inputs,
                           .row = assignment,
                           .size = config_.embedding_dim,
                           .order = CodeOrder::mxfp4});
    };
    apply_quantized(experts, places, inputs, quantized_hidden_.rows(), quantize, kernels_.integer_gate_up,
                    kernels_.integer_down);
}

void ExpertMlp::apply_as_int8(const uint8_t* experts, const ExpertPlaces& places, const float* normalized) {
    const Int8Rows inputs = int8_.rows();
    const auto quantize = [&](size_t row, size_t assignment) {
        kernels_.quantize_int8({.input = normalized + row * config_.embedding_dim,
                                .output = inputs,
                                .row = assignment,
                                .size = config_.embedding_dim});
    };
    apply_quantized(experts, places, inputs, int8_hidden_.rows(), quantize, kernels_.int8_gate_up, kernels_.int8_down);
}

void ExpertMlp::apply_exactly(const uint8_t* experts, const ExpertPlaces& places, const float* normalized) {
    const size_t embedding_dim = config_.embedding_dim;
    const size_t mlp_dim = config_.mlp_dim;
    const size_t num_assignments = groups_.num_assignments();
    const size_t num_rows = num_assignments / config_.num_active_experts;

    pool_.run(num_rows, embedding_dim, [&](size_t row, uint32_t) {
        kernels_.to_block_order(normalized + row * embedding_dim, block_ordered_.data() + row * embedding_dim,
                                embedding_dim);
    });
    for (size_t assignment = 0; assignment < num_assignments; assignment++) {
        inputs_[assignment] = block_ordered_.data() + groups_.rows()[assignment] * embedding_dim;
    }
    for_each_piece(
        embedding_dim, mlp_dim, kHiddenPerTask,
        [&](const ExpertGroups::Group& group, size_t first, size_t last, uint32_t thread) {
            kernels_.expert_gate_up({.matrix = gate_up_matrix(experts + group.expert * places.stride, places),
                                     .inputs = inputs_.data() + group.begin,
                                     .hidden = hidden_.data() + group.begin * mlp_dim,
                                     .num_rows = group.end - group.begin,
                                     .hidden_stride = mlp_dim,
                                     .first = first,
                                     .last = last,
                                     .swiglu_limit = config_.swiglu_limit,
                                     .scratch = scratch(thread)});
        });
    for (size_t assignment = 0; assignment < num_assignments; assignment++) {
        inputs_[assignment] = hidden_.data() + assignment * mlp_dim;
    }
    for_each_piece(mlp_dim, embedding_dim, kOutputsPerTask,
                   [&](const ExpertGroups::Group& group, size_t first, size_t last, uint32_t thread) {
                       kernels_.expert_down({.matrix = down_matrix(experts + group.expert * places.stride, places),
                                             .inputs = inputs_.data() + group.begin,
                                             .output = output_.data() + group.begin * embedding_dim,
                                             .num_rows = group.end - group.begin,
                                             .output_stride = embedding_dim,
                                             .first = first,
                                             .last = last,
                                             .scratch = scratch(thread)});
                   });
}

} // namespace gptoss::cpu
