// Checks of the Metal kernels on this machine's device.
#pragma once

#include "gptoss.h"

namespace gptoss::metal {

// What gptoss_selftest_kernels does for the Metal backend; throws Error.
void selftest_kernels(gptoss_kernel_check_callback callback, void* user_data);

} // namespace gptoss::metal
