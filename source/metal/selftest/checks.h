// The checks of the kernels: each runs one on the device, and compares what it wrote with float64 (*_twins.h).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "../device.h"
#include "../pipelines.h"
#include "trial.h"

namespace gptoss::metal {

struct KernelCheck {
    std::string kernel; // what it checks, by its host_name in metal/
    std::string shape;  // what it runs on, for people
    std::function<void(Trial&)> run;
};

// All of them; every kernel of metal/ has at least one.
std::vector<KernelCheck> kernel_checks();

// Of one family, for kernel_checks().
std::vector<KernelCheck> dense_checks();
std::vector<KernelCheck> rope_checks();
std::vector<KernelCheck> attention_checks();
std::vector<KernelCheck> expert_checks();
std::vector<KernelCheck> sampling_checks();

// Runs a check. Whatever fails in it is part of the verdict; throws only if the device has stopped answering.
Verdict run_check(const KernelCheck& check, Device& device, Pipelines& pipelines);

} // namespace gptoss::metal
