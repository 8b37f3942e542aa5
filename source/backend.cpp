#include "backend.h"

#include "cpu/cpu_backend.h"
#include "errors.h"

namespace gptoss {

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
    fail(gptoss_status_invalid_argument, "Unknown backend ", static_cast<int>(kind),
         ": expected auto (0), cpu (1) or metal (2).");
}

} // namespace gptoss
