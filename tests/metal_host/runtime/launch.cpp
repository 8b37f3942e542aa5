#include "launch.h"

#include <algorithm>
#include <memory>
#include <mutex>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "bindings.h"
#include "device_buffers.h"
#include "faults.h"
#include "generator.h"
#include "scheduler.h"
#include "threadgroup_memory.h"
#include "trace.h"

namespace metal_host {

bound_arguments arguments;

namespace {

using text = std::string;

text number(uint64_t value) {
    return std::to_string(value);
}

text triple(const extent& e) {
    return "(" + number(e.x) + ", " + number(e.y) + ", " + number(e.z) + ")";
}

extent to_extent(const uint32_t (&values)[3]) {
    return {values[0], values[1], values[2]};
}

constexpr uint64_t most_threadgroups = 1u << 28; // their order is kept in memory

// An error that prevents the launch.
struct launch_error {
    text message;
};

const kernel_record& find_kernel(const std::vector<kernel_record>& kernels, const text& name) {
    for (const kernel_record& kernel : kernels) {
        if (kernel.name == name) {
            return kernel;
        }
    }
    text names;
    for (const kernel_record& kernel : kernels) {
        names += text(names.empty() ? "" : ", ") + kernel.name;
    }
    throw launch_error{"there is no kernel " + name + " in this library; it has: " + names};
}

void set_constants(const std::vector<constant_record>& records, std::span<const constant_value> values) {
    for (const constant_value& given : values) {
        if (std::none_of(records.begin(), records.end(), [&](const auto& r) { return r.index == given.index; })) {
            throw launch_error{"there is no function constant " + number(given.index) + " in this library"};
        }
    }
    for (const constant_record& record : records) {
        const auto given =
            std::find_if(values.begin(), values.end(), [&](const auto& g) { return record.index == g.index; });
        if (!record.assign(given != values.end() ? &*given : nullptr)) {
            throw launch_error{"the value for function constant " + number(given->index) + " (" + record.name +
                               ") does not fit its type"};
        }
    }
}

void check_grid(const kernel_record& kernel, const extent& grid, const extent& threads) {
    if (grid.count() == 0) {
        throw launch_error{"the grid " + triple(grid) + " is empty: every dimension must be at least 1"};
    }
    if (uint64_t{grid.x} * threads.x >> 32 != 0 || uint64_t{grid.y} * threads.y >> 32 != 0 ||
        uint64_t{grid.z} * threads.z >> 32 != 0) {
        throw launch_error{"a grid of " + triple(grid) + " threadgroups of " + triple(threads) +
                           " threads has positions that do not fit 32 bits"};
    }
    if (threads.count() == 0) {
        throw launch_error{"a threadgroup of " + triple(threads) +
                           " threads is empty: every dimension must be at least 1"};
    }
    if (threads.count() > most_threads_per_threadgroup) {
        throw launch_error{"a threadgroup of " + triple(threads) + " = " + number(threads.count()) +
                           " threads is larger than the 1024 there can be"};
    }
    if (kernel.most_threads != 0 && threads.count() > kernel.most_threads) {
        throw launch_error{"a threadgroup of " + triple(threads) + " = " + number(threads.count()) +
                           " threads is larger than the kernel's max_total_threads_per_threadgroup(" +
                           number(kernel.most_threads) + ")"};
    }
}

bool is_present(const parameter& p) {
    return p.is_present == nullptr || p.is_present();
}

text describe(const parameter& p) {
    return text(p.kind == parameter_kind::buffer ? "buffer " : "threadgroup memory ") + std::to_string(p.index) +
           " ('" + p.name + "')";
}

std::vector<device_buffers::binding> check_buffers(const kernel_record& kernel, const metal_host_buffer* buffers) {
    std::vector<device_buffers::binding> bindings;
    bool used[num_buffer_indices] = {};
    for (const parameter& p : kernel.parameters) {
        if (p.kind != parameter_kind::buffer || !is_present(p)) {
            continue;
        }
        const metal_host_buffer& given = buffers[p.index];
        used[p.index] = true;
        if (given.is_given == 0) {
            throw launch_error{describe(p) + " is missing: give it an array, or None to leave it unbound"};
        }
        if (given.data == nullptr) {
            continue;
        }
        if (p.is_reference && given.size < p.size) {
            throw launch_error{describe(p) + " has " + number(given.size) +
                               " bytes, but the kernel reads a struct of " + number(p.size)};
        }
        if (p.is_writable && given.is_writable == 0) {
            throw launch_error{describe(p) +
                               " is written by the kernel (it is not `constant` or `const`), but its memory "
                               "is read-only: give it a writable numpy array"};
        }
        if (reinterpret_cast<uintptr_t>(given.data) % p.alignment != 0) {
            throw launch_error{describe(p) + " is at an address that is not a multiple of " + number(p.alignment) +
                               " bytes, as its elements need"};
        }
        bindings.push_back({p.index, static_cast<std::byte*>(given.data), given.size, p.is_writable, p.name,
                            reinterpret_cast<const guarded_copy*>(given.kept)});
    }
    for (int i = 0; i < num_buffer_indices; ++i) {
        if (buffers[i].is_given != 0 && !used[i] && buffers[i].data != nullptr) {
            throw launch_error{"there is no buffer " + std::to_string(i) + " in the kernel's signature"};
        }
    }
    return bindings;
}

void add_threadgroup_arguments(const kernel_record& kernel, const int64_t* sizes) {
    threadgroup_memory& memory = the_threadgroup_memory();
    bool used[num_threadgroup_memory_indices] = {};
    for (const parameter& p : kernel.parameters) {
        if (p.kind != parameter_kind::threadgroup_memory || !is_present(p)) {
            continue;
        }
        used[p.index] = true;
        const int64_t size = sizes[p.index];
        if (size < 0) {
            throw launch_error{describe(p) + " is missing: give its size in bytes"};
        }
        if (size == 0 || size % 16 != 0) {
            throw launch_error{describe(p) + " of " + std::to_string(size) +
                               " bytes: the size must be a positive multiple of 16"};
        }
        if (p.is_reference && static_cast<std::size_t>(size) < p.size) {
            throw launch_error{describe(p) + " has " + std::to_string(size) + " bytes, but the kernel uses a type of " +
                               number(p.size)};
        }
        arguments.threadgroup_memory[p.index] = memory.add(p.name, static_cast<std::size_t>(size), 16);
        if (arguments.threadgroup_memory[p.index] == nullptr) {
            throw launch_error{memory.error()};
        }
    }
    for (int i = 0; i < num_threadgroup_memory_indices; ++i) {
        if (sizes[i] >= 0 && !used[i]) {
            throw launch_error{"there is no threadgroup memory " + std::to_string(i) + " in the kernel's signature"};
        }
    }
}

// The threadgroup at a position of the grid; smaller than dispatched where a grid of threads ends in it.
threadgroup_state make_threadgroup(uint32_t index,
                                   const extent& threadgroups,
                                   const extent& threads_per_threadgroup,
                                   const extent& threads_per_grid) {
    threadgroup_state group{};
    group.index = index;
    group.position = {index % threadgroups.x, index / threadgroups.x % threadgroups.y,
                      index / threadgroups.x / threadgroups.y};
    const auto size_at = [](uint32_t position, uint32_t size, uint32_t all) {
        return std::min(size, all - position * size);
    };
    group.threads = {size_at(group.position.x, threads_per_threadgroup.x, threads_per_grid.x),
                     size_at(group.position.y, threads_per_threadgroup.y, threads_per_grid.y),
                     size_at(group.position.z, threads_per_threadgroup.z, threads_per_grid.z)};
    group.num_simdgroups = static_cast<uint32_t>(group.threads.count() + simdgroup_width - 1) / simdgroup_width;
    group.threads_per_threadgroup = threads_per_threadgroup;
    group.threadgroups = threadgroups;
    group.threads_per_grid = threads_per_grid;
    return group;
}

// Runs the threadgroups one after the other. Returns the error, or an empty string.
text run_threadgroups(const metal_host_launch_request& request, const device_buffers& buffers) {
    scheduler& machine = the_scheduler();
    threadgroup_memory& memory = the_threadgroup_memory();
    const extent grid = to_extent(request.grid);
    const extent threads = to_extent(request.threads_per_threadgroup);
    extent threadgroups = grid;
    extent threads_per_grid{grid.x * threads.x, grid.y * threads.y, grid.z * threads.z};
    if (request.counts_threads != 0) {
        const auto divide = [](uint32_t all, uint32_t each) { return (all - 1) / each + 1; };
        threadgroups = {divide(grid.x, threads.x), divide(grid.y, threads.y), divide(grid.z, threads.z)};
        threads_per_grid = grid;
    }
    if (threadgroups.count() > most_threadgroups) {
        return "the grid has " + number(threadgroups.count()) + " threadgroups, more than this machine can run";
    }
    std::vector<uint32_t> order(threadgroups.count());
    std::iota(order.begin(), order.end(), 0u);
    if (request.is_random != 0) {
        generator random(request.seed);
        for (uint32_t i = static_cast<uint32_t>(order.size()); i > 1; --i) {
            std::swap(order[i - 1], order[random.below(i)]);
        }
    }
    for (const uint32_t index : order) {
        memory.poison();
#if METAL_HOST_TRACE
        trace::threadgroup_begin();
#endif
        if (!machine.run(make_threadgroup(index, threadgroups, threads, threads_per_grid))) {
            return machine.error();
        }
#if METAL_HOST_TRACE
        if (const text error = trace::threadgroup_end(); !error.empty()) {
            machine.stop(error);
            return machine.error();
        }
#endif
        text damage = memory.check_guards();
        damage = damage.empty() ? buffers.check_guards() : damage;
        if (!damage.empty()) {
            machine.stop(damage);
            return machine.error();
        }
    }
    return "";
}

#if METAL_HOST_TRACE
void begin_trace(const device_buffers& buffers) {
    std::vector<trace::region> regions;
    for (std::size_t i = 0; i < buffers.bindings().size(); ++i) {
        const device_buffers::binding& b = buffers.bindings()[i];
        regions.push_back({buffers.address(i), b.size, guarded_copy::guard_size, guarded_copy::guard_size, b.index,
                           b.name.c_str(), b.writable});
    }
    const stack_pool& stacks = the_scheduler().stacks();
    trace::launch_begin(regions, stacks.begin(), stacks.size());
}
#endif

text launch(const kernel_record& kernel,
            const std::vector<constant_record>& constants,
            const metal_host_launch_request& request) {
    set_constants(constants, {request.constants, request.num_constants});
    check_grid(kernel, to_extent(request.grid), to_extent(request.threads_per_threadgroup));
    device_buffers buffers(check_buffers(kernel, request.buffers));
    arguments = {};
    for (std::size_t i = 0; i < buffers.bindings().size(); ++i) {
        arguments.buffers[buffers.bindings()[i].index] = buffers.address(i);
    }
    const skipped_barrier skip{request.skipped_file != nullptr ? request.skipped_file : "", request.skipped_line};
    the_scheduler().begin_launch(kernel.name, kernel.run, request.skipped_file != nullptr ? &skip : nullptr,
                                 request.is_random != 0 ? std::optional<uint64_t>(request.seed) : std::nullopt);
    the_threadgroup_memory().begin_launch();
#if METAL_HOST_TRACE
    begin_trace(buffers);
#endif
    text error;
    try {
        add_threadgroup_arguments(kernel, request.threadgroup_memory);
        const fault_handler faults([&](const void* address) { return buffers.describe(address); });
        error = run_threadgroups(request, buffers);
    } catch (const launch_error& e) {
        error = "kernel " + text(kernel.name) + ": " + e.message;
    }
    the_threadgroup_memory().end_launch();
    if (error.empty()) {
        buffers.copy_back();
    }
    return error;
}

void describe_kernel(const kernel_record& kernel,
                     const std::vector<constant_record>& constants,
                     std::span<const constant_value> values,
                     metal_host_signature& signature) {
    set_constants(constants, values);
    signature.most_threads = kernel.most_threads != 0 ? kernel.most_threads : most_threads_per_threadgroup;
    signature.num_parameters = 0;
    for (const parameter& p : kernel.parameters) {
        if (p.kind != parameter_kind::position && is_present(p)) {
            signature.parameters[signature.num_parameters++] = {p.kind == parameter_kind::threadgroup_memory,
                                                                static_cast<uint32_t>(p.index), p.is_writable, p.name};
        }
    }
}

// There is one machine, and function constants are variables of the kernels' library.
std::mutex one_at_a_time;

// Calls `call` for a kernel. Returns its error, or null.
template <class Call>
const char* with_kernel(const void* kernels, const void* constants, const char* kernel, Call call) {
    static thread_local std::string error;
    const std::lock_guard lock(one_at_a_time);
    try {
        const kernel_record& record = find_kernel(*static_cast<const std::vector<kernel_record>*>(kernels), kernel);
        try {
            error = call(record, *static_cast<const std::vector<constant_record>*>(constants));
        } catch (const launch_error& e) {
            error = "kernel " + std::string(kernel) + ": " + e.message;
        }
    } catch (const launch_error& e) {
        error = e.message;
    } catch (const std::bad_alloc&) {
        error = "kernel " + std::string(kernel) + ": there is not enough memory for the copies of its buffers";
    }
    return error.empty() ? nullptr : error.c_str();
}

} // namespace
} // namespace metal_host

const char* metal_host_launch(const void* kernels,
                              const void* constants,
                              const char* kernel,
                              const metal_host_launch_request* request) {
    using namespace metal_host;
    return with_kernel(kernels, constants, kernel,
                       [&](const kernel_record& record, const std::vector<constant_record>& constant_records) {
                           return launch(record, constant_records, *request);
                       });
}

uint64_t metal_host_switches() {
    return metal_host::the_scheduler().num_switches();
}

const char* metal_host_describe(const void* kernels,
                                const void* constants,
                                const char* kernel,
                                const metal_host::constant_value* values,
                                uint64_t num_values,
                                metal_host_signature* signature) {
    using namespace metal_host;
    return with_kernel(kernels, constants, kernel,
                       [&](const kernel_record& record, const std::vector<constant_record>& constant_records) {
                           describe_kernel(record, constant_records, {values, num_values}, *signature);
                           return text();
                       });
}

const metal_host_kept* metal_host_keep(const void* data, uint64_t size) {
    try {
        auto copy = std::make_unique<metal_host::guarded_copy>(static_cast<const std::byte*>(data), size);
        copy->forbid_writes();
        return reinterpret_cast<const metal_host_kept*>(copy.release());
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

void metal_host_release(const metal_host_kept* kept) {
    delete reinterpret_cast<const metal_host::guarded_copy*>(kept);
}
