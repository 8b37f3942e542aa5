// What the Metal backend asks of a GPU: memory that both processors see, kernels, and command buffers.
//
// Everything above this header is plain C++. Below it are device.mm, on Apple's Metal, and the host device of the tests
// (tests/metal_device), which runs the same kernels on the processor and checks what a GPU does not: that slices lie
// within their buffers, and that dispatches between two barriers touch no common memory where one of them writes.
//
// Threads: a Device may be used from any thread. A CommandBuffer is encoded and committed by one thread; wait() may be
// called from any thread afterwards. Failures are Errors (errors.h) whose sentences name the kernel or the size.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace gptoss::metal {

// Memory that CPU and GPU share. Freed with its last owner, at the earliest when no command buffer uses it any more.
class Buffer {
public:
    virtual ~Buffer() = default;
    virtual std::byte* data() const = 0; // of the CPU's view; page-aligned for what is mapped, else 16-byte-aligned
    virtual size_t size() const = 0;     // bytes
};

// Bytes [offset, offset + size) of a buffer: all that a dispatch may touch of it. Does not own the buffer.
struct Slice {
    const Buffer* buffer = nullptr;
    size_t offset = 0;
    size_t size = 0;

    Slice() = default;
    Slice(const Buffer& whole) : buffer(&whole), size(whole.size()) {} // NOLINT: a buffer is a slice of itself
    Slice(const Buffer* of, size_t first, size_t num_bytes) : buffer(of), offset(first), size(num_bytes) {}

    // Bytes [first, first + num_bytes) of this slice. Fails with internal_error if they are not within it.
    Slice part(size_t first, size_t num_bytes) const;
    template <class Element>
    Element* as() const {
        return reinterpret_cast<Element*>(buffer->data() + offset);
    }
};

struct Extent {
    uint32_t x = 1;
    uint32_t y = 1;
    uint32_t z = 1;
};

// The value of a kernel's function constant (metal/function_constants.h). All of them are uint.
struct FunctionConstant {
    uint32_t index;
    uint32_t value;
    auto operator<=>(const FunctionConstant&) const = default;
};

// A kernel, ready to run.
class Pipeline {
public:
    virtual ~Pipeline() = default;
    virtual uint32_t max_threads_per_threadgroup() const = 0;
};

// Dispatches in the order in which they are encoded, in one concurrent encoder: those between two barriers may run at
// the same time or in any order.
class CommandBuffer {
public:
    virtual ~CommandBuffer() = default;

    // ---- Encoding. What is bound stays bound until it is bound again; use() drops nothing.
    virtual void use(const Pipeline& pipeline) = 0;
    virtual void bind(uint32_t index, const Slice& slice) = 0;
    virtual void bind_bytes(uint32_t index, std::span<const std::byte> bytes) = 0; // copied; at most 4,096
    virtual void bind_threadgroup_memory(uint32_t index, size_t num_bytes) = 0;    // a multiple of 16
    virtual void dispatch(Extent threadgroups, Extent threads_per_threadgroup) = 0;
    // What is dispatched from here on sees what was written before.
    virtual void barrier() = 0;

    // Ends the encoding and queues the work behind everything that was committed before it. Once only.
    virtual void commit() = 0;

    // ---- After commit()
    // Waits until the GPU has done it, and returns the seconds that it took there. Throws internal_error if the GPU
    // reports a failure, naming the command buffer's label, and that the GPU has not answered from then on if
    // `deadline` passes first. May be called again, with the same result.
    virtual double wait(std::chrono::steady_clock::time_point deadline) = 0;
};

struct DeviceInfo {
    std::string name;               // "Apple M2 Max"
    std::string operating_system;   // "macOS 14.5"
    uint64_t recommended_bytes = 0; // that the GPU's memory should not exceed (recommendedMaxWorkingSetSize)
    uint64_t max_buffer_bytes = 0;
    uint64_t physical_bytes = 0; // of the machine
};

class Device {
public:
    virtual ~Device() = default; // waits for nothing; command buffers keep what they need

    virtual const DeviceInfo& info() const = 0;
    // Bytes that are shared by CPU and GPU, zero at first. Fails with insufficient_resources.
    virtual std::unique_ptr<Buffer> make_buffer(size_t num_bytes, const std::string& label) = 0;
    // Memory that is mapped already, which has to outlive the buffer: no copy is made, and the GPU only reads it.
    // `memory` begins at a page; its last page may extend beyond it. At most max_buffer_bytes.
    virtual std::unique_ptr<Buffer> map_buffer(std::span<const std::byte> memory, const std::string& label) = 0;
    // The kernel of metal/<file>.metal, compiled with these constants; the others are undefined. Slow: see Pipelines.
    virtual std::unique_ptr<Pipeline> make_pipeline(const std::string& file,
                                                    const std::string& kernel,
                                                    std::span<const FunctionConstant> constants) = 0;
    // A command buffer to encode. `label` is what errors call it.
    virtual std::shared_ptr<CommandBuffer> begin(const std::string& label) = 0;
};

// The GPU of this machine. Fails with unsupported_system, and says why: no device, or too old an operating system.
std::unique_ptr<Device> open_device();

} // namespace gptoss::metal
