// The tracer: what happens at each access, and at each event that the machine reports.
#include "trace.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <utility>

#include "machine.h"
#include "trace_access.h"
#include "trace_memory.h"
#include "trace_order.h"
#include "trace_report.h"
#include "trace_traffic.h"

namespace metal_host::trace {
namespace {

// A read of threadgroup memory that no thread has written yet. The error may be that another thread writes it later
// without a barrier in between: then that race is what to report. So it is kept until a barrier rules that out.
struct unwritten_read {
    const memory_block* block;
    std::size_t offset;
    event when;
    uint32_t num_accesses_since;
};

// A kernel that goes on with what it read may go astray, into a loop of four billion rounds, say: so long it may go on.
constexpr uint32_t most_accesses_under_suspicion = 100'000;

struct tracer {
    uintptr_t stacks_begin = 0;
    std::size_t stacks_size = 0;
    memory_map memory;
    std::array<timeline, 2> timelines;   // [address spaces]
    std::vector<region_traffic> traffic; // [parts of memory blocks]
    std::array<simdgroup_accesses, 1024 / simdgroup_width> simdgroups;
    loaded_library machine = library_of(reinterpret_cast<uintptr_t>(&library_of));
    loaded_library kernels; // of this launch; known once it accesses a constant
    std::optional<unwritten_read> suspicion;
    std::vector<site> barriers; // that this launch has reached
    std::string error;          // outlives the fiber that fails

    timeline& time(address_space space) { return timelines[static_cast<std::size_t>(space)]; }
};

tracer& the_tracer() {
    static tracer instance;
    return instance;
}

std::string describe_suspicion(tracer& trace) {
    const unwritten_read& read = *trace.suspicion;
    return describe_unwritten(*read.block, read.offset, read.when, trace.time(address_space::threadgroup));
}

// Ends the launch. fail() abandons this fiber's stack, so the text must not be owned by it.
template <class Describe>
[[noreturn]] void fail_with(tracer& trace, Describe describe) {
    trace.error = describe();
    fail(trace.error);
}

// As before, unless an earlier read of what was not written may be the cause.
template <class Describe>
[[noreturn]] void fail_unless_suspicious(tracer& trace, Describe describe) {
    fail_with(trace, [&] { return trace.suspicion ? describe_suspicion(trace) : describe(); });
}

// What is no buffer and yet in order: the kernels' constants, and what the machine keeps about the running thread.
bool is_constant_or_machine(tracer& trace, uintptr_t address, const void* program_counter) {
    if (trace.machine.contains(address) || trace.kernels.contains(address) ||
        address - reinterpret_cast<uintptr_t>(&current()) < sizeof(thread_state)) {
        return true;
    }
    trace.kernels = library_of(reinterpret_cast<uintptr_t>(program_counter));
    return trace.kernels.contains(address);
}

void check_is_written(
    tracer& trace, memory_block& block, std::size_t offset, std::size_t size, unsigned directions, const event& now) {
    if ((directions & reads) != 0 && !trace.suspicion) {
        if (const auto unwritten = block.written->find_unwritten(offset, size)) {
            trace.suspicion = {.block = &block, .offset = *unwritten, .when = now, .num_accesses_since = 0};
        }
    }
    if ((directions & writes) != 0) {
        block.written->add(offset, size);
    }
}

void remember_barrier(tracer& trace, const site& where) {
    const auto is_same = [&](const site& known) { return known.line == where.line && known.file == where.file; };
    if (std::none_of(trace.barriers.begin(), trace.barriers.end(), is_same)) {
        trace.barriers.push_back(where);
    }
}

void count_parts(tracer& trace, const memory_block& block) {
    for (const memory_block::part& part : block.parts) {
        while (trace.traffic.size() <= part.traffic) {
            trace.traffic.emplace_back(0);
        }
        trace.traffic[part.traffic] = region_traffic(part.size);
    }
}

void add(traffic_counts& sum, const traffic_counts& counts) {
    for (std::size_t i = 0; i < 2; ++i) {
        sum.bytes[i] += counts.bytes[i];
        sum.simdgroup_bytes[i] += counts.simdgroup_bytes[i];
        sum.threadgroup_bytes[i] += counts.threadgroup_bytes[i];
        sum.distinct_bytes[i] += counts.distinct_bytes[i];
    }
    sum.simdgroup_accesses += counts.simdgroup_accesses;
    sum.lines += counts.lines;
}

} // namespace

void access(const void* memory, std::size_t size, access_kind kind, unsigned directions, const void* program_counter) {
    tracer& trace = the_tracer();
    const auto address = reinterpret_cast<uintptr_t>(memory);
    // Most accesses are to the threads' own stacks.
    if (address - trace.stacks_begin < trace.stacks_size || size == 0 || !is_thread_running()) {
        return;
    }
    memory_block* const block = trace.memory.find(address);
    if (block == nullptr) {
        if (!is_constant_or_machine(trace, address, program_counter)) {
            const int32_t location = location_of(program_counter);
            fail_unless_suspicious(trace, [&] { return describe_unknown_address(address, size, kind, location); });
        }
        return;
    }
    if (trace.suspicion && ++trace.suspicion->num_accesses_since > most_accesses_under_suspicion) {
        fail_with(trace, [&] { return describe_suspicion(trace); });
    }
    const thread_state& thread = current();
    const int32_t location = location_of(program_counter);
    const std::size_t offset = address - block->begin;
    if (offset >= block->size || size > block->size - offset) {
        fail_unless_suspicious(trace, [&] { return describe_overrun(*block, address, size, kind, location); });
    }
    if (is_write(kind) && !block->is_writable) {
        fail_unless_suspicious(trace, [&] { return describe_write_to_constant(*block, offset, location); });
    }
    if (block->accesses) {
        timeline& time = trace.time(block->space);
        const event now{.moment = time.now(thread), .location = location};
        if (block->written) {
            check_is_written(trace, *block, offset, size, directions, now);
        }
        if (const auto found = block->accesses->access(offset, size, kind, now, time)) {
            fail_with(trace, [&] { return describe_race(*block, *found, kind, now, time); });
        }
    }
    const memory_block::part& part = block->parts.size() == 1 ? block->parts.front() : block->part_at(offset);
    trace.simdgroups[thread.simdgroup].add(thread.lane, location, part.traffic, offset - part.begin, size, directions);
}

void launch_begin(const std::vector<region>& buffers, std::byte* stacks, std::size_t size_of_stacks) {
    tracer& trace = the_tracer();
    trace.stacks_begin = reinterpret_cast<uintptr_t>(stacks);
    trace.stacks_size = size_of_stacks;
    trace.kernels = {};
    trace.barriers.clear();
    trace.suspicion.reset();
    trace.memory.begin(buffers);
    trace.traffic.clear();
    for (const auto& block : trace.memory.blocks()) {
        count_parts(trace, *block);
    }
    for (timeline& time : trace.timelines) {
        time.restart();
    }
    for (simdgroup_accesses& accesses : trace.simdgroups) {
        accesses.discard(); // what an earlier launch left that ended in an error
    }
    forget_locations();
}

void threadgroup_memory(const region& memory) {
    tracer& trace = the_tracer();
    count_parts(trace, trace.memory.add_threadgroup_memory(memory));
}

void threadgroup_begin() {
    tracer& trace = the_tracer();
    for (const auto& block : trace.memory.blocks()) {
        if (block->space == address_space::threadgroup) {
            block->accesses->forget();
            block->written->forget();
        }
    }
    trace.time(address_space::device).threadgroup_begin(true);
    trace.time(address_space::threadgroup).threadgroup_begin(false);
}

std::string threadgroup_end() {
    tracer& trace = the_tracer();
    if (trace.suspicion) {
        return describe_suspicion(trace);
    }
    for (simdgroup_accesses& accesses : trace.simdgroups) {
        accesses.fold(trace.traffic);
    }
    for (region_traffic& traffic : trace.traffic) {
        traffic.threadgroup_end();
    }
    return "";
}

std::string threadgroup_barrier_completed(uint32_t fenced, const site& where) {
    tracer& trace = the_tracer();
    remember_barrier(trace, where);
    if ((fenced & fence_device) != 0) {
        trace.time(address_space::device).threadgroup_barrier();
    }
    if ((fenced & fence_threadgroup) != 0) {
        if (trace.suspicion) {
            return describe_suspicion(trace);
        }
        trace.time(address_space::threadgroup).threadgroup_barrier();
    }
    return "";
}

void simdgroup_barrier_completed(uint32_t simdgroup, uint32_t fenced, const site& where) {
    tracer& trace = the_tracer();
    remember_barrier(trace, where);
    if ((fenced & fence_device) != 0) {
        trace.time(address_space::device).simdgroup_barrier(simdgroup);
    }
    if ((fenced & fence_threadgroup) != 0) {
        trace.time(address_space::threadgroup).simdgroup_barrier(simdgroup);
    }
}

void simdgroup_converged(uint32_t simdgroup) {
    tracer& trace = the_tracer();
    trace.simdgroups[simdgroup].fold(trace.traffic);
}

// For Python: the counts of the last launch, summed over all memory bound to a buffer, or for -1 all threadgroup
// memory.
extern "C" void metal_host_traffic(int buffer, traffic_counts* result) {
    const tracer& trace = the_tracer();
    *result = {};
    for (const auto& block : trace.memory.blocks()) {
        for (const memory_block::part& part : block->parts) {
            if (part.buffer == buffer) {
                add(*result, trace.traffic[part.traffic].counts());
            }
        }
    }
}

// For Python: the barriers that the last launch reached, one after the other. False: there are no more.
extern "C" bool metal_host_barrier(uint32_t index, const char** file, int* line) {
    const std::vector<site>& barriers = the_tracer().barriers;
    if (index >= barriers.size()) {
        return false;
    }
    *file = barriers[index].file;
    *line = barriers[index].line;
    return true;
}

} // namespace metal_host::trace
