#include "backend.h"

#include <algorithm>
#include <cstdio>

#include "cpu/cpu_backend.h"
#include "cpu/kv_storage.h"
#include "cpu/machine.h"
#include "cpu/thread_count.h"
#include "errors.h"
#if defined(GPTOSS_METAL)
#include "metal/memory_plan.h"
#include "metal/metal_backend.h"
#endif

namespace gptoss {

namespace {

// Whether auto means Metal where there is a GPU: not on the host device of the tests, which is slower than the CPU.
#if defined(GPTOSS_METAL) && !defined(GPTOSS_METAL_HOST)
constexpr bool kAutoTriesMetal = true;
#else
constexpr bool kAutoTriesMetal = false;
#endif

[[noreturn]] void fail_unknown(gptoss_backend kind) {
    fail(gptoss_status_invalid_argument, "Unknown backend ", static_cast<int>(kind),
         ": expected auto (0), cpu (1) or metal (2).");
}

void check_precision(gptoss_precision precision) {
    switch (precision) {
        case gptoss_precision_default:
        case gptoss_precision_exact:
        case gptoss_precision_fast:
            return;
    }
    fail(gptoss_status_invalid_argument, "Unknown precision ", static_cast<int>(precision),
         ": expected default (0), exact (1) or fast (2).");
}

#if defined(GPTOSS_METAL)

void check_metal() {
    metal::open_device();
}

gptoss_device_info describe_metal() {
    const std::unique_ptr<metal::Device> device = metal::open_device();
    const metal::DeviceInfo& info = device->info();
    gptoss_device_info result = {};
    result.backend = gptoss_backend_metal;
    std::snprintf(result.name, sizeof(result.name), "%s", info.name.c_str());
    std::snprintf(result.operating_system, sizeof(result.operating_system), "%s", info.operating_system.c_str());
    result.recommended_bytes = info.recommended_bytes;
    result.max_buffer_bytes = info.max_buffer_bytes;
    result.physical_bytes = info.physical_bytes;
    return result;
}

gptoss_memory_estimate estimate_metal(const ModelFile& file,
                                      uint64_t weight_bytes,
                                      size_t context_length,
                                      size_t max_batch_tokens) {
    const std::unique_ptr<metal::Device> device = metal::open_device();
    return metal::MemoryPlan(file.config(), weight_bytes, file.bytes_saved_by_q8())
        .estimate(device->info(), context_length, max_batch_tokens);
}

std::unique_ptr<Backend> create_metal(std::shared_ptr<const MappedFile> mapping,
                                      std::shared_ptr<const ModelFile> file) {
    return std::make_unique<metal::MetalBackend>(metal::open_device(), std::move(mapping), std::move(file));
}

#else

[[noreturn]] void check_metal() {
    fail(gptoss_status_unsupported_system,
         "The Metal backend is not in this build of gptoss: use the backend 'cpu' or 'auto'.");
}

gptoss_device_info describe_metal() {
    check_metal();
}

gptoss_memory_estimate estimate_metal(const ModelFile&, uint64_t, size_t, size_t) {
    check_metal();
}

std::unique_ptr<Backend> create_metal(const std::shared_ptr<const MappedFile>&,
                                      const std::shared_ptr<const ModelFile>&) {
    check_metal();
}

#endif

} // namespace

gptoss_roofline Backend::measure_roofline(double /* seconds */) {
    fail(gptoss_status_unsupported_argument,
         "The limits of this backend's device cannot be measured: use the backend 'cpu'.");
}

gptoss_backend resolve_backend(gptoss_backend kind) {
    switch (kind) {
        case gptoss_backend_auto:
            if (kAutoTriesMetal) {
                try {
                    check_metal();
                    return gptoss_backend_metal;
                } catch (const Error& error) {
                    if (error.status() != gptoss_status_unsupported_system) {
                        throw;
                    }
                }
            }
            return gptoss_backend_cpu;
        case gptoss_backend_cpu:
            return gptoss_backend_cpu;
        case gptoss_backend_metal:
            check_metal();
            return gptoss_backend_metal;
    }
    fail_unknown(kind);
}

gptoss_device_info get_device_info(gptoss_backend kind) {
    return resolve_backend(kind) == gptoss_backend_metal ? describe_metal() : cpu::describe_machine();
}

gptoss_memory_estimate estimate_memory(gptoss_backend kind,
                                       uint32_t num_threads,
                                       const ModelFile& file,
                                       uint64_t weight_bytes,
                                       size_t context_length,
                                       size_t max_batch_tokens) {
    if (resolve_backend(kind) == gptoss_backend_metal) {
        return estimate_metal(file, weight_bytes, context_length, max_batch_tokens);
    }
    const ModelConfig& config = file.config();
    gptoss_memory_estimate estimate = {};
    estimate.backend = gptoss_backend_cpu;
    estimate.context_length = context_length == 0 ? config.context_length : context_length;
    const size_t max_rows =
        std::min(max_batch_tokens == 0 ? kDefaultMaxBatchTokens : max_batch_tokens, estimate.context_length);
    estimate.weights = weight_bytes;
    estimate.workspace = cpu::CpuBackend::workspace_bytes_for(config, cpu::choose_num_threads(num_threads), max_rows);
    estimate.kv_cache =
        cpu::CpuKvStorage::bytes_for(config, estimate.context_length, estimate.context_length, max_rows);
    estimate.total = estimate.weights + estimate.workspace + estimate.kv_cache;
    return estimate;
}

std::unique_ptr<Backend> create_backend(const gptoss_model_options& options,
                                        std::shared_ptr<const MappedFile> mapping,
                                        std::shared_ptr<const ModelFile> file) {
    check_precision(options.precision);
    switch (options.backend) {
        case gptoss_backend_auto:
            if (kAutoTriesMetal) {
                try {
                    return create_metal(mapping, file);
                } catch (const Error& error) {
                    // No GPU, or none that runs this model. That the model is too large for its memory is not hidden.
                    if (error.status() != gptoss_status_unsupported_system) {
                        throw;
                    }
                }
            }
            [[fallthrough]];
        case gptoss_backend_cpu:
            return std::make_unique<cpu::CpuBackend>(options.num_threads, options.precision, std::move(mapping),
                                                     std::move(file));
        case gptoss_backend_metal:
            return create_metal(std::move(mapping), std::move(file));
    }
    fail_unknown(options.backend);
}

} // namespace gptoss
