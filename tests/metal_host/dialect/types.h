// The scalar, vector and packed types of Metal, on clang's extended vectors: the same ones that Apple's compiler uses,
// so swizzles, element-wise arithmetic and the refusal of implicit conversions between vectors are the real rules.
//
// Known differences: comparisons of vectors give integer vectors, because OpenCL has no vectors of bool, so bool2,
// bool3 and bool4 are integer vectors here; a vector of half times a float scalar is refused, where Metal narrows the
// scalar.
#pragma once

#pragma OPENCL EXTENSION cl_khr_fp16 : enable

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long uint64_t;
typedef signed char int8_t;
typedef short int16_t;
typedef int int32_t;
typedef long int64_t;
typedef unsigned long size_t;
typedef long ptrdiff_t;
typedef unsigned long uintptr_t;
typedef long intptr_t;

// bfloat came with Metal 3.1: in 3.0 there is no such name.
#if __METAL_VERSION__ >= 310
typedef __bf16 bfloat;
#define METAL_DIALECT_FOR_BFLOAT(macro) macro(bfloat)
#else
#define METAL_DIALECT_FOR_BFLOAT(macro)
#endif

#define METAL_DIALECT_VECTORS(T)                                    \
    typedef T T##2 __attribute__((ext_vector_type(2)));             \
    typedef T T##3 __attribute__((ext_vector_type(3)));             \
    typedef T T##4 __attribute__((ext_vector_type(4)));             \
    typedef T##2 packed_##T##2 __attribute__((aligned(sizeof(T)))); \
    struct packed_##T##3 {                                          \
        T x, y, z;                                                  \
        packed_##T##3() = default;                                  \
        packed_##T##3(T##3);                                        \
        operator T##3() const;                                      \
    };                                                              \
    typedef T##4 packed_##T##4 __attribute__((aligned(sizeof(T))));

#define METAL_DIALECT_FOR_INTEGERS(macro) \
    macro(char) macro(uchar) macro(short) macro(ushort) macro(int) macro(uint) macro(long) macro(ulong)
#define METAL_DIALECT_FOR_FLOATS(macro) macro(half) macro(float) METAL_DIALECT_FOR_BFLOAT(macro)

METAL_DIALECT_FOR_INTEGERS(METAL_DIALECT_VECTORS)
METAL_DIALECT_FOR_FLOATS(METAL_DIALECT_VECTORS)

typedef int2 bool2;
typedef int3 bool3;
typedef int4 bool4;

namespace metal {

template <class T, int N>
using vec = T __attribute__((ext_vector_type(N)));

// Element type and length of a type: 1 for a scalar.
template <class T>
struct vector_traits {
    typedef T element;
    enum { length = 1, is_vector = 0 };
};
template <class T, int N>
struct vector_traits<T __attribute__((ext_vector_type(N)))> {
    typedef T element;
    enum { length = N, is_vector = 1 };
};

} // namespace metal
