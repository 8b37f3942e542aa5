// The dense layers of the CPU backend, with their outputs divided among the threads.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels.h"
#include "model_file.h"
#include "quantized_activations.h"
#include "thread_pool.h"

namespace gptoss::cpu {

class Projections {
public:
    Projections(const ModelConfig& config, const Kernels& kernels, ThreadPool& pool, bool exact);

    // Bytes that workspace_bytes() comes to when the largest batch has had num_rows rows, without exact.
    static size_t workspace_bytes_for(const ModelConfig& config, size_t num_threads, size_t num_rows);
    size_t workspace_bytes() const;
    // Makes room for a batch of num_rows rows.
    void begin(size_t num_rows);

    // output = or += inputs . matrix^T + bias, [inputs.size(), num_outputs]. Inputs become integers, but with `exact`.
    void apply(const DenseMatrix& matrix,
               const std::vector<const float*>& inputs, // of matrix.num_inputs each
               float* output,
               size_t num_outputs,
               bool add_to_output = false);
    // The same in fp32: for the router, which has few weights and much to decide.
    void apply_exactly(const DenseMatrix& matrix,
                       const std::vector<const float*>& inputs,
                       float* output,
                       size_t num_outputs,
                       bool add_to_output = false);

private:
    void apply_as_integers(const DenseMatrix& matrix,
                           const std::vector<const float*>& inputs,
                           float* output,
                           size_t num_outputs,
                           bool add_to_output);
    float* scratch(uint32_t thread) { return scratch_.data() + thread * scratch_stride_; }

    const ModelConfig& config_;
    const Kernels& kernels_;
    ThreadPool& pool_;
    const bool exact_;
    QuantizedActivations quantized_; // [rows, max(E, H D)], of the projection at hand
    std::vector<float> packed_;      // [rows, max(E, H D)], or the router's [rows, E], if there are many rows
    size_t scratch_stride_;
    std::vector<float> scratch_; // [threads, scratch_stride_]
};

} // namespace gptoss::cpu
