// 8x8 matrices that the 32 lanes of a simdgroup hold together. MSL, 2.4 "SIMD-Group Matrix Data Types" and 6.7
// "SIMD-Group Matrix Functions".
//
// Each lane holds two neighbouring elements of one row. Lane by lane, rows downwards and columns to the right:
//
//     lane  0 (0,0)(0,1)   lane  1 (0,2)(0,3)   lane  8 (0,4)(0,5)   lane  9 (0,6)(0,7)
//     lane  2 (1,0)(1,1)   lane  3 (1,2)(1,3)   lane 10 (1,4)(1,5)   lane 11 (1,6)(1,7)
//     ...
//     lane 16 (4,0)(4,1)   lane 17 (4,2)(4,3)   lane 24 (4,4)(4,5)   lane 25 (4,6)(4,7)
//
// Apple does not document this layout; kernels of several projects rely on it through thread_elements().
#pragma once

#include "as_type.h"
#include "simdgroup.h"

namespace metal {
namespace detail {

template <typename T>
concept matrix_element = one_of<T, half, bfloat, float>;

struct matrix_position {
    uint row;
    uint column; // of the first of two neighbours
};

METAL_HOST_UNTRACED constexpr matrix_position position_in_matrix(uint lane) {
    const uint quarter = lane / 8; // 0: upper left, 1: upper right, 2: lower left, 3: lower right
    return {(quarter / 2) * 4 + lane % 8 / 2, (quarter % 2) * 4 + lane % 2 * 2};
}

} // namespace detail

template <typename T, int Columns, int Rows = Columns>
struct simdgroup_matrix {
    static_assert(Columns == 8 && Rows == 8, "Metal has simdgroup matrices of 8x8 elements only");
    static_assert(detail::matrix_element<T>, "Metal has simdgroup matrices of half, bfloat and float only");
    using storage_type = vec<T, 2>;

    simdgroup_matrix() = default;

    // `diagonal` on the diagonal, 0 elsewhere.
    explicit simdgroup_matrix(T diagonal) {
        const detail::matrix_position at = detail::position_in_matrix(detail::current_lane());
        elements_ = storage_type(at.row == at.column ? diagonal : T(0), at.row == at.column + 1 ? diagonal : T(0));
    }

    // What this lane holds.
    storage_type& thread_elements() { return elements_; }
    const storage_type& thread_elements() const { return elements_; }

private:
    storage_type elements_;
};

typedef simdgroup_matrix<half, 8, 8> simdgroup_half8x8;
typedef simdgroup_matrix<bfloat, 8, 8> simdgroup_bfloat8x8;
typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;

template <typename T, int Columns, int Rows = Columns>
inline simdgroup_matrix<T, Columns, Rows> make_filled_simdgroup_matrix(T value) {
    simdgroup_matrix<T, Columns, Rows> result;
    result.thread_elements() = vec<T, 2>(value);
    return result;
}

namespace detail {

// Where this lane's two elements are in memory, in elements; the second is at first + step.
struct matrix_address {
    ulong first;
    ulong step;
};

METAL_HOST_UNTRACED inline matrix_address address_in_memory(ulong elements_per_row, ulong2 origin, bool transpose) {
    const matrix_position at = position_in_matrix(current_lane());
    if (transpose) {
        return {(origin.y + at.column) * elements_per_row + origin.x + at.row, elements_per_row};
    }
    return {(origin.y + at.row) * elements_per_row + origin.x + at.column, 1};
}

// Two neighbouring elements in memory, read and written at once wherever they are: one access of each lane.
template <typename T>
struct neighbours {
    using bits = typename choice<sizeof(T) == 2, uint, ulong>::type;
    typedef bits in_memory __attribute__((aligned(sizeof(T)), may_alias));
};

} // namespace detail

// Element (row, column) from source[(origin.y + row) * elements_per_row + origin.x + column]; with `transpose`, row and
// column of the source are exchanged.
template <typename T>
inline void simdgroup_load(simdgroup_matrix<T, 8, 8>& matrix,
                           const T* source,
                           ulong elements_per_row = 8,
                           ulong2 origin = ulong2(0),
                           bool transpose = false) {
    const detail::matrix_address address = detail::address_in_memory(elements_per_row, origin, transpose);
    if (transpose) {
        matrix.thread_elements() = vec<T, 2>(source[address.first], source[address.first + address.step]);
    } else {
        using Pair = detail::neighbours<T>;
        matrix.thread_elements() = as_type<vec<T, 2>>(static_cast<typename Pair::bits>(
            *reinterpret_cast<const typename Pair::in_memory*>(source + address.first)));
    }
}

template <typename T>
inline void simdgroup_store(const simdgroup_matrix<T, 8, 8>& matrix,
                            T* destination,
                            ulong elements_per_row = 8,
                            ulong2 origin = ulong2(0),
                            bool transpose = false) {
    const detail::matrix_address address = detail::address_in_memory(elements_per_row, origin, transpose);
    const vec<T, 2> held = matrix.thread_elements();
    if (transpose) {
        destination[address.first] = held.x;
        destination[address.first + address.step] = held.y;
    } else {
        using Pair = detail::neighbours<T>;
        *reinterpret_cast<typename Pair::in_memory*>(destination + address.first) = as_type<typename Pair::bits>(held);
    }
}

namespace detail {

// What one lane contributes to a * b + c.
struct matrix_operands {
    float a[2];
    float b[2];
    float c[2];
};
struct float_matrix {
    float elements[8][8]; // [rows, columns]
};

// All 64 elements at once, by one lane: in fp32, products added to c in the order of their index, each rounded once.
METAL_HOST_UNTRACED inline float_matrix multiply_matrices(const metal_host::lanes<matrix_operands>& lanes) {
    float a[8][8];
    float b[8][8];
    float_matrix result;
    for (uint lane = 0; lane < metal_host::simdgroup_width; lane++) {
        const matrix_position at = position_in_matrix(lane);
        const matrix_operands operands = lanes[lane];
        for (uint i = 0; i < 2; i++) {
            a[at.row][at.column + i] = operands.a[i];
            b[at.row][at.column + i] = operands.b[i];
            result.elements[at.row][at.column + i] = operands.c[i];
        }
    }
    for (uint row = 0; row < 8; row++) {
        for (uint k = 0; k < 8; k++) {
            for (uint column = 0; column < 8; column++) {
                result.elements[row][column] = __builtin_fmaf(a[row][k], b[k][column], result.elements[row][column]);
            }
        }
    }
    return result;
}

template <typename D, typename A, typename B>
inline vec<D, 2> multiply_accumulate(vec<A, 2> a, vec<B, 2> b, float2 c, const metal_host::site& where) {
    const matrix_operands operands = {{float(a.x), float(a.y)}, {float(b.x), float(b.y)}, {c.x, c.y}};
    const float_matrix product =
        metal_host::combine(operands, where, [&](const metal_host::lanes<matrix_operands>& lanes) METAL_HOST_UNTRACED {
            if (lanes.live_mask() != ~0u) {
                metal_host::fail_at(where, "needs all 32 lanes of the simdgroup; %u are there",
                                    static_cast<uint>(__builtin_popcount(lanes.live_mask())));
            }
            return multiply_matrices(lanes);
        });
    const matrix_position at = position_in_matrix(current_lane());
    return vec<D, 2>(static_cast<D>(product.elements[at.row][at.column]),
                     static_cast<D>(product.elements[at.row][at.column + 1]));
}

} // namespace detail

// d = a * b + c. Operands may be of other types than the accumulator: half times half into float.
template <typename D, typename A, typename B, typename C>
inline void simdgroup_multiply_accumulate(simdgroup_matrix<D, 8, 8>& d,
                                          const simdgroup_matrix<A, 8, 8>& a,
                                          const simdgroup_matrix<B, 8, 8>& b,
                                          const simdgroup_matrix<C, 8, 8>& c,
                                          metal_host::caller caller = metal_host::caller::here()) {
    d.thread_elements() = detail::multiply_accumulate<D>(
        a.thread_elements(), b.thread_elements(), float2(float(c.thread_elements().x), float(c.thread_elements().y)),
        caller.at("simdgroup_multiply_accumulate"));
}

// d = a * b.
template <typename D, typename A, typename B>
inline void simdgroup_multiply(simdgroup_matrix<D, 8, 8>& d,
                               const simdgroup_matrix<A, 8, 8>& a,
                               const simdgroup_matrix<B, 8, 8>& b,
                               metal_host::caller caller = metal_host::caller::here()) {
    d.thread_elements() = detail::multiply_accumulate<D>(a.thread_elements(), b.thread_elements(), float2(0.0f),
                                                         caller.at("simdgroup_multiply"));
}

} // namespace metal
