// Barriers that are needed, that are not, and that no launch of the test reaches. `"threadgroup_barrier"` is none.
#include <metal_stdlib>

#include "barriers.h"
using namespace metal;

struct BarriersArguments {
    uint is_long;
};

kernel void sum_twice(constant BarriersArguments& arguments [[buffer(0)]],
                      device uint* output [[buffer(1)]], // [threads]
                      uint thread_index [[thread_index_in_threadgroup]],
                      uint num_simdgroups [[simdgroups_per_threadgroup]]) {
    threadgroup uint partial[32];
    threadgroup uint swapped[1024];
    // threadgroup_barrier(mem_flags::mem_threadgroup): not this one, nor /* simdgroup_barrier(mem_flags::mem_none) */
    threadgroup_barrier(mem_flags::mem_threadgroup); // not needed
    uint sum = sum_over_threadgroup(thread_index, partial, thread_index, num_simdgroups);
    threadgroup_barrier(mem_flags::mem_threadgroup); // needed
    sum += sum_over_threadgroup(2 * thread_index, partial, thread_index, num_simdgroups);
    simdgroup_barrier(mem_flags::mem_none); // not needed
    swapped[thread_index] = sum + thread_index;
    simdgroup_barrier(mem_flags::mem_threadgroup); // needed
    output[thread_index] = swapped[thread_index ^ 1];
    if (arguments.is_long != 0) {
        threadgroup_barrier(mem_flags::mem_device); // not reached
        output[thread_index] = output[thread_index ^ 64];
    }
}
