#include "instruction_set.h"

#include <cstdlib>
#include <string>

#include "errors.h"

namespace gptoss::cpu {

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
    if (v4 && __builtin_cpu_supports("avx512vnni")) {
        available.push_back(&kKernelsX86_64V4Vnni);
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
