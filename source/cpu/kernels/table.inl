// The kernels of kernels.h, written with vector extensions that GCC and Clang lower to whatever the including file is
// compiled for. Each including file defines GPTOSS_KERNELS, the table's symbol, and GPTOSS_KERNELS_NAME; those for
// arm64 define GPTOSS_NEON as well, because every arm64 compiler has NEON, and the baseline is to do without its
// intrinsics.
//
// Instructions that are of use to integer products alone make a set that adds to another one: its file defines
// GPTOSS_INTEGER_KERNELS_ONLY, and what its table leaves null is the other set's (instruction_set.cpp).
//
// Everything in these files has internal linkage and nothing of the standard library is called: an inline function
// that was compiled for AVX-512 here and shared with the rest of the program would crash other processors.

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif
#if defined(GPTOSS_NEON)
#include <arm_neon.h>
#endif

#include "cpu/kernels.h"

// Instructions for products of matrices add nothing to fast precision's bytes, whose sums are of 32 inputs.
#if !defined(GPTOSS_INTEGER_KERNELS_ONLY) || !(defined(__AMX_INT8__) || defined(__ARM_FEATURE_MATMUL_INT8))
#define GPTOSS_INT8_KERNELS
#endif

// Left to the compiler under sanitizers: with their checks in it, a kernel that is one function takes minutes to
// compile.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define GPTOSS_SANITIZED
#elif defined(__has_feature) // Clang's way to say so
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define GPTOSS_SANITIZED
#endif
#endif
#if defined(GPTOSS_SANITIZED)
#define GPTOSS_INLINE_MEMBER inline
#define GPTOSS_INLINE_LAMBDA
#else
#define GPTOSS_INLINE_MEMBER inline __attribute__((always_inline))
#define GPTOSS_INLINE_LAMBDA __attribute__((always_inline))
#endif
#define GPTOSS_INLINE static GPTOSS_INLINE_MEMBER

// Each builds on those before it.
// clang-format off
#include "vector.inl"
#if !defined(GPTOSS_INTEGER_KERNELS_ONLY)
#include "dot_products.inl"
#include "packed_products.inl"
#include "dense.inl"
#include "experts.inl"
#endif
#include "integer_lanes.inl"
#include "mxfp4.inl"
#include "int8_lanes.inl"
#include "integer_dense_weights.inl"
#include "quantize.inl"
#include "integer_rows.inl"
#include "integer_few_rows.inl"
#include "mxfp4_bytes_avx2.inl"
#include "mxfp4_bytes_vnni.inl"
#include "mxfp4_bytes_arm64.inl"
#include "mxfp4_bytes.inl"
#include "integer_many_rows.inl"
#include "mxfp4_byte_tiles.inl"
#include "integer_tiles_amx.inl"
#if defined(GPTOSS_INT8_KERNELS)
#include "mxfp4_int8.inl"
#endif
#include "integer_products.inl"
#include "integer_linear.inl"
#include "integer_experts.inl"
#if defined(GPTOSS_INT8_KERNELS)
#include "int8_experts.inl"
#endif
#if !defined(GPTOSS_INTEGER_KERNELS_ONLY)
#include "attention_tiles.inl"
#include "attention.inl"
#include "key_value_cache.inl"
#include "elementwise.inl"
#endif
#include "peaks.inl"
// clang-format on

namespace gptoss::cpu {

extern const Kernels GPTOSS_KERNELS;
const Kernels GPTOSS_KERNELS = {
    .name = GPTOSS_KERNELS_NAME,
    .peaks = kPeakLoops,
#if !defined(GPTOSS_INTEGER_KERNELS_ONLY)
    .rms_norm = rms_norm,
    .dense_row = dense_row,
    .to_block_order = to_block_order,
    .pack_inputs = pack_inputs,
    .linear = linear,
    .expert_gate_up = expert_gate_up,
    .expert_down = expert_down,
    .add_weighted_rows = add_weighted_rows,
    .rotate_and_cache = rotate_and_cache,
    .attention = attention,
    .attention_range = attention_range,
    .attention_merge = attention_merge,
#endif
    .quantize = quantize,
    .integer_linear = integer_linear,
    .integer_gate_up = integer_gate_up,
    .integer_down = integer_down,
    .quantize_int8 = quantize_int8,
#if defined(GPTOSS_INT8_KERNELS)
    .int8_gate_up = int8_gate_up,
    .int8_down = int8_down,
#endif
};

} // namespace gptoss::cpu
