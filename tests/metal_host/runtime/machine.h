// What a kernel's thread asks of the machine that runs it: who am I, meet the others, stop with an error.
//
// Every GPU thread is a fiber; one threadgroup runs at a time, and within it one thread at a time, until it reaches a
// point where it has to meet others. This header is all that the shim of the Metal standard library is built upon.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

// Marks what the kernel's translation unit compiles from the machine, so that trace mode does not count it as accesses
// of the kernel. (Not inline on purpose: compilers do not inline across different sanitizer attributes.)
#define METAL_HOST_UNTRACED __attribute__((no_sanitize("thread")))

namespace metal_host {

inline constexpr uint32_t simdgroup_width = 32;

// A call in the kernel's source at which threads meet. Threads that meet must agree on all three.
struct site {
    const char* operation; // as the kernel spells it: "simd_sum"
    const char* file;      // __builtin_FILE() and __builtin_LINE() as default arguments of the shim's functions
    int line;
};

struct extent {
    uint32_t x = 1;
    uint32_t y = 1;
    uint32_t z = 1;
    uint64_t count() const { return uint64_t{x} * y * z; }
};

// Where the running thread is within its threadgroup.
struct thread_state {
    uint32_t index;     // in the threadgroup: x fastest, then y, then z
    uint32_t lane;      // in its simdgroup: index % 32
    uint32_t simdgroup; // in the threadgroup: index / 32
    extent position;    // in the threadgroup
};

// Where the running threadgroup is within the launch.
struct threadgroup_state {
    uint32_t index;          // in the grid: x fastest, then y, then z
    extent position;         // in the grid
    extent threads;          // of this threadgroup: fewer than asked for at the grid's edge after dispatchThreads
    uint32_t num_simdgroups; // of this threadgroup
    extent threads_per_threadgroup; // as dispatched, the same for all threadgroups
    extent threadgroups;            // of the grid
    extent threads_per_grid;
};

// What a barrier orders besides execution: the bits of Metal's mem_flags.
inline constexpr uint32_t fence_none = 0;
inline constexpr uint32_t fence_device = 1;
inline constexpr uint32_t fence_threadgroup = 2;

namespace detail {

inline constexpr std::size_t largest_exchange = 64; // bytes a lane can deposit
inline constexpr std::size_t largest_result = 512;  // bytes that combine() can hand to all lanes

// Where the lanes of one simdgroup leave what they exchange. Two of them, used in turn: a lane that runs ahead into the
// next operation must not overwrite what slower lanes have yet to read from this one.
struct exchange_area {
    alignas(64) std::byte deposits[simdgroup_width * largest_exchange]; // lane i's value at i * sizeof(value)
    alignas(64) std::byte result[largest_result];                       // of combine()
    uint32_t live_mask;                                                 // bit i: lane i took part
    bool has_result;
};

extern thread_state* running; // null while no thread runs
extern threadgroup_state running_threadgroup;

// The area in which the running thread's next simdgroup operation takes place.
exchange_area& begin_exchange();
// Waits until all live lanes of the simdgroup have come here; then the area's live_mask is set.
void finish_exchange(const site& where);

} // namespace detail

// The running thread. Only inside a kernel.
inline const thread_state& current() {
    return *detail::running;
}

// False outside kernels, for instance while the launcher runs.
inline bool is_thread_running() {
    return detail::running != nullptr;
}

inline const threadgroup_state& current_threadgroup() {
    return detail::running_threadgroup;
}

// What all live lanes deposited in one exchange. Valid until this lane's next simdgroup operation.
template <class T>
class lanes {
public:
    explicit lanes(const detail::exchange_area& area) : area_(&area) {}

    // Undefined for lanes that are not live, as on the GPU: ask is_live() first. Indices are taken modulo 32.
    METAL_HOST_UNTRACED T operator[](uint32_t lane) const {
        T value;
        std::memcpy(static_cast<void*>(&value), area_->deposits + (lane % simdgroup_width) * sizeof(T), sizeof(T));
        return value;
    }

    METAL_HOST_UNTRACED bool is_live(uint32_t lane) const {
        return lane < simdgroup_width && (area_->live_mask >> lane & 1u) != 0;
    }

    // Bit i: lane i took part. Lanes that returned from the kernel before this operation completed are missing.
    METAL_HOST_UNTRACED uint32_t live_mask() const { return area_->live_mask; }

private:
    const detail::exchange_area* area_;
};

// Deposits a value, waits for all live lanes of the simdgroup, and lets this lane read what they deposited.
template <class T>
METAL_HOST_UNTRACED lanes<T> exchange(const T& value, const site& where) {
    static_assert(sizeof(T) <= detail::largest_exchange, "a lane can exchange at most 64 bytes");
    detail::exchange_area& area = detail::begin_exchange();
    std::memcpy(area.deposits + current().lane * sizeof(T), static_cast<const void*>(&value), sizeof(T));
    detail::finish_exchange(where);
    return lanes<T>(area);
}

// exchange() followed by a computation whose result is the same for all lanes: only one of them computes it.
// function(const lanes<T>&) returns the result, at most 512 trivially copyable bytes.
template <class T, class Function>
METAL_HOST_UNTRACED auto combine(const T& value, const site& where, Function function) {
    using Result = std::invoke_result_t<Function, const lanes<T>&>;
    static_assert(sizeof(Result) <= detail::largest_result, "combine() can return at most 512 bytes");
    detail::exchange_area& area = detail::begin_exchange();
    std::memcpy(area.deposits + current().lane * sizeof(T), static_cast<const void*>(&value), sizeof(T));
    detail::finish_exchange(where);
    if (!area.has_result) {
        const Result computed = function(lanes<T>(area));
        std::memcpy(area.result, static_cast<const void*>(&computed), sizeof(Result));
        area.has_result = true;
    }
    Result result;
    std::memcpy(static_cast<void*>(&result), area.result, sizeof(Result));
    return result;
}

// Waits for all threads of the threadgroup. It is an error if a thread has returned from the kernel, or waits
// elsewhere. `fenced`: which memory it orders, fence_device | fence_threadgroup; only trace mode distinguishes them.
void threadgroup_barrier(const site& where, uint32_t fenced = fence_device | fence_threadgroup);

// Waits for all live lanes of the simdgroup.
void simdgroup_barrier(const site& where, uint32_t fenced = fence_device | fence_threadgroup);

// Ends the launch with an error: `text` is a sentence without its final full stop; the machine adds the kernel, the
// threadgroup and the thread. Inside a kernel it does not return: the fibers are abandoned where they stand, so nothing
// that owns memory may be alive in the caller.
[[noreturn]] void fail(std::string_view text);

// The same for what a check of the compiler's finds at an instruction.
[[noreturn]] void fail_at(std::string_view text, const void* program_counter, const void* frame);

// The same for an instruction that reads or writes (`access`: "read" or "write") memory that it must not.
[[noreturn]] void fail_access(const char* access, const void* address, const void* program_counter, const void* frame);

// "name.metal:12" for a site.
std::string location(const site& where);

// A mark in an error text for an instruction, "<pc kernels.so 0x1234>"; the Python side replaces it by file and line.
// With the frame that was set up last, as __builtin_frame_address(0) names it, the calls that lead there follow, so
// that the place in a function of the shim can be named by the kernel's line that calls it.
std::string code_location(const void* program_counter, const void* frame = nullptr);

} // namespace metal_host
