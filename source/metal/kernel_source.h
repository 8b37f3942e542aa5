// The kernels of metal/ as they are embedded in the library, by cmake/MetalKernels.cmake.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "../errors.h"

namespace gptoss::metal {

// One .metal file. Each is a library of its own: several of them define functions of the same name.
struct KernelSource {
    const char* file;                    // without folder and extension: "projection_qkv"
    const char* source;                  // of the file, with its quoted includes in place; null where metallib is there
    std::span<const std::byte> metallib; // compiled by Xcode's offline compiler if the build had it, else empty
    bool fast_math;                      // may be compiled with it
};

std::span<const KernelSource> kernel_sources();

// The one of a file. Fails with internal_error if there is none.
inline const KernelSource& find_kernel_source(const std::string& file) {
    for (const KernelSource& source : kernel_sources()) {
        if (source.file == file) {
            return source;
        }
    }
    fail(gptoss_status_internal_error, "There is no metal/", file,
         ".metal in this build of gptoss. This is a defect: please report it.");
}

} // namespace gptoss::metal
