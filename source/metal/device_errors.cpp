#include "device_errors.h"

#include <iomanip>
#include <sstream>

#include "../errors.h"
#include "memory_plan.h"

namespace gptoss::metal {

namespace {

std::string gibibytes(uint64_t num_bytes) {
    std::ostringstream text;
    text << std::fixed << std::setprecision(2) << double(num_bytes) / double(1 << 30) << " GiB";
    return text.str();
}

} // namespace

void fail_no_gpu(const std::string& found) {
    fail(gptoss_status_unsupported_system, "The backend 'metal' needs a Mac with Apple Silicon and macOS 14 or later; ",
         found, ". Use the backend 'cpu'.");
}

void fail_allocation(const DeviceInfo& info, uint64_t used_bytes, uint64_t num_bytes, const std::string& label) {
    if (num_bytes > info.max_buffer_bytes) {
        fail(gptoss_status_insufficient_resources, "The GPU has no buffers of ", gibibytes(num_bytes), " (", label,
             "): at most ", gibibytes(info.max_buffer_bytes),
             ". Use a shorter context_length or a smaller model file.");
    }
    const uint64_t limit = wired_limit_mb(info, used_bytes + num_bytes);
    fail(gptoss_status_insufficient_resources, "The GPU has no room for ", gibibytes(num_bytes), " more (", label,
         "): ", gibibytes(used_bytes), " are in use, and the system recommends at most ",
         gibibytes(info.recommended_bytes), " of this computer's ", gibibytes(info.physical_bytes),
         ". Use a shorter context_length or a smaller model file, or close other programs",
         limit == 0 ? "." : "; or let the GPU have more until the next restart: sudo sysctl iogpu.wired_limit_mb=",
         limit == 0 ? "" : std::to_string(limit));
}

void fail_compilation(const DeviceInfo& info,
                      const std::string& file,
                      const std::string& kernel,
                      const std::string& reason) {
    // The reason last: it may be long, and last_error() keeps the beginning.
    fail(gptoss_status_internal_error, "The compiler of ", info.operating_system, " for ", info.name,
         " refused the kernel ", kernel, " of metal/", file,
         ".metal. Use the backend 'cpu', and please report this: ", reason);
}

void fail_command_buffer(const CommandBufferFailure& failure) {
    fail(gptoss_status_internal_error, "The GPU failed in '", failure.label,
         "': ", failure.reason.empty() ? "it gives no reason" : failure.reason, " (", failure.code,
         failure.by_another ? ", after a failure of other work)" : ")", ". ",
         failure.out_of_memory ? "Use a shorter context_length or a smaller model file, or close other programs."
                               : "Try again; if it fails again, use the backend 'cpu', and please report it with the "
                                 "output of `gptoss selftest`.");
}

void fail_unanswered(const std::string& label) {
    fail(gptoss_status_internal_error, "The GPU stopped answering: it has not finished '", label,
         "' in time. Create the Model again; if that does not help, restart the computer.");
}

} // namespace gptoss::metal
