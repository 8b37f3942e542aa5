#include "checks.h"

#include "../../errors.h"

namespace gptoss::metal {

std::vector<KernelCheck> kernel_checks() {
    std::vector<KernelCheck> checks;
    return checks;
}

Verdict run_check(const KernelCheck& check, Device& device, Pipelines& pipelines) {
    Trial trial(device, pipelines, check.kernel);
    try {
        check.run(trial);
    } catch (const Error& error) {
        trial.fail(error.what());
    }
    return trial.verdict();
}

} // namespace gptoss::metal
