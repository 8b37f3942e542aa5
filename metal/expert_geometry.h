// How the expert kernels divide their work: what the kernels are written for and the launcher must dispatch.
#pragma once

namespace gptoss_metal {

// One row (why: expert_matvec.metal): threadgroups for 32 outputs, with a simdgroup for every 1,024 inputs (gate-up),
// or for every 1,024 inputs of each active expert (down); at most 12, and then
// each takes several: 384 threads of 80 registers are 120 KB of a core's 208 KB, and the 20b's down has just that many.
enum ExpertMatvecGeometry {
    kExpertMatvecOutputs = 32,
    kExpertMatvecInputsPerSimdgroup = 1024,
    kExpertMatvecMaxSimdgroups = 12,
};

// Few rows (why: expert_few_rows.metal): threadgroups for 64 outputs, with a simdgroup for every 1,024 inputs, at most
// 4. Threadgroup memory: 4 bytes for each simdgroup, output and row, the rows rounded up to a power of two from 2 on.
enum ExpertFewRowsGeometry {
    kExpertFewRowsMaxRows = 32, // of a tile, and so of a launch
    kExpertFewRowsOutputs = 64,
    kExpertFewRowsMaxSimdgroups = 4,
};

// Many rows (why: expert_matmul.metal): threadgroups of 128 threads, each for 32 rows and 128 outputs.
enum ExpertMatmulGeometry {
    kExpertMatmulThreads = 128,
    kExpertMatmulRows = 32,
    kExpertMatmulOutputs = 128,
};

// The sort: one threadgroup.
enum ExpertSortGeometry {
    kExpertSortThreads = 512,
    kExpertSortMaxExperts = 128,
};

} // namespace gptoss_metal
