// The one function that every instrumented load and store ends in.
#pragma once

#include <cstddef>

#include "trace_shadow.h"

namespace metal_host::trace {

// The running thread accesses memory: checks and counts it, or ends the launch with an error.
// `directions`: what to count it as, see trace_traffic.h. `program_counter`: of the access itself.
void access(const void* memory, std::size_t size, access_kind kind, unsigned directions, const void* program_counter);

} // namespace metal_host::trace
