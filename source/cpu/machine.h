// What machine this is: gptoss_device_info of the CPU backend.
#pragma once

#include "gptoss.h"

namespace gptoss::cpu {

gptoss_device_info describe_machine();

} // namespace gptoss::cpu
