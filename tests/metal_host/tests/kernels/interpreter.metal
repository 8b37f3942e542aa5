// Kernels that do what a buffer says: for tests that compare the tracer with a plain account of the same accesses.
#include <metal_stdlib>
using namespace metal;

struct InterpreterArguments {
    uint num_rounds;
    uint num_steps; // in a round, of each thread
    uint num_bytes; // of the memory that the program is about
};

// One access of one thread. Plain ones are of 1, 2, 4 or 16 bytes at a multiple of their size, atomics of 4.
struct Step {
    uint operation; // 0: nothing, 1: read, 2: write, 3: atomic load, 4: atomic store, 5: atomic add
    uint offset;    // in bytes
    uint size;      // in bytes
};

template <typename Byte, typename Halfword, typename Word, typename Vector, typename Atomic>
uint execute(Step step, Byte bytes, Halfword halfwords, Word words, Vector vectors, Atomic atomics) {
    switch (step.operation) {
        case 1:
            switch (step.size) {
                case 1:
                    return bytes[step.offset];
                case 2:
                    return halfwords[step.offset / 2];
                case 4:
                    return words[step.offset / 4];
                default: {
                    const uint4 all = vectors[step.offset / 16];
                    return all.x + all.y + all.z + all.w;
                }
            }
        case 2:
            switch (step.size) {
                case 1:
                    bytes[step.offset] = 1;
                    break;
                case 2:
                    halfwords[step.offset / 2] = 1;
                    break;
                case 4:
                    words[step.offset / 4] = 1;
                    break;
                default:
                    vectors[step.offset / 16] = uint4(1);
                    break;
            }
            return 0;
        case 3:
            return atomic_load_explicit(&atomics[step.offset / 4], memory_order_relaxed);
        case 4:
            atomic_store_explicit(&atomics[step.offset / 4], 1u, memory_order_relaxed);
            return 0;
        case 5:
            return atomic_fetch_add_explicit(&atomics[step.offset / 4], 1u, memory_order_relaxed);
        default:
            return 0;
    }
}

// The barrier after a round: 0: none, else 1 (of the simdgroup) or 2 (of the threadgroup), with mem_flags * 4.
void meet(uint barrier) {
    if (barrier % 4 == 1) {
        simdgroup_barrier(mem_flags(barrier / 4));
    } else if (barrier % 4 == 2) {
        threadgroup_barrier(mem_flags(barrier / 4));
    }
}

kernel void interpret_in_device_memory(constant InterpreterArguments& arguments [[buffer(0)]],
                                       const device Step* steps [[buffer(1)]],    // [threads, rounds, steps]
                                       const device uint* barriers [[buffer(2)]], // [rounds]
                                       device uint* memory [[buffer(3)]],         // [bytes / 4]
                                       device uint* results [[buffer(4)]],        // [threads]
                                       uint position [[thread_position_in_grid]]) {
    uint result = 0;
    for (uint round = 0; round < arguments.num_rounds; round++) {
        for (uint i = 0; i < arguments.num_steps; i++) {
            const Step step = steps[(position * arguments.num_rounds + round) * arguments.num_steps + i];
            result +=
                execute(step, reinterpret_cast<device uchar*>(memory), reinterpret_cast<device ushort*>(memory), memory,
                        reinterpret_cast<device uint4*>(memory), reinterpret_cast<device atomic_uint*>(memory));
        }
        meet(barriers[round]);
    }
    results[position] = result;
}

kernel void interpret_in_threadgroup_memory(constant InterpreterArguments& arguments [[buffer(0)]],
                                            const device Step* steps [[buffer(1)]],      // [threads, rounds, steps]
                                            const device uint* barriers [[buffer(2)]],   // [rounds]
                                            threadgroup uint* memory [[threadgroup(0)]], // [bytes / 4]
                                            device uint* results [[buffer(4)]],          // [threads]
                                            uint position [[thread_position_in_grid]],
                                            uint thread_index [[thread_index_in_threadgroup]]) {
    uint result = 0;
    if (thread_index == 0) {
        for (uint i = 0; i < arguments.num_bytes / 4; i++) {
            memory[i] = 0;
        }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (uint round = 0; round < arguments.num_rounds; round++) {
        for (uint i = 0; i < arguments.num_steps; i++) {
            const Step step = steps[(position * arguments.num_rounds + round) * arguments.num_steps + i];
            result += execute(step, reinterpret_cast<threadgroup uchar*>(memory),
                              reinterpret_cast<threadgroup ushort*>(memory), memory,
                              reinterpret_cast<threadgroup uint4*>(memory),
                              reinterpret_cast<threadgroup atomic_uint*>(memory));
        }
        meet(barriers[round]);
    }
    results[position] = result;
}
