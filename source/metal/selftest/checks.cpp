#include "checks.h"

#include "../../errors.h"

namespace gptoss::metal {

std::vector<KernelCheck> kernel_checks() {
    std::vector<KernelCheck> checks;
    for (const auto& family : {dense_checks(), rope_checks(), attention_checks(), expert_checks(), sampling_checks()}) {
        checks.insert(checks.end(), family.begin(), family.end());
    }
    return checks;
}

Verdict run_check(const KernelCheck& check, Device& device, Pipelines& pipelines) {
    Trial trial(device, pipelines, check.kernel);
    try {
        check.run(trial);
    } catch (const DeviceStopped&) {
        throw;
    } catch (const Error& error) {
        trial.fail(error.what());
    }
    return trial.verdict();
}

} // namespace gptoss::metal
