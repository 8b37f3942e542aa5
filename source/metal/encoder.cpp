#include "encoder.h"

#include "../errors.h"

namespace gptoss::metal {

Slice Slice::part(size_t first, size_t num_bytes) const {
    if (first > size || num_bytes > size - first) {
        fail(gptoss_status_internal_error, "Bytes ", first, " to ", first + num_bytes, " are not within a slice of ",
             size, " bytes of GPU memory. This is a defect of gptoss: please report it.");
    }
    return {buffer, offset + first, num_bytes};
}

std::shared_ptr<CommandBuffer> Encoder::commit() {
    commands_->commit();
    return std::move(commands_);
}

void Encoder::launch_bytes(const KernelName& kernel,
                           std::span<const std::byte> arguments,
                           std::span<const Binding> bindings,
                           const Grid& grid) {
    const Pipeline& pipeline = pipelines_.get(kernel);
    const Extent& threads = grid.threads_per_threadgroup;
    const uint32_t num_threads = threads.x * threads.y * threads.z;
    if (num_threads > pipeline.max_threads_per_threadgroup()) {
        fail(gptoss_status_internal_error, "The kernel ", kernel.kernel, " needs ", num_threads,
             " threads in a threadgroup, and this GPU runs it with at most ", pipeline.max_threads_per_threadgroup(),
             ": use the backend 'cpu', and please report it with the output of `gptoss selftest`.");
    }
    commands_->use(pipeline);
    commands_->bind_bytes(0, arguments);
    for (const Binding& binding : bindings) {
        commands_->bind(binding.index, binding.slice);
    }
    if (grid.threadgroup_memory != 0) {
        commands_->bind_threadgroup_memory(0, grid.threadgroup_memory);
    }
    commands_->dispatch(grid.threadgroups, threads);
}

} // namespace gptoss::metal
