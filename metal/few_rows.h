// The tiles of products of 2 to 31 rows, whose weights are read once for all rows (projections and unembedding).
//
// Vector products would do for 2 or 3 rows, but for more they run out of registers or read the activations from
// threadgroup memory over and over. An 8x8 matrix wastes most of its work on 2 rows and is still faster than the
// weights arrive: 400 GB/s over 32 cores at 1.3 GHz are 5 bf16 weights a clock for each core, times 8 rows 40 of its
// 128 multiply-adds and, at 0.6 of them a byte, 60 bytes of threadgroup memory. With 31 rows both are at their limit.
//
// 8 simdgroups share 64 outputs: small matrices (2,880 rows: 45 threadgroups) still have 360 simdgroups that ask for
// weights, and the activations are 25 % of the bytes asked for with 8 rows.
#pragma once

#include "dense_geometry.h"
#include "matmul_tile.h"

namespace gptoss_metal {

// For Rows = 8, 16 or 32. A simdgroup has 8 outputs and all rows; of 32 rows it has half, and 16 outputs, which takes
// as many multiplications and fewer loads (4 matrices for 4 multiplications, not 5).
template <uint Rows>
using FewRowsShape = TileShape<Rows == 32 ? 2 : 1, Rows == 32 ? 4 : 8, Rows == 8 ? 1 : 2, Rows == 32 ? 2 : 1>;

template <uint Rows>
using FewRowsMemory = TileMemory<FloatOperand, FewRowsShape<Rows>>;

static_assert(FewRowsShape<8>::kOutputs == kFewRowsOutputs && FewRowsShape<32>::kOutputs == kFewRowsOutputs &&
                  FewRowsShape<8>::kThreads == kFewRowsThreads && FewRowsShape<32>::kThreads == kFewRowsThreads &&
                  FewRowsShape<8>::kRows == 8 && FewRowsShape<16>::kRows == 16 && FewRowsShape<32>::kRows == 32,
              "the launcher dispatches 256 threads for 64 outputs");

} // namespace gptoss_metal
