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

} // namespace metal_host
