// The sentences of what a GPU refuses or fails to do: what happened, with the numbers, and the remedy.
#pragma once

#include <cstdint>
#include <string>

#include "device.h"

namespace gptoss::metal {

// `found` is what there is instead: "this is macOS 13.6 on Apple M1".
[[noreturn]] void fail_no_gpu(const std::string& found);

// The device has `used_bytes` of memory allocated and refuses `num_bytes` more, or a buffer as large as that.
[[noreturn]] void fail_allocation(const DeviceInfo& info,
                                  uint64_t used_bytes,
                                  uint64_t num_bytes,
                                  const std::string& label);

[[noreturn]] void fail_compilation(const DeviceInfo& info,
                                   const std::string& file,
                                   const std::string& kernel,
                                   const std::string& reason);

// A command buffer that the GPU has given up.
struct CommandBufferFailure {
    std::string label;
    std::string reason = "";    // the system's sentence
    std::string code = "";      // its name in the system's documentation: "MTLCommandBufferErrorDomain 8"
    bool out_of_memory = false; // the GPU's
    bool by_another = false;    // work of another program failed, and this was lost with it
};
[[noreturn]] void fail_command_buffer(const CommandBufferFailure& failure);

// A command buffer that the GPU has not finished by the deadline.
[[noreturn]] void fail_unanswered(const std::string& label);

} // namespace gptoss::metal
