// Sixteen lanes of anything, for all kernels, and the processor's registers, for their inner loops.

namespace gptoss::cpu {
namespace {

constexpr size_t kLanes = 16;
constexpr size_t kMxfp4Block = 32;
constexpr size_t kCodeBlock = 32; // 8-bit codes that share a scale
constexpr size_t kHeadSize = 64;

// Sixteen lanes, whatever the hardware's width: the compiler splits them.
typedef float Floats __attribute__((vector_size(64)));
typedef float HalfOfFloats __attribute__((vector_size(32)));
typedef float QuarterOfFloats __attribute__((vector_size(16)));
typedef int32_t Ints __attribute__((vector_size(64)));
typedef uint32_t Words __attribute__((vector_size(64)));
typedef uint16_t Shorts __attribute__((vector_size(32)));
typedef int16_t SignedShorts __attribute__((vector_size(32)));
typedef uint8_t Bytes __attribute__((vector_size(16)));
typedef int8_t SignedBytes __attribute__((vector_size(16)));

// A register. GCC 12 takes some operations on what is wider apart lane by lane (comparisons, conversions, shuffles),
// and keeps an array of it in memory, so that loops which run often are written in registers.
#if defined(__AVX512F__)
constexpr size_t kRegisterLanes = 16;
#elif defined(__AVX2__)
constexpr size_t kRegisterLanes = 8;
#else
constexpr size_t kRegisterLanes = 4;
#endif
constexpr size_t kRegisters = kLanes / kRegisterLanes; // of sixteen lanes
typedef float RegisterFloats __attribute__((vector_size(4 * kRegisterLanes)));
typedef int32_t RegisterInts __attribute__((vector_size(4 * kRegisterLanes)));
typedef uint32_t RegisterWords __attribute__((vector_size(4 * kRegisterLanes)));
typedef uint16_t RegisterShorts __attribute__((vector_size(2 * kRegisterLanes)));

#if defined(__AVX512F__)
// GCC 12 calls the intrinsics without a mask uses of an uninitialised value. With all lanes the code is the same.
constexpr __mmask16 kAllLanes = 0xFFFF;
#endif

template <class Vector, class Element>
GPTOSS_INLINE Vector load(const Element* address) {
    Vector result;
    memcpy(&result, address, sizeof(result));
    return result;
}

template <class Element, class Vector>
GPTOSS_INLINE void store(Element* address, Vector value) {
    memcpy(address, &value, sizeof(value));
}

// By way of memory, which both compilers see through.
GPTOSS_INLINE Floats join(const RegisterFloats (&registers)[kRegisters]) {
    Floats result;
    memcpy(&result, registers, sizeof(result));
    return result;
}

GPTOSS_INLINE Floats broadcast(float value) {
    return value - Floats{};
}

GPTOSS_INLINE RegisterFloats broadcast_register(float value) {
    return value - RegisterFloats{};
}

// Of sixteen lanes, the halves of what is left added to each other until it is one.
GPTOSS_INLINE float sum_of_lanes(const RegisterFloats (&registers)[kRegisters]) {
    RegisterFloats sums[kRegisters];
    memcpy(sums, registers, sizeof(sums));
    for (size_t count = kRegisters / 2; count > 0; count /= 2) {
        for (size_t i = 0; i < count; i++) {
            sums[i] += sums[i + count];
        }
    }
#if defined(__AVX512F__)
    const HalfOfFloats half = __builtin_shufflevector(sums[0], sums[0], 0, 1, 2, 3, 4, 5, 6, 7) +
                              __builtin_shufflevector(sums[0], sums[0], 8, 9, 10, 11, 12, 13, 14, 15);
#elif defined(__AVX2__)
    const HalfOfFloats half = sums[0];
#endif
#if defined(__AVX2__)
    const QuarterOfFloats quarter =
        __builtin_shufflevector(half, half, 0, 1, 2, 3) + __builtin_shufflevector(half, half, 4, 5, 6, 7);
#else
    const QuarterOfFloats quarter = sums[0];
#endif
    return (quarter[0] + quarter[2]) + (quarter[1] + quarter[3]);
}

GPTOSS_INLINE float sum_of_lanes(Floats values) {
    RegisterFloats registers[kRegisters];
    memcpy(registers, &values, sizeof(registers));
    return sum_of_lanes(registers);
}

GPTOSS_INLINE int32_t sum_of_lanes(Ints values) {
    int32_t sum = 0;
    for (size_t lane = 0; lane < kLanes; lane++) {
        sum += values[lane];
    }
    return sum;
}

GPTOSS_INLINE float bf16_value(uint16_t bits) {
    const uint32_t word = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &word, sizeof(value));
    return value;
}

GPTOSS_INLINE RegisterFloats load_bf16_register(const uint16_t* address) {
#if defined(__AVX512F__)
    // GCC 12 makes two halves of the conversion.
    const RegisterWords words =
        (RegisterWords)_mm512_maskz_cvtepu16_epi32(kAllLanes, _mm256_loadu_si256((const __m256i*)address));
#elif defined(__AVX2__)
    const RegisterWords words = (RegisterWords)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)address));
#else
    const RegisterWords words = __builtin_convertvector(load<RegisterShorts>(address), RegisterWords);
#endif
    return (RegisterFloats)(words << 16);
}

GPTOSS_INLINE Floats load_bf16(const uint16_t* address) {
    RegisterFloats registers[kRegisters];
    for (size_t r = 0; r < kRegisters; r++) {
        registers[r] = load_bf16_register(address + r * kRegisterLanes);
    }
    return join(registers);
}

// Finite values only: the cache saturates when it is written.
GPTOSS_INLINE RegisterFloats load_half_register(const uint16_t* address) {
#if defined(__AVX512F__)
    return (RegisterFloats)_mm512_maskz_cvtph_ps(kAllLanes, _mm256_loadu_si256((const __m256i*)address));
#elif defined(__AVX2__)
    return (RegisterFloats)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)address));
#elif defined(GPTOSS_NEON)
    return (RegisterFloats)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(address)));
#else
    const RegisterWords bits = __builtin_convertvector(load<RegisterShorts>(address), RegisterWords);
    // Multiplying by 2^112 moves the exponent's bias and normalises subnormals, exactly.
    const RegisterWords scale = RegisterWords{} + 0x77800000u;
    const RegisterFloats magnitude = (RegisterFloats)((bits & 0x7FFFu) << 13) * (RegisterFloats)scale;
    return (RegisterFloats)((RegisterWords)magnitude | ((bits & 0x8000u) << 16));
#endif
}

GPTOSS_INLINE Floats load_half(const uint16_t* address) {
    RegisterFloats registers[kRegisters];
    for (size_t r = 0; r < kRegisters; r++) {
        registers[r] = load_half_register(address + r * kRegisterLanes);
    }
    return join(registers);
}

// To nearest even; finite values beyond the range saturate at 65504, and NaN stays NaN (number_formats.h).
GPTOSS_INLINE void store_half(uint16_t* address, Floats values) {
    const Floats highest = broadcast(65504.0f);
    values = values > highest ? highest : values;
    values = values < -highest ? -highest : values;
#if defined(__AVX512F__)
    const __m256i halves = _mm512_maskz_cvtps_ph(kAllLanes, (__m512)values, _MM_FROUND_TO_NEAREST_INT);
    _mm256_storeu_si256((__m256i*)address, halves);
#elif defined(__F16C__)
    __m256 halves[2];
    memcpy(halves, &values, sizeof(halves));
    _mm_storeu_si128((__m128i*)address, _mm256_cvtps_ph(halves[0], _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i*)(address + 8), _mm256_cvtps_ph(halves[1], _MM_FROUND_TO_NEAREST_INT));
#else
    const Words bits = (Words)values & 0x7FFFFFFFu;
    // Below 2^-14 a half is a multiple of 2^-24, which is the last bit of what 0.5 is added to.
    const Words subnormal = (Words)((Floats)bits + 0.5f) - 0x3F000000u;
    const Words normal = (bits + 0xFFFu + ((bits >> 13) & 1u) - 0x38000000u) >> 13;
    Words halves = bits < 0x38800000u ? subnormal : normal;
    halves = bits > 0x7F800000u ? Words{} + 0x7E00u : halves;
    halves |= ((Words)values & 0x80000000u) >> 16;
    store(address, __builtin_convertvector(halves, Shorts));
#endif
}

// A finite one.
GPTOSS_INLINE float half_value(uint16_t bits) {
#if defined(__F16C__)
    return _cvtsh_ss(bits);
#elif defined(GPTOSS_NEON)
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(bits))), 0);
#else
    // As load_half.
    const uint32_t scale_bits = 0x77800000u;
    uint32_t word = (bits & 0x7FFFu) << 13;
    float magnitude;
    float scale;
    memcpy(&magnitude, &word, sizeof(magnitude));
    memcpy(&scale, &scale_bits, sizeof(scale));
    magnitude *= scale;
    return (bits & 0x8000u) != 0 ? -magnitude : magnitude;
#endif
}

GPTOSS_INLINE Floats load_codes(const int8_t* address) {
#if defined(__AVX512F__)
    const __m512i integers = _mm512_maskz_cvtepi8_epi32(kAllLanes, _mm_loadu_si128((const __m128i*)address));
    return (Floats)_mm512_maskz_cvtepi32_ps(kAllLanes, integers);
#elif defined(__AVX2__)
    const __m256i low = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)address));
    const __m256i high = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)(address + 8)));
    return join({(RegisterFloats)_mm256_cvtepi32_ps(low), (RegisterFloats)_mm256_cvtepi32_ps(high)});
#else
    return __builtin_convertvector(__builtin_convertvector(load<SignedBytes>(address), Ints), Floats);
#endif
}

// e^x to 2 ulp: 0 below -87, and e^88 above 88 (Cody and Waite's reduction, degree 6).
GPTOSS_INLINE RegisterFloats exponential(RegisterFloats x) {
    const RegisterInts underflow = x < broadcast_register(-87.0f);
    x = underflow ? broadcast_register(-87.0f) : x;
    x = x > broadcast_register(88.0f) ? broadcast_register(88.0f) : x;
    const RegisterFloats shifted = x * 1.44269504f + 12582912.0f; // 1.5 * 2^23: the integer part lands in the low bits
    const RegisterFloats n = shifted - 12582912.0f;
    const RegisterFloats r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    RegisterFloats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const RegisterInts power = (__builtin_convertvector(n, RegisterInts) + 127) << 23;
    return underflow ? RegisterFloats{} : p * (RegisterFloats)power;
}

} // namespace
} // namespace gptoss::cpu
