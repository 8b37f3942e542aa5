// The mixture of experts of the CPU backend: which experts a row goes to, and what they make of it.
//
// Rows are grouped by expert, so that an expert's weights are read once for all its rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "gptoss.h"
#include "kernels.h"
#include "model_file.h"
#include "quantized_activations.h"
#include "thread_pool.h"

namespace gptoss::cpu {

// The rows of every expert that any row chose. An assignment is a row's choice of an expert; assignments are ordered
// by expert, then by row. A active experts.
class ExpertGroups {
public:
    struct Group {
        size_t expert;
        size_t begin; // its assignments
        size_t end;
    };

    // From the router's logits, [num_rows, num_experts]: the A highest ones, the lowest index on a tie, weighted by
    // their softmax.
    void choose(const float* logits, size_t num_rows, size_t num_experts, size_t num_active);

    const std::vector<Group>& groups() const { return groups_; } // ascending experts
    size_t num_assignments() const { return row_of_.size(); }    // num_rows * A
    const uint32_t* rows() const { return row_of_.data(); }      // [assignments]
    const uint32_t* assignments_of(size_t row) const { return assignment_of_.data() + row * num_active_; } // [A]
    const float* weights_of(size_t row) const { return weights_.data() + row * num_active_; }              // [A]

private:
    void group(size_t num_experts);

    size_t num_active_ = 0;
    std::vector<uint32_t> chosen_; // [rows, A], descending logits
    std::vector<float> weights_;   // [rows, A]
    std::vector<Group> groups_;
    std::vector<uint32_t> assignment_of_; // [rows, A] -> the assignment that a choice became
    std::vector<uint32_t> row_of_;        // [rows * A] assignment -> row
};

// E embedding size, I expert size. In exact precision activations stay fp32; in others products are summed as integers,
// of activations of 16 bits, or of 8 in fast precision.
class ExpertMlp {
public:
    ExpertMlp(const ModelConfig& config, const Kernels& kernels, ThreadPool& pool, gptoss_precision precision);

    // Bytes that workspace_bytes() comes to in default precision when the largest batch has had num_rows rows.
    static size_t workspace_bytes_for(const ModelConfig& config, size_t num_threads, size_t num_rows);
    size_t workspace_bytes() const;
    // Makes room for a batch of num_rows rows.
    void begin(size_t num_rows);

    void choose(const float* router_logits, size_t num_rows) {
        groups_.choose(router_logits, num_rows, config_.num_experts, config_.num_active_experts);
    }
    // residual += the chosen experts' outputs, weighted; both inputs are [rows, E]. `experts` is the block's first one.
    void apply(const uint8_t* experts, const ExpertPlaces& places, const float* normalized, float* residual);

private:
    Mxfp4Matrix gate_up_matrix(const uint8_t* expert, const ExpertPlaces& places) const;
    Mxfp4Matrix down_matrix(const uint8_t* expert, const ExpertPlaces& places) const;
    // Runs piece(group, first, last, thread) over every group with [0, num_outputs) cut into pieces of at most
    // outputs_per_piece; num_inputs multiply-adds make an output of a row.
    template <class Piece>
    void for_each_piece(size_t num_inputs, size_t num_outputs, size_t outputs_per_piece, const Piece& piece);
    // quantize(row, assignment) writes row `row` of the normalized ones as the input of an assignment.
    template <class Rows, class Quantize>
    void apply_quantized(const uint8_t* experts,
                         const ExpertPlaces& places,
                         const Rows& inputs,
                         const Rows& hidden,
                         const Quantize& quantize,
                         void (*gate_up)(const QuantizedGateUpArguments<Rows>&),
                         void (*down)(const QuantizedDownArguments<Rows>&));
    void apply_as_integers(const uint8_t* experts, const ExpertPlaces& places, const float* normalized);
    void apply_as_int8(const uint8_t* experts, const ExpertPlaces& places, const float* normalized);
    void apply_exactly(const uint8_t* experts, const ExpertPlaces& places, const float* normalized);

    const ModelConfig& config_;
    const Kernels& kernels_;
    ThreadPool& pool_;
    const gptoss_precision precision_;
    ExpertGroups groups_;
    std::vector<float> output_; // [assignments, E]

    QuantizedActivations quantized_;        // [assignments, E]
    QuantizedActivations quantized_hidden_; // [assignments, I]

    Int8Activations int8_;        // [assignments, E]
    Int8Activations int8_hidden_; // [assignments, I]

    std::vector<float> block_ordered_; // [rows, E]
    std::vector<float> hidden_;        // [assignments, I], in block order
    std::vector<const float*> inputs_; // [assignments], into block_ordered_ or hidden_
    float* scratch(uint32_t thread) { return scratch_.data() + thread * scratch_stride_; }
    size_t scratch_stride_;
    std::vector<float> scratch_; // [threads, scratch_stride_]
};

} // namespace gptoss::cpu
