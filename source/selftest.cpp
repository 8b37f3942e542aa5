#include "selftest.h"

#include "errors.h"

#ifdef GPTOSS_METAL
#include "metal/selftest/selftest.h"
#endif

namespace gptoss {

void selftest_kernels(gptoss_backend backend, gptoss_kernel_check_callback callback, void* user_data) {
    switch (backend) {
        case gptoss_backend_cpu:
            fail(gptoss_status_unsupported_argument,
                 "The CPU backend has no kernels to check on a device: its own are tested when the library is built.");
        case gptoss_backend_auto:
        case gptoss_backend_metal:
#ifdef GPTOSS_METAL
            return metal::selftest_kernels(callback, user_data);
#else
            (void)callback;
            (void)user_data;
            fail(gptoss_status_unsupported_system,
                 "The Metal backend, whose kernels could be checked, is not in this build of gptoss.");
#endif
    }
    fail(gptoss_status_invalid_argument, "Unknown backend ", static_cast<int>(backend),
         ": expected auto (0), cpu (1) or metal (2).");
}

} // namespace gptoss
