// Barriers. MSL, 6.9.1 "Threadgroup and SIMD-Group Synchronization Functions".
#pragma once

#include "caller.h"

namespace metal {

enum class mem_flags : uint32_t {
    mem_none = metal_host::fence_none,
    mem_device = metal_host::fence_device,
    mem_threadgroup = metal_host::fence_threadgroup,
    mem_texture = 4, // orders nothing here: there are no textures
};
constexpr mem_flags operator|(mem_flags a, mem_flags b) {
    return static_cast<mem_flags>(static_cast<uint32_t>(a) | static_cast<uint32_t>(b));
}

namespace detail {

constexpr uint32_t fences(mem_flags flags) {
    return static_cast<uint32_t>(flags) & (metal_host::fence_device | metal_host::fence_threadgroup);
}

} // namespace detail

inline void threadgroup_barrier(mem_flags flags, metal_host::caller caller = metal_host::caller::here()) {
    metal_host::threadgroup_barrier(caller.at("threadgroup_barrier"), detail::fences(flags));
}

inline void simdgroup_barrier(mem_flags flags, metal_host::caller caller = metal_host::caller::here()) {
    metal_host::simdgroup_barrier(caller.at("simdgroup_barrier"), detail::fences(flags));
}

} // namespace metal
