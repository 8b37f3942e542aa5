#include "machine.h"

#include <dlfcn.h>

#include <cstdlib>

#include "faults.h"
#include "scheduler.h"

namespace metal_host {

namespace detail {

exchange_area& begin_exchange() {
    return the_scheduler().begin_exchange();
}

void finish_exchange(const site& where) {
    the_scheduler().meet_simdgroup(where, std::nullopt);
}

} // namespace detail

void threadgroup_barrier(const site& where, uint32_t fenced) {
    the_scheduler().meet_threadgroup(where, fenced);
}

void simdgroup_barrier(const site& where, uint32_t fenced) {
    the_scheduler().meet_simdgroup(where, fenced);
}

void fail(std::string_view text) {
    the_scheduler().stop(text);
    std::abort(); // outside kernels nothing may call this
}

void fail_at(std::string_view text, const void* program_counter, const void* frame) {
    fail(std::string(text) + " at " + code_location(program_counter, frame));
}

void fail_access(const char* access, const void* address, const void* program_counter, const void* frame) {
    fail_at(access + (" of " + describe_address(address)), program_counter, frame);
}

std::string location(const site& where) {
    const std::string_view file = where.file;
    const std::size_t slash = file.rfind('/');
    return std::string(slash == std::string_view::npos ? file : file.substr(slash + 1)) + ":" +
           std::to_string(where.line);
}

std::string code_location(const void* program_counter, const void* frame) {
    Dl_info library{};
    dladdr(program_counter, &library);
    std::string mark = "<pc " + std::string(library.dli_fname != nullptr ? library.dli_fname : "?");
    const auto add = [&](const void* address) {
        const auto offset = reinterpret_cast<uintptr_t>(address) - reinterpret_cast<uintptr_t>(library.dli_fbase);
        char text[32];
        std::snprintf(text, sizeof text, " 0x%zx", static_cast<std::size_t>(offset));
        mark += text;
    };
    add(program_counter);
    // A frame starts with the address of its caller's frame, and then has the address to return to. The first frame is
    // that of the function which the instruction calls.
    const stack_pool& stacks = the_scheduler().stacks();
    const auto* link = static_cast<const void* const*>(frame);
    for (bool is_first = true; link != nullptr && stacks.contains(link) && stacks.contains(link + 1);
         is_first = false) {
        Dl_info caller{};
        if (dladdr(link[1], &caller) == 0 || caller.dli_fbase != library.dli_fbase) {
            break; // back in the machine
        }
        if (!is_first) {
            add(static_cast<const char*>(link[1]) - 1);
        }
        const auto* next = static_cast<const void* const*>(link[0]);
        if (next <= link) {
            break;
        }
        link = next;
    }
    return mark + ">";
}

} // namespace metal_host
