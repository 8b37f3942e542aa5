// Which kernels this processor runs.
#pragma once

#include <vector>

#include "kernels.h"

namespace gptoss::cpu {

// The kernels in this build that this processor can run, slowest first; the first one is the baseline.
std::vector<const Kernels*> available_kernels();

// The fastest of them, or the one that the environment variable GPTOSS_CPU_KERNELS names ("baseline", "x86-64-v3",
// "x86-64-v4", "x86-64-v4-vnni", "x86-64-v4-amx"), which is how tests compare them. Fails with unsupported_system if
// that one is not available.
const Kernels& choose_kernels();

} // namespace gptoss::cpu
