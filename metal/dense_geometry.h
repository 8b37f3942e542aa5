// How the dense kernels divide their work: what the kernels are written for and the launcher must dispatch.
#pragma once

namespace gptoss_metal {

// Matrix-vector products: threadgroups of 256 threads, each for 32 outputs (why: matvec.h).
enum MatvecGeometry {
    kMatvecThreads = 256,
    kMatvecOutputs = 32,
    kMatvecOutputsPerSimdgroup = 4,
    kMatvecTileColumns = 4096, // activations that are staged at a time
};

// Few rows: threadgroups of 256 threads, each for 64 outputs and 8, 16 or 32 rows (why: projection_few_rows.metal).
enum FewRowsGeometry {
    kFewRowsThreads = 256,
    kFewRowsOutputs = 64,
};

// Many rows: threadgroups of 128 threads, each for 64 rows and 64 outputs (why: projection_matmul.metal).
enum MatmulGeometry {
    kMatmulThreads = 128,
    kMatmulRows = 64,
    kMatmulOutputs = 64,
};

// The router: one row in a threadgroup, or eight that share the weights.
enum RouterGeometry {
    kRouterMaxExperts = 128,
    kRouterThreads = 512,
    kRouterTiledThreads = 256,
    kRouterTiledRows = 8,
};

// Norm: one row in a threadgroup.
enum NormGeometry {
    kNormThreads = 256,
};

} // namespace gptoss_metal
