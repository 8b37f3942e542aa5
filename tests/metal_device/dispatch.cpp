#include "dispatch.h"

#include "../metal_host/runtime/launch.h"
#include "errors.h"

namespace gptoss::metal::host {

Dispatch::Dispatch(std::shared_ptr<const Kernel> kernel,
                   const Bindings& bindings,
                   Extent threadgroups,
                   Extent threads_per_threadgroup)
    : kernel_(std::move(kernel)), threadgroups_(threadgroups), threads_per_threadgroup_(threads_per_threadgroup) {
    threadgroup_memory_.fill(-1);
    for (const KernelParameter& parameter : kernel_->signature.parameters) {
        if (parameter.is_threadgroup_memory) {
            if (const size_t num_bytes = bindings.threadgroup_memory[parameter.index]; num_bytes != 0) {
                threadgroup_memory_[parameter.index] = static_cast<int64_t>(num_bytes);
            }
            continue; // the machine complains where it is missing
        }
        const std::optional<BoundBuffer>& bound = bindings.buffers[parameter.index];
        if (!bound) {
            fail(gptoss_status_internal_error, "nothing is bound to buffer ", parameter.index, " ('", parameter.name,
                 "')");
        }
        if (bound->memory == nullptr) {
            if (parameter.is_writable) {
                fail(gptoss_status_internal_error, "the kernel writes to buffer ", parameter.index, " ('",
                     parameter.name, "'), which is bound to bytes of the command buffer");
            }
            bytes_.push_back({parameter.index, bound->bytes});
            continue;
        }
        if (bound->memory->is_mapped() && parameter.is_writable) {
            fail(gptoss_status_internal_error, "the kernel writes to buffer ", parameter.index, " ('", parameter.name,
                 "'), which is bound to mapped memory (", bound->memory->label(), "): that is read only");
        }
        slices_.push_back({bound->memory, bound->offset, bound->size, parameter.is_writable, parameter.name});
        slice_indices_.push_back(parameter.index);
        kept_.push_back(bound->memory->is_mapped() ? bound->memory->keep(kernel_->library, bound->offset, bound->size)
                                                   : nullptr);
    }
}

std::string Dispatch::run(std::optional<uint64_t> seed) const {
    std::array<metal_host_buffer, kNumIndices> buffers{};
    for (const BoundBytes& bound : bytes_) {
        buffers[bound.index] = {const_cast<std::byte*>(bound.bytes->data()), bound.bytes->size(), 1, 0, nullptr};
    }
    for (size_t i = 0; i < slices_.size(); i++) {
        const UsedSlice& slice = slices_[i];
        buffers[slice_indices_[i]] = {slice.memory->data() + slice.offset, slice.size, 1, slice.is_written,
                                      kept_[i].get()};
    }
    metal_host_launch_request request{};
    request.grid[0] = threadgroups_.x;
    request.grid[1] = threadgroups_.y;
    request.grid[2] = threadgroups_.z;
    request.threads_per_threadgroup[0] = threads_per_threadgroup_.x;
    request.threads_per_threadgroup[1] = threads_per_threadgroup_.y;
    request.threads_per_threadgroup[2] = threads_per_threadgroup_.z;
    request.is_random = seed.has_value();
    request.seed = seed.value_or(0);
    request.buffers = buffers.data();
    request.threadgroup_memory = threadgroup_memory_.data();
    return kernel_->library.launch(kernel_->name, kernel_->constants, request);
}

} // namespace gptoss::metal::host
