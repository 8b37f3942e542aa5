#include "projections.h"

#include <algorithm>

namespace gptoss::cpu {

namespace {

// Outputs that one task computes: enough to make up for the cost of handing it out, few enough to balance, and as many
// as the kernels unpack at a time. 64 rows of 2,880 bf16 weights are 369 KB.
constexpr size_t kOutputsPerTask = 64;
static_assert(kOutputsPerTask % (kPanels * kPanelOutputs) == 0);
// The router has too few outputs to share out, so its rows are: a multiple of what the packed products take at a time,
// and enough to make up for unpacking the weights anew.
constexpr size_t kRowsPerTask = 96;
static_assert(kRowsPerTask % kPackedRows == 0);

size_t largest_row(const ModelConfig& config) {
    return std::max(size_t{config.embedding_dim}, size_t{config.num_heads} * config.head_dim);
}

// Of one thread. Without exact only the router needs the form in fp32.
size_t scratch_floats(const ModelConfig& config, bool exact) {
    const size_t row = exact ? largest_row(config) : size_t{config.embedding_dim};
    return std::max(kLinearScratchRows * row, kIntegerScratchFloats);
}

// Rows of activations with which the last group is full; 0 if so few rows are not packed.
size_t num_packed_rows(size_t num_rows) {
    return num_rows < kMinPackedRows ? 0 : (num_rows + kPackedRows - 1) / kPackedRows * kPackedRows;
}

} // namespace

Projections::Projections(const ModelConfig& config, const Kernels& kernels, ThreadPool& pool, bool exact)
    : config_(config), kernels_(kernels), pool_(pool), exact_(exact), scratch_stride_(scratch_floats(config, exact)) {
    scratch_.resize(pool_.num_threads() * scratch_stride_);
}

// As the members come; begin() gives them these sizes.
size_t Projections::workspace_bytes_for(const ModelConfig& config, size_t num_threads, size_t num_rows) {
    return QuantizedActivations::bytes_for(num_rows, largest_row(config)) +
           (num_packed_rows(num_rows) * config.embedding_dim + num_threads * scratch_floats(config, false)) *
               sizeof(float);
}

size_t Projections::workspace_bytes() const {
    return quantized_.num_bytes() + (packed_.capacity() + scratch_.capacity()) * sizeof(float);
}

void Projections::begin(size_t num_rows) {
    if (!exact_) {
        quantized_.begin(num_rows, largest_row(config_));
    }
    fit(packed_, num_packed_rows(num_rows) * (exact_ ? largest_row(config_) : size_t{config_.embedding_dim}));
}

void Projections::apply(const DenseMatrix& matrix,
                        const std::vector<const float*>& inputs,
                        float* output,
                        size_t num_outputs,
                        bool add_to_output) {
    if (exact_) {
        apply_exactly(matrix, inputs, output, num_outputs, add_to_output);
    } else {
        apply_as_integers(matrix, inputs, output, num_outputs, add_to_output);
    }
}

void Projections::apply_as_integers(const DenseMatrix& matrix,
                                    const std::vector<const float*>& inputs,
                                    float* output,
                                    size_t num_outputs,
                                    bool add_to_output) {
    const size_t num_rows = inputs.size();
    const QuantizedRows quantized = quantized_.rows();
    pool_.run(num_rows, matrix.num_inputs, [&](size_t row, uint32_t) {
        kernels_.quantize({.input = inputs[row],
                           .output = quantized,
                           .row = row,
                           .size = matrix.num_inputs,
                           .order = CodeOrder::natural});
    });
    const size_t num_tasks = (num_outputs + kOutputsPerTask - 1) / kOutputsPerTask;
    pool_.run(num_tasks, kOutputsPerTask * matrix.num_inputs * num_rows, [&](size_t task, uint32_t thread) {
        kernels_.integer_linear({.matrix = matrix,
                                 .inputs = quantized,
                                 .output = output,
                                 .num_rows = num_rows,
                                 .output_stride = num_outputs,
                                 .first = task * kOutputsPerTask,
                                 .last = std::min(num_outputs, (task + 1) * kOutputsPerTask),
                                 .add_to_output = add_to_output,
                                 .scratch = scratch(thread)});
    });
}

void Projections::apply_exactly(const DenseMatrix& matrix,
                                const std::vector<const float*>& inputs,
                                float* output,
                                size_t num_outputs,
                                bool add_to_output) {
    const size_t num_rows = inputs.size();
    const size_t num_inputs = matrix.num_inputs;
    const bool pack = num_rows >= kMinPackedRows;
    if (pack) {
        pool_.run(num_packed_rows(num_rows) / kPackedRows, kPackedRows * num_inputs, [&](size_t group, uint32_t) {
            kernels_.pack_inputs({.inputs = inputs.data(),
                                  .packed = packed_.data(),
                                  .num_rows = num_rows,
                                  .num_inputs = num_inputs,
                                  .first_group = group,
                                  .last_group = group + 1});
        });
    }
    const size_t num_pieces = (num_outputs + kOutputsPerTask - 1) / kOutputsPerTask; // of the outputs
    const size_t rows_per_task = pack && num_pieces < pool_.num_threads() ? kRowsPerTask : num_rows;
    const size_t num_tasks = num_pieces * ((num_rows + rows_per_task - 1) / rows_per_task);
    pool_.run(num_tasks, kOutputsPerTask * num_inputs * rows_per_task, [&](size_t task, uint32_t thread) {
        const size_t first_row = task / num_pieces * rows_per_task;
        const size_t first = task % num_pieces * kOutputsPerTask;
        kernels_.linear({.matrix = matrix,
                         .inputs = inputs.data() + first_row,
                         .packed_inputs = pack ? packed_.data() + first_row * num_inputs : nullptr,
                         .output = output + first_row * num_outputs,
                         .num_rows = std::min(rows_per_task, num_rows - first_row),
                         .output_stride = num_outputs,
                         .first = first,
                         .last = std::min(num_outputs, first + kOutputsPerTask),
                         .add_to_output = add_to_output,
                         .scratch = scratch(thread)});
    });
}

} // namespace gptoss::cpu
