#include "backend.h"

#include <algorithm>

#include "cpu/cpu_backend.h"
#include "cpu/kv_storage.h"
#include "cpu/machine.h"
#include "errors.h"

namespace gptoss {

namespace {

[[noreturn]] void fail_unknown(gptoss_backend kind) {
    fail(gptoss_status_invalid_argument, "Unknown backend ", static_cast<int>(kind),
         ": expected auto (0), cpu (1) or metal (2).");
}

} // namespace

gptoss_backend resolve_backend(gptoss_backend kind) {
    switch (kind) {
        case gptoss_backend_auto:
        case gptoss_backend_cpu:
            return gptoss_backend_cpu;
        case gptoss_backend_metal:
            fail(gptoss_status_unsupported_system,
                 "The Metal backend is not in this build of gptoss: use the backend 'cpu' or 'auto'.");
    }
    fail_unknown(kind);
}

gptoss_device_info get_device_info(gptoss_backend kind) {
    resolve_backend(kind);
    return cpu::describe_machine();
}

gptoss_memory_estimate estimate_memory(gptoss_backend kind,
                                       uint32_t num_threads,
                                       const ModelConfig& config,
                                       uint64_t weight_bytes,
                                       size_t context_length,
                                       size_t max_batch_tokens) {
    gptoss_memory_estimate estimate = {};
    estimate.backend = resolve_backend(kind);
    estimate.context_length = context_length == 0 ? config.context_length : context_length;
    const size_t max_rows =
        std::min(max_batch_tokens == 0 ? kDefaultMaxBatchTokens : max_batch_tokens, estimate.context_length);
    estimate.weights = weight_bytes;
    estimate.workspace = cpu::CpuBackend::workspace_bytes_for(
        config, num_threads == 0 ? cpu::num_available_processors() : num_threads, max_rows);
    estimate.kv_cache =
        cpu::CpuKvStorage::bytes_for(config, estimate.context_length, estimate.context_length, max_rows);
    estimate.total = estimate.weights + estimate.workspace + estimate.kv_cache;
    return estimate;
}

std::unique_ptr<Backend> create_backend(gptoss_backend kind,
                                        uint32_t num_threads,
                                        std::shared_ptr<const MappedFile> mapping,
                                        std::shared_ptr<const ModelFile> file) {
    switch (kind) {
        case gptoss_backend_auto:
        case gptoss_backend_cpu:
            return std::make_unique<cpu::CpuBackend>(num_threads, std::move(mapping), std::move(file));
        case gptoss_backend_metal:
            fail(gptoss_status_unsupported_system,
                 "The Metal backend is not in this build of gptoss: use the backend 'cpu' or 'auto'.");
    }
    fail_unknown(kind);
}

} // namespace gptoss
