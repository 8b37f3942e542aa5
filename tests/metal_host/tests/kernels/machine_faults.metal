// Kernels that go wrong in one thread: they access memory that is not theirs, or compute what is not defined.
#include <metal_stdlib>

using namespace metal;

kernel void copy(device const float* input [[buffer(0)]],  // [n]
                 device float* output [[buffer(1)]],       // [n]
                 constant int& input_offset [[buffer(2)]], // elements, added to the thread's position
                 constant int& output_offset [[buffer(3)]],
                 uint i [[thread_position_in_grid]]) {
    const float value = input[int(i) + input_offset]; // read
    output[int(i) + output_offset] = value;           // write
}

kernel void copy_vectors(device const float4* input [[buffer(0)]], // [n]
                         device float4* output [[buffer(1)]],      // [n]
                         uint i [[thread_position_in_grid]]) {
    const float4 value = input[i]; // read of a vector
    output[i] = value;             // write of a vector
}

kernel void threadgroup_overrun(device float* output [[buffer(0)]],               // [1]
                                constant int& index [[buffer(1)]],                // of both arrays
                                threadgroup float* argument [[threadgroup(0)]]) { // [4]
    threadgroup float declared[4];
    declared[0] = 1;
    argument[0] = 2;
    threadgroup float* pointer = declared;
    output[0] = pointer[0] + argument[0];
    pointer[index] = 3; // write of a variable
}

kernel void argument_overrun(device float* output [[buffer(0)]], // [1]
                             constant int& index [[buffer(1)]],
                             threadgroup float* argument [[threadgroup(0)]]) { // [4]
    argument[0] = 2;
    argument[index] = 3; // write of an argument
    output[0] = argument[0];
}

kernel void through_a_null_pointer(device const float* input [[buffer(0)]], device float* output [[buffer(1)]]) {
    output[0] = input[5]; // null
}

kernel void divide(device const int* input [[buffer(0)]], device int* output [[buffer(1)]]) { // [2], [1]
    output[0] = input[0] / input[1];                                                          // division
}

struct Large {
    float values[100000];
};

kernel void large_array(device float* output [[buffer(0)]], constant uint& index [[buffer(1)]]) {
    Large large;
    for (uint i = 0; i < 100000; ++i) {
        large.values[i] = output[0] + float(i);
    }
    output[0] = large.values[index];
}

// ---- Only UndefinedBehaviorSanitizer and the compiler's own red zones find these: asan mode -------------------

kernel void shift(device const int* input [[buffer(0)]], device int* output [[buffer(1)]]) { // [2], [1]
    output[0] = input[0] << input[1];                                                        // shift
}

kernel void add(device const int* input [[buffer(0)]], device int* output [[buffer(1)]]) { // [2], [1]
    output[0] = input[0] + input[1];                                                       // addition
}

kernel void convert(device const float* input [[buffer(0)]], device int* output [[buffer(1)]]) { // [1], [1]
    output[0] = int(input[0]);                                                                   // conversion
}

kernel void own_array(device const int* input [[buffer(0)]], device int* output [[buffer(1)]]) { // [2], [1]
    int own[4] = {1, 2, 3, 4};
    output[0] = own[input[0]]; // own array
}

kernel void misaligned(device const uint* input [[buffer(0)]], device uint4* output [[buffer(1)]]) { // [8], [1]
    output[0] = *reinterpret_cast<device const uint4*>(input + 1);                                   // misaligned
}
