// Loops that do nothing but what a limit is made of: reading memory, and multiplying in registers (roofline.h).

namespace gptoss::cpu {
namespace {

// One register's worth. `GPTOSS_REGISTER` is an asm constraint for such a vector: an empty asm statement that may have
// changed a register keeps the compiler from computing ahead of the loop, and costs nothing.
#if defined(__AVX512F__)
constexpr size_t kRegisterBytes = 64;
constexpr size_t kNumChains = 16; // 32 registers
#define GPTOSS_REGISTER "+v"
#elif defined(__AVX2__)
constexpr size_t kRegisterBytes = 32;
constexpr size_t kNumChains = 12; // 16 registers
#define GPTOSS_REGISTER "+x"
#elif defined(__x86_64__)
constexpr size_t kRegisterBytes = 16;
constexpr size_t kNumChains = 12;
#define GPTOSS_REGISTER "+x"
#elif defined(__aarch64__)
constexpr size_t kRegisterBytes = 16;
constexpr size_t kNumChains = 24; // 32 registers; 4 units with a latency of 4 clocks need 16
#define GPTOSS_REGISTER "+w"
#else
constexpr size_t kRegisterBytes = 16;
constexpr size_t kNumChains = 8;
#define GPTOSS_REGISTER "+m"
#endif

typedef float FloatRegister __attribute__((vector_size(kRegisterBytes)));
typedef uint64_t WordRegister __attribute__((vector_size(kRegisterBytes)));

// As the matrix-vector kernels read: long streams, each line asked for some time before it is needed.
uint64_t read_memory(const void* address, size_t num_bytes) {
    constexpr size_t kUnroll = 512;
    constexpr size_t kAhead = 2048;
    const char* const bytes = static_cast<const char*>(address);
    WordRegister sums[kUnroll / kRegisterBytes < 8 ? kUnroll / kRegisterBytes : 8] = {};
    constexpr size_t kNumSums = sizeof(sums) / kRegisterBytes;
    for (size_t i = 0; i + kUnroll <= num_bytes; i += kUnroll) {
        for (size_t line = 0; line < kUnroll; line += 64) {
            __builtin_prefetch(bytes + i + kAhead + line);
        }
        for (size_t k = 0; k < kUnroll / kRegisterBytes; k++) {
            sums[k % kNumSums] += load<WordRegister>(bytes + i + k * kRegisterBytes);
        }
    }
    WordRegister sum = {};
    for (const WordRegister& each : sums) {
        sum += each;
    }
    uint64_t result = 0;
    for (size_t lane = 0; lane < kRegisterBytes / sizeof(uint64_t); lane++) {
        result += sum[lane];
    }
    return result;
}

// The chains hold anything from here on, for all that the compiler knows, and what they held was used.
template <class Register>
GPTOSS_INLINE void keep_apart(Register (&chains)[kNumChains]) {
#pragma GCC unroll 32
    for (Register& chain : chains) {
        asm volatile("" : GPTOSS_REGISTER(chain));
    }
}

// x = x * a + b, in as many independent chains as hide its latency.
void multiply_add_fp32(size_t num_rounds) {
    FloatRegister factor = FloatRegister{} + 0.5f;
    FloatRegister term = FloatRegister{} + 0.25f;
    asm volatile("" : GPTOSS_REGISTER(factor), GPTOSS_REGISTER(term));
    FloatRegister chains[kNumChains] = {};
    // Or the compiler would see that all chains are equal.
    keep_apart(chains);
    for (size_t round = 0; round < num_rounds; round++) {
#pragma GCC unroll 32
        for (FloatRegister& chain : chains) {
            chain = chain * factor + term;
        }
    }
    keep_apart(chains);
}

constexpr size_t kFp32OperationsPerRound = kNumChains * (kRegisterBytes / sizeof(float)) * 2;

// Sums of products of 8-bit numbers: with the instruction that the set has for it or, without one, with products of
// pairs that are added up in 16 bits, which is as much as a kernel can do whose codes are small.
#if defined(__AMX_INT8__)

// Six sums and two factors, all of which AmxRegisters has set to zero.
void multiply_add_int8(size_t num_rounds) {
    const AmxRegisters registers;
    for (size_t round = 0; round < num_rounds; round++) {
        _tile_dpbssd(0, 6, 7);
        _tile_dpbssd(1, 6, 7);
        _tile_dpbssd(2, 6, 7);
        _tile_dpbssd(3, 6, 7);
        _tile_dpbssd(4, 6, 7);
        _tile_dpbssd(5, 6, 7);
    }
}

constexpr size_t kInt8OperationsPerRound = 6 * kAmxRows * kOutputLanes * kAmxRowBytes * 2;

#elif defined(__AVX512VNNI__) || defined(__AVX2__) || defined(__ARM_FEATURE_DOTPROD) || \
    defined(__ARM_FEATURE_MATMUL_INT8)

#if defined(__AVX512F__)
typedef __m512i IntRegister;
#elif defined(__AVX2__)
typedef __m256i IntRegister;
#else
typedef int32x4_t IntRegister;
#endif

GPTOSS_INLINE IntRegister add_products(IntRegister sum, IntRegister codes, IntRegister values) {
#if defined(__AVX512VNNI__)
    return _mm512_dpbusd_epi32(sum, codes, values);
#elif defined(__AVX512F__)
    return _mm512_add_epi16(sum, _mm512_maddubs_epi16(codes, values));
#elif defined(__AVX2__)
    return _mm256_add_epi16(sum, _mm256_maddubs_epi16(codes, values));
#elif defined(__ARM_FEATURE_MATMUL_INT8)
    return vmmlaq_s32(sum, vreinterpretq_s8_s32(codes), vreinterpretq_s8_s32(values));
#else
    return vdotq_s32(sum, vreinterpretq_s8_s32(codes), vreinterpretq_s8_s32(values));
#endif
}

void multiply_add_int8(size_t num_rounds) {
    IntRegister codes = {};
    IntRegister values = {};
    IntRegister chains[kNumChains] = {};
    keep_apart(chains);
    for (size_t round = 0; round < num_rounds; round++) {
#pragma GCC unroll 32
        for (IntRegister& chain : chains) {
            // Or the product, which is the same every time, would be taken out of the loop.
            asm volatile("" : GPTOSS_REGISTER(codes), GPTOSS_REGISTER(values));
            chain = add_products(chain, codes, values);
        }
    }
    keep_apart(chains);
}

#if defined(__ARM_FEATURE_MATMUL_INT8)
constexpr size_t kInt8OperationsPerRound = kNumChains * 32 * 2; // 2 x 2 sums of 8 products
#else
constexpr size_t kInt8OperationsPerRound = kNumChains * sizeof(IntRegister) * 2;
#endif

#else

constexpr void (*multiply_add_int8)(size_t) = nullptr;
constexpr size_t kInt8OperationsPerRound = 0;

#endif

constexpr PeakLoops kPeakLoops = {
    read_memory, multiply_add_fp32, kFp32OperationsPerRound, multiply_add_int8, kInt8OperationsPerRound,
};

#undef GPTOSS_REGISTER

} // namespace
} // namespace gptoss::cpu
