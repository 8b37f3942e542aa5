// Integer functions that test_shim_integer.py's tables leave out.
#include <metal_stdlib>

using namespace metal;

// extract_bits and insert_bits for one field: offset and width are arguments.
kernel void bit_fields(device const uint* values [[buffer(0)]],  // [threads]
                       device const uint2* fields [[buffer(1)]], // [threads]: offset, width
                       device uint* output [[buffer(2)]],        // [threads, 6]
                       uint i [[thread_position_in_grid]]) {
    device uint* results = output + 6 * i;
    const uint value = values[i];
    const uint offset = fields[i].x;
    const uint width = fields[i].y;
    results[0] = extract_bits(value, offset, width);
    results[1] = as_type<uint>(extract_bits(as_type<int>(value), offset, width));
    results[2] = insert_bits(value, 0xA5A5A5A5u, offset, width);
    results[3] = extract_bits(uint2(value, ~value), offset, width).y;
    results[4] = insert_bits(uint2(value), uint2(0, ~0u), offset, width).y;
    results[5] = extract_bits(ulong(value) << 32, offset + 32, width);
}

kernel void differences(device const int* a [[buffer(0)]],
                        device const int* b [[buffer(1)]],
                        device uint* output [[buffer(2)]],
                        uint i [[thread_position_in_grid]]) {
    output[i] = absdiff(a[i], b[i]);
}

// Operations of small types are done in int; their results are small again where they are stored.
kernel void promotions(device const uchar* a [[buffer(0)]],
                       device const uchar* b [[buffer(1)]],
                       device uint* output [[buffer(2)]], // [threads, 4]
                       uint i [[thread_position_in_grid]]) {
    device uint* results = output + 4 * i;
    results[0] = a[i] + b[i];                                  // int
    results[1] = (uchar2(a[i]) + uchar2(b[i])).x;              // uchar
    results[2] = (a[i] << 4) >> 4;                             // int
    results[3] = ((uchar2(a[i]) << uchar2(4)) >> uchar2(4)).y; // uchar
}
