// A command buffer that is being encoded, in terms of kernels and their arguments.
#pragma once

#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <type_traits>

#include "device.h"
#include "pipelines.h"

namespace gptoss::metal {

// What a kernel's [[buffer(index)]] is.
struct Binding {
    uint32_t index;
    Slice slice;
};

struct Grid {
    Extent threadgroups;
    Extent threads_per_threadgroup;
    size_t threadgroup_memory = 0; // bytes of [[threadgroup(0)]], 0 if the kernel has none
};

// How the launch functions (*_launches.h) encode. Used by one thread.
class Encoder {
public:
    Encoder(Device& device, Pipelines& pipelines, const std::string& label)
        : pipelines_(pipelines), commands_(device.begin(label)) {}

    // Dispatches a kernel whose buffer 0 is `arguments` (metal/arguments.h).
    template <class Arguments>
    void launch(const KernelName& kernel,
                const Arguments& arguments,
                std::initializer_list<Binding> bindings,
                const Grid& grid) {
        static_assert(std::is_trivially_copyable_v<Arguments>);
        launch_bytes(kernel, std::as_bytes(std::span(&arguments, 1)), {bindings.begin(), bindings.size()}, grid);
    }

    template <class Arguments>
    void launch(const KernelName& kernel,
                const Arguments& arguments,
                std::span<const Binding> bindings,
                const Grid& grid) {
        static_assert(std::is_trivially_copyable_v<Arguments>);
        launch_bytes(kernel, std::as_bytes(std::span(&arguments, 1)), bindings, grid);
    }

    // The most threads that a threadgroup of the kernel may have here, for kernels that run with any number of them.
    uint32_t max_threads(const KernelName& kernel) { return pipelines_.get(kernel).max_threads_per_threadgroup(); }

    // Between a launch that writes and those that read it, or that write it again.
    void barrier() { commands_->barrier(); }

    // Ends the encoding; the command buffer is queued.
    std::shared_ptr<CommandBuffer> commit();

private:
    void launch_bytes(const KernelName& kernel,
                      std::span<const std::byte> arguments,
                      std::span<const Binding> bindings,
                      const Grid& grid);

    Pipelines& pipelines_;
    std::shared_ptr<CommandBuffer> commands_;
};

} // namespace gptoss::metal
