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

void fail_at(std::string_view text, const void* program_counter) {
    fail(std::string(text) + " at " + code_location(program_counter));
}

void fail_access(const char* access, const void* address, const void* program_counter) {
    fail_at(access + (" of " + describe_address(address)), program_counter);
}

std::string location(const site& where) {
    const std::string_view file = where.file;
    const std::size_t slash = file.rfind('/');
    return std::string(slash == std::string_view::npos ? file : file.substr(slash + 1)) + ":" +
           std::to_string(where.line);
}

std::string code_location(const void* program_counter) {
    Dl_info library{};
    dladdr(program_counter, &library);
    const auto offset = reinterpret_cast<uintptr_t>(program_counter) - reinterpret_cast<uintptr_t>(library.dli_fbase);
    char text[32];
    std::snprintf(text, sizeof text, " 0x%zx>", static_cast<std::size_t>(offset));
    return "<pc " + std::string(library.dli_fname != nullptr ? library.dli_fname : "?") + text;
}

} // namespace metal_host
