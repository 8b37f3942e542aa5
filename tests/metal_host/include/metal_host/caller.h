// Where in the kernel's source an operation is called: what barriers and simdgroup operations take as their last,
// defaulted argument. here() is evaluated at the call that leaves the argument out.
#pragma once

#include "../../runtime/machine.h"

namespace metal_host {

struct caller {
    const char* file;
    int line;

    static constexpr caller here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
        return caller{file, line};
    }
    site at(const char* operation) const { return site{operation, file, line}; }
};

// Ends the launch because an operation was asked for something that the GPU leaves undefined: "simd_shuffle at
// x.metal:12 reads lane 40; a simdgroup has lanes 0 to 31". `problem` has at most one %u, for `number`.
[[noreturn]] METAL_HOST_UNTRACED inline void fail_at(const site& where, const char* problem, unsigned number = 0) {
    char text[512];
    int length = __builtin_snprintf(text, sizeof(text), "%s at %s ", where.operation, location(where).c_str());
    length += __builtin_snprintf(text + length, sizeof(text) - static_cast<std::size_t>(length), problem, number);
    fail(std::string_view(text, static_cast<std::size_t>(length)));
}

} // namespace metal_host
