// Rotates the queries and keys of a span of rows, and puts its keys and values into the cache.
//
// For two rows and more; the projection of a single row does the same within itself. A thread has two pairs: one
// 16-byte load, and neighbouring lanes have neighbouring pairs, so a simdgroup reads 4 whole lines. Angles are worked
// out anew for every head: 40 instructions beside 16 bytes of traffic, which is less than reading a table would cost.
#include <metal_stdlib>

#include "arguments.h"
#include "kv_cache.h"
#include "numbers.h"
#include "rope.h"

using namespace metal;
using namespace gptoss_metal;

// Dispatch threads [(num_heads + 2 num_kv_heads) * 16 or more, num_rows].
kernel void rope_and_cache(constant RopeArguments& arguments [[buffer(0)]],
                           device const float4* qkv [[buffer(1)]], // [num_rows, num_heads + 2 num_kv_heads, 16]
                           device const float2* inverse_frequencies [[buffer(2)]], // [16], two pairs each
                           device float4* queries [[buffer(3)]],                   // [num_rows, num_heads, 16]
                           device half4* keys [[buffer(4)]],                       // [capacity, num_kv_heads, 16]
                           device half4* values [[buffer(5)]],                     // [capacity, num_kv_heads, 16]
                           uint2 thread_position [[thread_position_in_grid]]) {
    const uint row = thread_position.y;
    const uint head = thread_position.x / 16;
    const uint quad = thread_position.x % 16; // elements 4 quad to 4 quad + 3 of the head
    const uint first_value_head = arguments.num_heads + arguments.num_kv_heads;
    const uint position = arguments.first_position + row;
    const uint row_quads = (first_value_head + arguments.num_kv_heads) * 16;
    if (thread_position.x >= row_quads) {
        return;
    }

    // Of a span that is longer than the ring, only the rows that survive it are written: no two rows race for a slot.
    const bool is_query = head < arguments.num_heads;
    if (!is_query && arguments.num_rows - row > arguments.capacity) {
        return;
    }

    float4 elements = qkv[ulong(row) * row_quads + thread_position.x];
    if (head < first_value_head) {
        const float2 frequencies = inverse_frequencies[quad];
        elements.xy = rotate_pair(elements.xy, rotation(position, frequencies.x, arguments.concentration));
        elements.zw = rotate_pair(elements.zw, rotation(position, frequencies.y, arguments.concentration));
    }

    if (is_query) {
        queries[(ulong(row) * arguments.num_heads + head) * 16 + quad] = elements;
        return;
    }
    const uint slot = position % arguments.capacity;
    const bool is_key = head < first_value_head;
    const uint kv_head = head - (is_key ? arguments.num_heads : first_value_head);
    device half4* cache = is_key ? keys : values;
    cache[cache_offset(slot, arguments.num_kv_heads, kv_head) / 4 + quad] = float4_to_half4(elements);
}
