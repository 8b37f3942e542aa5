// The C boundary: what a benchmark's report says of the build and of the machine's limits.

#include <cmath>

#include "api_boundary.h"
#include "build_info.h"

using namespace gptoss::api;
using gptoss::fail;

extern "C" {

gptoss_status gptoss_get_build_info(gptoss_build_info* build_info_out) {
    return guarded([&] {
        require(build_info_out, "build_info_out");
        *build_info_out = gptoss::build_info();
    });
}

gptoss_status gptoss_model_get_instruction_set(gptoss_model_t model, const char** instruction_set_out) {
    return guarded([&] {
        require(model, "model");
        require(instruction_set_out, "instruction_set_out");
        *instruction_set_out = model->model->backend().instruction_set();
    });
}

gptoss_status gptoss_model_measure_roofline(gptoss_model_t model, double seconds, gptoss_roofline* roofline_out) {
    return guarded([&] {
        require(model, "model");
        require(roofline_out, "roofline_out");
        if (!(seconds >= 0 && seconds <= 60)) {
            fail(gptoss_status_invalid_argument, "seconds must be from 0 to 60, not ", seconds, ".");
        }
        *roofline_out =
            model->model->with_backend([&](gptoss::Backend& backend) { return backend.measure_roofline(seconds); });
    });
}

} // extern "C"
