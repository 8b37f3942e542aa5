// open_device() for GPTOSS_BUILD_METAL=host: Metal's kernels on the processor, and the checks that a GPU does not make.
#include <sys/utsname.h>
#include <unistd.h>

#include <atomic>
#include <new>

#include "command_buffer.h"
#include "errors.h"
#include "executor.h"
#include "metal/device.h"
#include "metal/device_errors.h"

namespace gptoss::metal {

namespace host {
namespace {

uint64_t physical_bytes() {
    return static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

DeviceInfo describe_host(const Faults& faults) {
    utsname system{};
    uname(&system);
    DeviceInfo info;
    info.name = "host device";
    info.operating_system = std::string(system.sysname) + " " + system.release;
    info.physical_bytes = physical_bytes();
    info.recommended_bytes = faults.memory.value_or(info.physical_bytes / 4 * 3); // as macOS does by default
    info.max_buffer_bytes = faults.max_buffer.value_or(info.physical_bytes / 2);
    return info;
}

class HostDevice final : public Device {
public:
    explicit HostDevice(Settings settings)
        : settings_(std::move(settings)),
          info_(describe_host(settings_.faults)),
          executor_(std::make_shared<Executor>(settings_)) {}
    ~HostDevice() override { executor_->close(); }
    HostDevice(const HostDevice&) = delete;
    HostDevice& operator=(const HostDevice&) = delete;

    const DeviceInfo& info() const override { return info_; }
    std::unique_ptr<Buffer> make_buffer(size_t num_bytes, const std::string& label) override;
    std::unique_ptr<Buffer> map_buffer(std::span<const std::byte> memory, const std::string& label) override;
    std::unique_ptr<Pipeline> make_pipeline(const std::string& file,
                                            const std::string& kernel,
                                            std::span<const FunctionConstant> constants) override;
    std::shared_ptr<CommandBuffer> begin(const std::string& label) override {
        return std::make_shared<HostCommandBuffer>(executor_, label);
    }

private:
    const Settings settings_;
    const DeviceInfo info_;
    const std::shared_ptr<Executor> executor_;
    const std::shared_ptr<ByteCount> bytes_in_use_ = std::make_shared<ByteCount>(0);
    std::atomic<uint64_t> num_allocations_ = 0;
};

std::unique_ptr<Buffer> HostDevice::make_buffer(size_t num_bytes, const std::string& label) {
    if (num_bytes == 0) {
        fail(gptoss_status_internal_error, "The GPU buffer '", label,
             "' would have no bytes. This is a defect of gptoss: please report it.");
    }
    const bool refused = ++num_allocations_ == settings_.faults.allocation;
    if (!refused && num_bytes <= info_.max_buffer_bytes) {
        try {
            return std::make_unique<HostBuffer>(std::make_shared<Memory>(num_bytes, label, bytes_in_use_));
        } catch (const std::bad_alloc&) { // as if it were refused
        }
    }
    fail_allocation(info_, *bytes_in_use_, num_bytes, label);
}

std::unique_ptr<Buffer> HostDevice::map_buffer(std::span<const std::byte> memory, const std::string& label) {
    const auto page_size = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    if (memory.empty() || reinterpret_cast<uintptr_t>(memory.data()) % page_size != 0 ||
        memory.size() > info_.max_buffer_bytes) {
        fail(gptoss_status_internal_error, "The memory of '", label, "' cannot be mapped for the GPU: ", memory.size(),
             " bytes at ", static_cast<const void*>(memory.data()), ", where a page has ", page_size,
             " and the largest buffer ", info_.max_buffer_bytes,
             " bytes. This is a defect of gptoss: please report it.");
    }
    return std::make_unique<HostBuffer>(std::make_shared<Memory>(memory, label));
}

std::unique_ptr<Pipeline> HostDevice::make_pipeline(const std::string& file,
                                                    const std::string& kernel,
                                                    std::span<const FunctionConstant> constants) {
    if (settings_.faults.compile.contains(kernel)) {
        fail_compilation(info_, file, kernel, "program_source:1:1: error: simulated by GPTOSS_METAL_HOST_FAULTS");
    }
    const KernelLibrary& library = KernelLibrary::get(settings_.mode, file);
    auto made = std::make_shared<const Kernel>(
        Kernel{library, kernel, {constants.begin(), constants.end()}, library.describe(kernel, constants)});
    return std::make_unique<HostPipeline>(std::move(made));
}

} // namespace
} // namespace host

std::unique_ptr<Device> open_device() {
    host::Settings settings = host::read_settings();
    if (settings.faults.no_device) {
        fail_no_gpu("GPTOSS_METAL_HOST_FAULTS simulates a machine without a Metal device");
    }
    if (settings.faults.old_system) {
        fail_no_gpu("GPTOSS_METAL_HOST_FAULTS simulates macOS 13.6");
    }
    return std::make_unique<host::HostDevice>(std::move(settings));
}

} // namespace gptoss::metal
