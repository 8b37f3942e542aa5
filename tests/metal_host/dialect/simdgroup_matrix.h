// <metal_simdgroup_matrix>: 8x8 matrices spread over a simdgroup, of half, float and (since Metal 3.1) bfloat.
#pragma once

#include "types.h"

namespace metal {

template <class T, int Columns, int Rows>
struct simdgroup_matrix {
    static_assert(Columns == 8 && Rows == 8, "simdgroup matrices are 8 by 8");
    simdgroup_matrix() = default;
    explicit simdgroup_matrix(T diagonal);
    __private vec<T, 2>& thread_elements();
    T elements[2]; // two of the 64 in each of 32 threads
};

typedef simdgroup_matrix<half, 8, 8> simdgroup_half8x8;
typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;
#if __METAL_VERSION__ >= 310
typedef simdgroup_matrix<bfloat, 8, 8> simdgroup_bfloat8x8;
#endif

template <class T, int Columns, int Rows = Columns>
simdgroup_matrix<T, Columns, Rows> make_filled_simdgroup_matrix(T value);
template <class T, int Columns, int Rows = Columns>
simdgroup_matrix<T, Columns, Rows> make_diagonal_simdgroup_matrix(T value);

// elements_per_row: the stride of the matrix in memory; matrix_origin: (column, row) in it.
#define METAL_DIALECT_MATRIX_MEMORY(space)                                                                             \
    template <class T, int Columns, int Rows>                                                                          \
    void simdgroup_load(__private simdgroup_matrix<T, Columns, Rows>& d, const space T* source,                        \
                        ulong elements_per_row = Columns, ulong2 matrix_origin = 0, bool transpose_matrix = false);    \
    template <class T, int Columns, int Rows>                                                                          \
    void simdgroup_store(simdgroup_matrix<T, Columns, Rows> a, space T* destination, ulong elements_per_row = Columns, \
                         ulong2 matrix_origin = 0, bool transpose_matrix = false);
METAL_DIALECT_MATRIX_MEMORY(__global)
METAL_DIALECT_MATRIX_MEMORY(__local)

template <class T, class U, class V, int Columns, int Inner, int Rows>
void simdgroup_multiply(__private simdgroup_matrix<T, Columns, Rows>& d,
                        __private const simdgroup_matrix<U, Inner, Rows>& a,
                        __private const simdgroup_matrix<V, Columns, Inner>& b);

// Operands may be narrower than the sum: half times half into float is what the hardware is for.
template <class T, class U, class V, int Columns, int Inner, int Rows>
void simdgroup_multiply_accumulate(__private simdgroup_matrix<T, Columns, Rows>& d,
                                   __private const simdgroup_matrix<U, Inner, Rows>& a,
                                   __private const simdgroup_matrix<V, Columns, Inner>& b,
                                   __private const simdgroup_matrix<T, Columns, Rows>& c);

template <class T, int Columns, int Inner, int Rows>
simdgroup_matrix<T, Columns, Rows> operator*(__private const simdgroup_matrix<T, Inner, Rows>& a,
                                             __private const simdgroup_matrix<T, Columns, Inner>& b);

} // namespace metal
