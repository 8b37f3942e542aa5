// Which function constant specialises what: the index of each, for the kernels and for the C++ that builds pipelines.
//
// A kernel compiled without a constant takes the size from its arguments, so every shape runs; a pipeline for a known
// shape sets them and lets the compiler unroll and drop the edges' code. Attention and sampling have none: no known
// size would make them simpler.
#pragma once

namespace gptoss_metal {

enum FunctionConstant {
    // ---- Projections, router, unembedding: 0 to 9
    kProjectionInputs = 0, // uint: num_inputs of the projections, the router and the unembedding

    // ---- Experts: 10 to 19
    kExpertInputs = 10,  // uint: num_inputs of an expert's matrix
    kExpertOutputs = 11, // uint: num_outputs of an expert's matrix
    kExpertActive = 12,  // uint: num_active
};

} // namespace gptoss_metal
