// The processor time that Linux's control groups, and so containers, grant to this process.
#pragma once

#include <filesystem>

namespace gptoss::cpu {

// In processors, for instance 1.5; infinity where there is no limit. The lowest quota of the process's group and those
// around it, in version 2 (cpu.max) and 1 (cpu.cfs_quota_us). `root`: the folder that stands for / (tests).
double granted_processors(const std::filesystem::path& root);

} // namespace gptoss::cpu
