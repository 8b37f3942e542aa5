// The checks of `gptoss selftest`: they pass where kernels are right, and do not where one is wrong.
#include <string>

#include "check.h"
#include "metal/selftest/checks.h"
#include "selftest.h"

using namespace gptoss;
using namespace gptoss::metal;

TEST(every_check_passes) {
    size_t num_calls = 0;
    const auto callback = [](void* user_data, size_t num_done, size_t num_total, const gptoss_kernel_check* check) {
        CHECK_EQUAL(++*static_cast<size_t*>(user_data), num_done);
        CHECK_EQUAL(num_total, kernel_checks().size());
        CHECK_EQUAL(std::string(check->message), "");
        CHECK_EQUAL(check->passed, 1);
        CHECK(check->largest_difference <= check->tolerance);
        return 0;
    };
    selftest_kernels(gptoss_backend_metal, callback, &num_calls);
    CHECK_EQUAL(num_calls, kernel_checks().size());
}
