// What the machine tells the tracer (race detector and traffic counter) while kernels run.
//
// Linked in trace mode only: trace*.cpp define these functions and the __tsan_* functions that the compiler's
// instrumentation of the kernels calls. They are compiled without instrumentation themselves. All of them may end the
// launch with metal_host::fail(); who runs is metal_host::current() and current_threadgroup().
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "machine.h"

namespace metal_host::trace {

// Memory that a kernel may access, with the unmapped or poisoned bytes around it that belong to nothing else: an access
// in [begin - guard_before, begin) or [begin + size, begin + size + guard_after) is out of bounds of this region.
struct region {
    std::byte* begin;
    std::size_t size;
    std::size_t guard_before;
    std::size_t guard_after;
    int buffer;       // the buffer's index; -1 for threadgroup memory
    const char* name; // the kernel's name for it
    bool writable;    // false for `constant` and `device const` buffers
};

// A launch starts. `buffers` has one region for each buffer that is bound; two of them may be the same memory or
// overlap where the caller bound overlapping arrays. `stacks` is where the threads' stacks are: nothing in there is
// shared. Counts of the last launch stay readable until then.
void launch_begin(const std::vector<region>& buffers, std::byte* stacks, std::size_t size_of_stacks);

// A variable or argument of threadgroup memory exists from now on until the next launch begins. May come in the middle
// of a threadgroup's run: variables are known when the first thread reaches their declaration.
void threadgroup_memory(const region& memory);

// A threadgroup starts: all threadgroup memory is undefined again, all epochs start anew.
void threadgroup_begin();
// Returns an error that ends the launch, or an empty string.
std::string threadgroup_end();

// All threads of the threadgroup have arrived at a barrier; `fenced`: fence_device | fence_threadgroup, see machine.h.
// Returns an error that ends the launch, or an empty string.
std::string threadgroup_barrier_completed(uint32_t fenced, const site& where);

// All live lanes of a simdgroup have arrived at a simdgroup_barrier.
void simdgroup_barrier_completed(uint32_t simdgroup, uint32_t fenced, const site& where);

// All live lanes of a simdgroup have met, at a simdgroup operation or a barrier of either kind (for a barrier, after
// the call above): from here the lanes run in step again, so that the n-th access of each lane at one instruction
// belong together.
void simdgroup_converged(uint32_t simdgroup);

} // namespace metal_host::trace
