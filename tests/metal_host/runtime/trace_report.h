// What the tracer's errors say: sentences that name the memory, the threads, and file and line of the accesses.
#pragma once

#include <cstdint>
#include <string>

#include "trace_memory.h"

namespace metal_host::trace {

// Where in the kernels' code, in 32 bits: the distance from the first place that a launch asked for.
int32_t location_of(const void* program_counter);
// A new launch, perhaps of another library.
void forget_locations();

std::string describe_race(
    const memory_block& block, const conflict& found, access_kind kind, const event& now, const timeline& time);
std::string describe_overrun(
    const memory_block& block, uintptr_t address, std::size_t size, access_kind kind, int32_t location);
std::string describe_unwritten(const memory_block& block, std::size_t offset, const event& when, const timeline& time);
std::string describe_write_to_constant(const memory_block& block, std::size_t offset, int32_t location);
std::string describe_unknown_address(uintptr_t address, std::size_t size, access_kind kind, int32_t location);

} // namespace metal_host::trace
