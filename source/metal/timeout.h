// How long the GPU may take to answer.
#pragma once

#include <chrono>

namespace gptoss::metal {

constexpr const char* kTimeoutVariable = "GPTOSS_METAL_TIMEOUT";

// 60 s, or what the environment variable says. Throws invalid_argument if that is no number of seconds.
std::chrono::duration<double> read_timeout();

} // namespace gptoss::metal
