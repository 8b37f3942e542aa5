#include "instruction_set.h"

#include <cstdlib>
#include <string>

#if defined(GPTOSS_X86_64_KERNELS) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(GPTOSS_ARM64_KERNELS) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(GPTOSS_ARM64_KERNELS) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

#include "errors.h"

namespace gptoss::cpu {

#if defined(GPTOSS_X86_64_KERNELS)
namespace {

// Asks for AMX. Whether the processor multiplies tiles of bytes, and the system lets this process do so: Linux saves
// the 8 KB of their registers only for those that have asked. Threads, and processes that are forked, inherit the
// permission.
bool request_amx() {
#if defined(__linux__)
    constexpr uint32_t kTiles = 1u << 24; // of EDX in leaf 7
    constexpr uint32_t kTileProducts = 1u << 25;
    uint32_t eax = 0;
    uint32_t ebx = 0;
    uint32_t ecx = 0;
    uint32_t edx = 0;
    if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0 || (edx & kTiles) == 0 || (edx & kTileProducts) == 0) {
        return false;
    }
    constexpr long kRequestPermission = 0x1023; // ARCH_REQ_XCOMP_PERM of the kernel's asm/prctl.h
    constexpr long kTileRegisters = 18;         // in XCR0
    return ::syscall(SYS_arch_prctl, kRequestPermission, kTileRegisters) == 0;
#else
    return false;
#endif
}

} // namespace
#endif

#if defined(GPTOSS_ARM64_KERNELS)
namespace {

struct Arm64Features {
    bool dotprod = false;
    bool i8mm = false;
};

#if defined(__APPLE__)
bool has_feature(const char* name) {
    int32_t value = 0;
    size_t size = sizeof(value);
    return ::sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
}

// Systems before macOS 12 do not know the names, but every Mac with arm64 has the first.
Arm64Features arm64_features() {
    return {.dotprod = true, .i8mm = has_feature("hw.optional.arm.FEAT_I8MM")};
}
#elif defined(__linux__)
// As in the kernel's asm/hwcap.h, which older headers have without the second.
constexpr unsigned long kHwcapDotprod = 1ul << 20; // of AT_HWCAP
constexpr unsigned long kHwcap2I8mm = 1ul << 13;   // of AT_HWCAP2

Arm64Features arm64_features() {
    return {.dotprod = (::getauxval(AT_HWCAP) & kHwcapDotprod) != 0,
            .i8mm = (::getauxval(AT_HWCAP2) & kHwcap2I8mm) != 0};
}
#else
Arm64Features arm64_features() {
    return {};
}
#endif

} // namespace
#endif

#if defined(GPTOSS_X86_64_KERNELS) || defined(GPTOSS_ARM64_KERNELS)
namespace {

// What instructions add to the set `base`: where their own table is null, its kernels.
Kernels add_to(const Kernels& base, Kernels kernels) {
    const auto inherit = [&](auto... entries) {
        ((kernels.*entries = kernels.*entries != nullptr ? kernels.*entries : base.*entries), ...);
    };
    inherit(&Kernels::rms_norm, &Kernels::dense_row, &Kernels::to_block_order, &Kernels::pack_inputs, &Kernels::linear,
            &Kernels::expert_gate_up, &Kernels::expert_down, &Kernels::add_weighted_rows, &Kernels::rotate_and_cache,
            &Kernels::attention, &Kernels::attention_range, &Kernels::attention_merge, &Kernels::int8_gate_up,
            &Kernels::int8_down);
    return kernels;
}

} // namespace
#endif

std::vector<const Kernels*> available_kernels() {
    std::vector<const Kernels*> available = {&kKernelsBaseline};
#if defined(GPTOSS_X86_64_KERNELS)
    __builtin_cpu_init();
    // F16C, which the third level includes, has no name in every compiler's list; every AVX2 processor has it.
    const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
                    __builtin_cpu_supports("bmi2");
    const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                    __builtin_cpu_supports("avx512vl");
    if (v3) {
        available.push_back(&kKernelsX86_64V3);
    }
    if (v4) {
        available.push_back(&kKernelsX86_64V4);
    }
    const bool vnni = v4 && __builtin_cpu_supports("avx512vnni");
    if (vnni) {
        static const Kernels with_vnni = add_to(kKernelsX86_64V4, kKernelsX86_64V4Vnni);
        available.push_back(&with_vnni);
        if (request_amx()) {
            static const Kernels with_amx = add_to(with_vnni, kKernelsX86_64V4Amx);
            available.push_back(&with_amx);
        }
    }
#endif
#if defined(GPTOSS_ARM64_KERNELS)
    const Arm64Features features = arm64_features();
    available.push_back(&kKernelsArm64Neon);
    if (features.dotprod) {
        static const Kernels with_dotprod = add_to(kKernelsArm64Neon, kKernelsArm64Dotprod);
        available.push_back(&with_dotprod);
        if (features.i8mm) {
            static const Kernels with_i8mm = add_to(with_dotprod, kKernelsArm64I8mm);
            available.push_back(&with_i8mm);
        }
    }
#endif
    return available;
}

const Kernels& choose_kernels() {
    const std::vector<const Kernels*> available = available_kernels();
    const char* const wanted = std::getenv("GPTOSS_CPU_KERNELS");
    if (wanted == nullptr || *wanted == '\0') {
        return *available.back();
    }
    std::string names;
    for (const Kernels* const kernels : available) {
        if (std::string(kernels->name) == wanted) {
            return *kernels;
        }
        names += (names.empty() ? "" : ", ") + std::string(kernels->name);
    }
    fail(gptoss_status_unsupported_system, "GPTOSS_CPU_KERNELS is '", wanted,
         "', which this build or processor does not have: unset it, or set it to one of ", names, ".");
}

} // namespace gptoss::cpu
