// The kernels of a device, each made once, when it is first used.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "device.h"

namespace gptoss::metal {

// A kernel, by the names that it has in metal/.
struct KernelName {
    const char* file;   // "projection_qkv"
    const char* kernel; // "projection_qkv_bf16"
    std::vector<FunctionConstant> constants = {};
};

// May be used from any thread.
class Pipelines {
public:
    explicit Pipelines(Device& device) : device_(device) {}

    // Throws internal_error, which names the kernel, if it cannot be compiled here.
    const Pipeline& get(const KernelName& name);

private:
    struct Key {
        std::string kernel; // the names of kernels are unique among all files
        std::vector<FunctionConstant> constants;
        auto operator<=>(const Key&) const = default;
    };

    Device& device_;
    std::mutex mutex_;
    std::map<Key, std::unique_ptr<Pipeline>> pipelines_;
};

} // namespace gptoss::metal
