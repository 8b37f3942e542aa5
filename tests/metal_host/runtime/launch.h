// The C interface of the machine, which kernel_library.py calls through ctypes.
//
// Any thread may call these functions; launches run one after the other. `kernels` and `constants` are what the kernel
// library's metal_host_kernel_records() and metal_host_constant_records() return. What returns a text returns null on
// success, and else why it failed; the text is valid until the calling thread calls one of these functions again.
#pragma once

#include <cstdint>

#include "function_constants.h"

extern "C" {

// A read-only copy of a caller's memory that many launches share, guarded as their own copies are.
struct metal_host_kept;

struct metal_host_buffer {
    void* data;                  // null: deliberately unbound
    uint64_t size;               // bytes
    uint32_t is_given;           // 0: nothing was said about this index
    uint32_t is_writable;        // 0: the caller's memory must not be written
    const metal_host_kept* kept; // of `data` and `size`, or null. Only where the kernel reads
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

// Runs a kernel. When it succeeded, the caller's writable buffers have been written.
const char* metal_host_launch(const void* kernels,
                              const void* constants,
                              const char* kernel,
                              const metal_host_launch_request* request);

// Of the last launch: how often one fiber was left for another.
uint64_t metal_host_switches();

// A parameter of a kernel that a launch has to bind.
struct metal_host_parameter {
    uint32_t is_threadgroup_memory; // else it is a buffer
    uint32_t index;
    uint32_t is_writable; // by the kernel: neither `constant` nor `const`
    const char* name;     // lives as long as the library
};

struct metal_host_signature {
    uint32_t most_threads; // of a threadgroup
    uint32_t num_parameters;
    metal_host_parameter parameters[62]; // 31 buffers and 31 threadgroup memories at most
};

// What a kernel has to be given when the function constants have these values.
const char* metal_host_describe(const void* kernels,
                                const void* constants,
                                const char* kernel,
                                const metal_host::constant_value* values,
                                uint64_t num_values,
                                metal_host_signature* signature);

// Null: there is not enough memory.
const metal_host_kept* metal_host_keep(const void* data, uint64_t size);
void metal_host_release(const metal_host_kept* kept);

} // extern "C"
