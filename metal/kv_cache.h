// Where a position's keys and values are: fp16 [capacity, num_kv_heads, 64] each, position p in slot p % capacity.
//
// Full blocks have a cache that grows (capacity above every position), sliding blocks a ring that wraps. One layout for
// both, so that kernels need no second form.
#pragma once

#include <metal_stdlib>

namespace gptoss_metal {

using namespace metal;

constant constexpr uint head_size = 64;

// The first element of a head's key (and of its value).
inline ulong cache_offset(uint slot, uint num_kv_heads, uint kv_head) {
    return (ulong(slot) * num_kv_heads + kv_head) * head_size;
}

// The slot `distance` (at most one capacity) after `slot`: no division where slots are walked one by one.
inline uint slot_after(uint slot, uint distance, uint capacity) {
    const uint next = slot + distance;
    return next < capacity ? next : next - capacity;
}

} // namespace gptoss_metal
