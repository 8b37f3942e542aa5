// Structs that machine_arguments.metal and its test share.
#pragma once

namespace machine_test {
enum Constants {
    SIZE = 0,
};
} // namespace machine_test

struct Scaling {
    uint32_t count;
    float scale;
    uint64_t unused;
};

struct Positions {
    uint32_t thread_position_in_grid[3];
    uint32_t thread_position_in_threadgroup[3];
    uint32_t threadgroup_position_in_grid[3];
    uint32_t threadgroups_per_grid[3];
    uint32_t threads_per_grid[3];
    uint32_t threads_per_threadgroup[3];
    uint32_t dispatch_threads_per_threadgroup[3];
    uint32_t thread_index_in_threadgroup, thread_index_in_simdgroup;
    uint32_t simdgroup_index_in_threadgroup, simdgroups_per_threadgroup;
    uint32_t dispatch_simdgroups_per_threadgroup;
    uint32_t threads_per_simdgroup, thread_execution_width;
};
