// The C boundary: the self-test.

#include "api_boundary.h"
#include "selftest.h"

using namespace gptoss::api;

extern "C" {

gptoss_status gptoss_selftest_kernels(gptoss_backend backend, gptoss_kernel_check_callback callback, void* user_data) {
    return guarded([&] {
        require(callback, "callback");
        gptoss::selftest_kernels(backend, callback, user_data);
    });
}

} // extern "C"
