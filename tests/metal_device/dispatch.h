// One dispatch of a command buffer: a kernel, what is bound to it, and its grid.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernel_library.h"
#include "memory.h"
#include "metal/device.h"

namespace gptoss::metal::host {

inline constexpr uint32_t kNumIndices = 31; // of buffers, and of threadgroup memory, as in Metal

struct Kernel {
    const KernelLibrary& library;
    std::string name;
    std::vector<FunctionConstant> constants;
    KernelSignature signature;
};

class HostPipeline final : public Pipeline {
public:
    explicit HostPipeline(std::shared_ptr<const Kernel> kernel) : kernel_(std::move(kernel)) {}
    uint32_t max_threads_per_threadgroup() const override { return kernel_->signature.most_threads; }
    const std::shared_ptr<const Kernel>& kernel() const { return kernel_; }

private:
    std::shared_ptr<const Kernel> kernel_;
};

// What bind() and bind_bytes() have left at an index.
struct BoundBuffer {
    std::shared_ptr<Memory> memory; // null: bytes of the command buffer's own
    size_t offset = 0;
    size_t size = 0;
    std::shared_ptr<const std::vector<std::byte>> bytes;
};

struct Bindings {
    std::array<std::optional<BoundBuffer>, kNumIndices> buffers;
    std::array<size_t, kNumIndices> threadgroup_memory{}; // bytes; 0: none
};

// A part of a buffer as a dispatch uses it.
struct UsedSlice {
    std::shared_ptr<Memory> memory;
    size_t offset = 0;
    size_t size = 0;
    bool is_written = false; // else only read
    std::string parameter;

    const std::byte* begin() const { return memory->data() + offset; }
    const std::byte* end() const { return begin() + size; }
};

class Dispatch {
public:
    // Throws internal_error if the kernel needs what is not bound, or would write to mapped memory.
    Dispatch(std::shared_ptr<const Kernel> kernel,
             const Bindings& bindings,
             Extent threadgroups,
             Extent threads_per_threadgroup);

    // Runs it; the slices that it may write are written when it is over. `seed`: of the order of its threads. Returns
    // why it failed, or an empty string.
    std::string run(std::optional<uint64_t> seed) const;

    const std::string& kernel_name() const { return kernel_->name; }
    const std::vector<UsedSlice>& slices() const { return slices_; }

private:
    struct BoundBytes {
        uint32_t index;
        std::shared_ptr<const std::vector<std::byte>> bytes;
    };

    std::shared_ptr<const Kernel> kernel_;
    Extent threadgroups_;
    Extent threads_per_threadgroup_;
    std::vector<UsedSlice> slices_;
    std::vector<uint32_t> slice_indices_; // of the buffers that slices_ are bound to
    std::vector<KeptCopy> kept_;          // of slices_; null where they are not of mapped memory
    std::vector<BoundBytes> bytes_;
    std::array<int64_t, kNumIndices> threadgroup_memory_;
};

} // namespace gptoss::metal::host
