// What this library was built from and with.
#pragma once

#include "gptoss.h"

namespace gptoss {

gptoss_build_info build_info();

} // namespace gptoss
