// Checks of a backend's kernels on this machine's device, for `gptoss selftest`.
#pragma once

#include "gptoss.h"

namespace gptoss {

// What gptoss_selftest_kernels does; throws Error.
void selftest_kernels(gptoss_backend backend, gptoss_kernel_check_callback callback, void* user_data);

} // namespace gptoss
