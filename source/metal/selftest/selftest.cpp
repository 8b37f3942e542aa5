#include "selftest.h"

#include <algorithm>
#include <chrono>
#include <string>

#include "../../errors.h"
#include "../device.h"
#include "../pipelines.h"
#include "checks.h"

namespace gptoss::metal {

void selftest_kernels(gptoss_kernel_check_callback callback, void* user_data) {
    const std::unique_ptr<Device> device = open_device();
    Pipelines pipelines(*device);
    const std::vector<KernelCheck> checks = kernel_checks();
    for (size_t i = 0; i < checks.size(); i++) {
        const auto start = std::chrono::steady_clock::now();
        const Verdict verdict = run_check(checks[i], *device, pipelines);
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
        const gptoss_kernel_check result = {
            checks[i].kernel.c_str(), checks[i].shape.c_str(), verdict.message.empty(), verdict.largest_difference,
            verdict.tolerance,        verdict.message.c_str(), seconds.count()};
        if (callback(user_data, i + 1, checks.size(), &result) != 0) {
            fail(gptoss_status_aborted, "The self-test was stopped after ", i + 1, " of ", checks.size(), " checks.");
        }
    }
}

} // namespace gptoss::metal
