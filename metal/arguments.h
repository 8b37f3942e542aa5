// The arguments of every kernel, as bytes: included by the kernels and by the C++ that launches them.
//
// Only 4-byte members, and 8-byte ones at offsets that are multiples of 8, so that both compilers lay them out alike
// and without holes. Each struct is bound to buffer 0 of its kernels. Counts are in elements unless a name says bytes.
#pragma once

#if !defined(__METAL_VERSION__)
#include <cstdint>
#endif

namespace gptoss_metal {

// ---- Embedding and norm ----------------------------------------------------------------------------------------

// ---- Projections, router, unembedding --------------------------------------------------------------------------

// ---- Rotary embedding and attention ----------------------------------------------------------------------------

// ---- Experts ---------------------------------------------------------------------------------------------------

// ---- Sampling --------------------------------------------------------------------------------------------------

} // namespace gptoss_metal
