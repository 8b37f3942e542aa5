// <metal_simdgroup> and <metal_quadgroup>: for scalars and vectors of at most 32 bits a component. Neither bool nor
// 64-bit integers are among them, so a kernel that wants to shuffle those has to convert, as it has to on a Mac.
#pragma once

#include "types.h"

namespace metal {

class simd_vote {
public:
    typedef ulong vote_t;
    explicit constexpr simd_vote(vote_t votes = 0) : votes_(votes) {}
    explicit constexpr operator vote_t() const { return votes_; }
    bool all() const;
    bool any() const;

private:
    vote_t votes_;
};

simd_vote simd_active_threads_mask();
bool simd_all(bool);
bool simd_any(bool);
simd_vote simd_ballot(bool);
bool simd_is_first();
bool quad_all(bool);
bool quad_any(bool);
bool quad_is_first();

#define METAL_DIALECT_GROUP_DATA(group, T)                 \
    T group##_broadcast(T, ushort);                        \
    T group##_broadcast_first(T);                          \
    T group##_shuffle(T, ushort);                          \
    T group##_shuffle_xor(T, ushort);                      \
    T group##_shuffle_up(T, ushort);                       \
    T group##_shuffle_down(T, ushort);                     \
    T group##_shuffle_rotate_up(T, ushort);                \
    T group##_shuffle_rotate_down(T, ushort);              \
    T group##_shuffle_and_fill_up(T, T, ushort);           \
    T group##_shuffle_and_fill_down(T, T, ushort);         \
    T group##_shuffle_and_fill_up(T, T, ushort, ushort);   \
    T group##_shuffle_and_fill_down(T, T, ushort, ushort); \
    T group##_sum(T);                                      \
    T group##_product(T);                                  \
    T group##_min(T);                                      \
    T group##_max(T);                                      \
    T group##_prefix_inclusive_sum(T);                     \
    T group##_prefix_exclusive_sum(T);                     \
    T group##_prefix_inclusive_product(T);                 \
    T group##_prefix_exclusive_product(T);
#define METAL_DIALECT_GROUP_BITS(group, T) \
    T group##_and(T);                      \
    T group##_or(T);                       \
    T group##_xor(T);

#define METAL_DIALECT_GROUPS_DATA(T) METAL_DIALECT_GROUP_DATA(simd, T) METAL_DIALECT_GROUP_DATA(quad, T)
#define METAL_DIALECT_GROUPS_BITS(T) METAL_DIALECT_GROUP_BITS(simd, T) METAL_DIALECT_GROUP_BITS(quad, T)
#define METAL_DIALECT_GROUPS(macro, T) macro(T) macro(T##2) macro(T##3) macro(T##4)
#define METAL_DIALECT_SMALL_INTEGER(T)                 \
    METAL_DIALECT_GROUPS(METAL_DIALECT_GROUPS_DATA, T) \
    METAL_DIALECT_GROUPS(METAL_DIALECT_GROUPS_BITS, T)
#define METAL_DIALECT_FLOAT_GROUPS(T) METAL_DIALECT_GROUPS(METAL_DIALECT_GROUPS_DATA, T)

// Deleted, so that a bool is refused instead of being promoted to int, and a 64-bit integer by its own name.
#define METAL_DIALECT_REFUSED(T)         \
    METAL_DIALECT_REFUSED_GROUP(simd, T) \
    METAL_DIALECT_REFUSED_GROUP(quad, T)
#define METAL_DIALECT_REFUSED_GROUP(group, T)   \
    T group##_broadcast(T, ushort) = delete;    \
    T group##_broadcast_first(T) = delete;      \
    T group##_shuffle(T, ushort) = delete;      \
    T group##_shuffle_xor(T, ushort) = delete;  \
    T group##_shuffle_up(T, ushort) = delete;   \
    T group##_shuffle_down(T, ushort) = delete; \
    T group##_sum(T) = delete;                  \
    T group##_min(T) = delete;                  \
    T group##_max(T) = delete;                  \
    T group##_and(T) = delete;                  \
    T group##_or(T) = delete;                   \
    T group##_xor(T) = delete;                  \
    T group##_prefix_inclusive_sum(T) = delete; \
    T group##_prefix_exclusive_sum(T) = delete;
METAL_DIALECT_REFUSED(bool)
METAL_DIALECT_REFUSED(long)
METAL_DIALECT_REFUSED(ulong)

METAL_DIALECT_SMALL_INTEGER(char)
METAL_DIALECT_SMALL_INTEGER(uchar)
METAL_DIALECT_SMALL_INTEGER(short)
METAL_DIALECT_SMALL_INTEGER(ushort)
METAL_DIALECT_SMALL_INTEGER(int)
METAL_DIALECT_SMALL_INTEGER(uint)
METAL_DIALECT_FOR_FLOATS(METAL_DIALECT_FLOAT_GROUPS)

} // namespace metal
