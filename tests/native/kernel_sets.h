// Instruction sets for tests of one kernel.
#pragma once

#include <algorithm>
#include <vector>

#include "cpu/instruction_set.h"

// Those that this processor runs, one for each form that they have of this kernel: a set that adds instructions to
// another one shares what these do not change.
template <class Function>
std::vector<const gptoss::cpu::Kernels*> sets_with_own(Function gptoss::cpu::Kernels::* kernel) {
    std::vector<const gptoss::cpu::Kernels*> sets;
    for (const gptoss::cpu::Kernels* const set : gptoss::cpu::available_kernels()) {
        if (std::ranges::none_of(sets, [&](const auto* other) { return other->*kernel == set->*kernel; })) {
            sets.push_back(set);
        }
    }
    return sets;
}
