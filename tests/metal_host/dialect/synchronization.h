// Barriers and memory flags (<metal_compute>).
#pragma once

#include "types.h"

namespace metal {

enum class mem_flags {
    mem_none = 0,
    mem_device = 1,
    mem_threadgroup = 2,
    mem_texture = 4,
    mem_threadgroup_imageblock = 8
};
constexpr mem_flags operator|(mem_flags a, mem_flags b) {
    return mem_flags(int(a) | int(b));
}

void threadgroup_barrier(mem_flags);
void simdgroup_barrier(mem_flags);

} // namespace metal
