// How many threads the CPU backend uses.
#pragma once

#include <cstdint>
#include <filesystem>

namespace gptoss::cpu {

inline constexpr uint32_t kMaxThreads = 1024;

// Processors that this process may run on, which can be fewer than the machine has (taskset, a container's cpuset).
uint32_t num_usable_processors();

// One for each of them, but no more than it takes to use up the processor time that control groups grant. `root`: the
// folder that stands for / (tests).
uint32_t default_num_threads(const std::filesystem::path& root = "/");

// `requested`; if that is 0, what the environment variable GPTOSS_THREADS says; if that is not set, the default. Fails
// with invalid_argument if it is not from 1 to kMaxThreads.
uint32_t choose_num_threads(uint32_t requested);

} // namespace gptoss::cpu
