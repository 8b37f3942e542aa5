// The kernels of one .metal file as a shared object, and the machine of tests/metal_host that runs them.
//
// `python -m metal_host build` has compiled them, into <folder>/<mode>/<file>.so. The folder is metal_host_kernels
// beside the program or library that this is linked into, or else the one in the build folder that CMake has named.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "metal/device.h"

struct metal_host_kept;
struct metal_host_launch_request;
struct metal_host_signature;
namespace metal_host {
struct constant_value;
}

namespace gptoss::metal::host {

struct KernelParameter {
    uint32_t index = 0; // of a buffer, or of threadgroup memory
    bool is_threadgroup_memory = false;
    bool is_writable = false; // by the kernel
    std::string name;
};

struct KernelSignature {
    uint32_t most_threads = 0; // of a threadgroup
    std::vector<KernelParameter> parameters;
};

// Unmodifiable bytes that many launches read, between inaccessible pages.
using KeptCopy = std::shared_ptr<const metal_host_kept>;

// Loaded once in a process, and never unloaded. May be used from any thread.
class KernelLibrary {
public:
    // Throws unsupported_system if the build has no kernels for `mode`, internal_error if it has no such file.
    static const KernelLibrary& get(const std::string& mode, const std::string& file);

    // Throws internal_error.
    KernelSignature describe(const std::string& kernel, std::span<const FunctionConstant> constants) const;

    // Runs a kernel; `request` is complete but for its constants. Returns why it failed, or an empty string.
    std::string launch(const std::string& kernel,
                       std::span<const FunctionConstant> constants,
                       metal_host_launch_request request) const;

    // Throws insufficient_resources.
    KeptCopy keep(std::span<const std::byte> memory) const;

private:
    explicit KernelLibrary(const std::string& path);

    const void* kernels_;
    const void* constants_;
    const char* (*launch_)(const void*, const void*, const char*, const metal_host_launch_request*);
    const char* (*describe_)(
        const void*, const void*, const char*, const ::metal_host::constant_value*, uint64_t, metal_host_signature*);
    const metal_host_kept* (*keep_)(const void*, uint64_t);
    void (*release_)(const metal_host_kept*);
};

} // namespace gptoss::metal::host
