// The C boundary: devices.

#include "api_boundary.h"

using namespace gptoss::api;

gptoss_status gptoss_get_device_info(gptoss_backend backend, gptoss_device_info* device_info_out) {
    return guarded([&] {
        require(device_info_out, "device_info_out");
        *device_info_out = gptoss::get_device_info(backend);
    });
}
