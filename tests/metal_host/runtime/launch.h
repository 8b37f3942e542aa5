// The C interface of the machine, which kernel_library.py calls through ctypes.
#pragma once

#include <cstdint>

#include "function_constants.h"

extern "C" {

struct metal_host_buffer {
    void* data;           // null: deliberately unbound
    uint64_t size;        // bytes
    uint32_t is_given;    // 0: nothing was said about this index
    uint32_t is_writable; // 0: the caller's memory must not be written
};

struct metal_host_launch_request {
    uint32_t grid[3]; // threadgroups, or threads where counts_threads
    uint32_t counts_threads;
    uint32_t threads_per_threadgroup[3];
    uint32_t is_random;
    uint64_t seed;
    const metal_host_buffer* buffers;  // [31]
    const int64_t* threadgroup_memory; // [31] bytes; -1: not given
    const metal_host::constant_value* constants;
    uint64_t num_constants;
    const char* skipped_file; // null: no barrier is skipped
    int32_t skipped_line;
};

// Runs a kernel. `kernels` and `constants` are what the kernel library's metal_host_kernel_records() and
// metal_host_constant_records() return. Null: it succeeded, and the caller's writable buffers have been written; else a
// text that says why not, valid until the next launch.
const char* metal_host_launch(const void* kernels,
                              const void* constants,
                              const char* kernel,
                              const metal_host_launch_request* request);

// Of the last launch: how often one fiber was left for another.
uint64_t metal_host_switches();

} // extern "C"
