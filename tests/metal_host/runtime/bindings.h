// From a kernel's signature to what the launcher has to check and to pass.
//
// source.py reads the attribute of every parameter and names it here, in order; the C++ types come from the function.
// So `kernel void f(constant Arguments& a [[buffer(0)]], uint i [[thread_position_in_grid]])` is registered as
// make_kernel<&f, attribute::buffer<0>, attribute::thread_position_in_grid>(...).
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "machine.h"

namespace metal_host {

inline constexpr int num_buffer_indices = 31;             // as in Metal: 0 to 30
inline constexpr int num_threadgroup_memory_indices = 31; // as in Metal

// What the arguments of the launch are at, by index; set by the launcher.
struct bound_arguments {
    void* buffers[num_buffer_indices];
    void* threadgroup_memory[num_threadgroup_memory_indices];
};
extern bound_arguments arguments;

enum class parameter_kind : uint32_t { buffer, threadgroup_memory, position };

struct parameter {
    parameter_kind kind;
    int index;        // of buffer or threadgroup memory
    std::size_t size; // bytes that at least have to be there: of the struct behind a reference, else of one element
    std::size_t alignment; // of an element
    bool is_reference;
    bool is_writable;
    bool (*is_present)(); // null: always. Else what [[function_constant(name)]] of the parameter says
    const char* name = "";
};

struct kernel_record {
    const char* name;
    void (*run)(); // for current()
    std::vector<parameter> parameters;
    uint32_t most_threads; // [[max_total_threads_per_threadgroup(n)]], or 0
};

// All of this library.
inline std::vector<kernel_record>& kernel_records() {
    static std::vector<kernel_record> records;
    return records;
}

namespace attribute {

template <class P>
using pointee = std::remove_pointer_t<std::remove_reference_t<P>>;

template <class P>
parameter describe_memory(parameter_kind kind, int index) {
    static_assert(std::is_pointer_v<P> || std::is_reference_v<P>,
                  "a [[buffer]] or [[threadgroup]] parameter must be a pointer or a reference");
    using Element = pointee<P>;
    std::size_t size = 0;
    std::size_t alignment = 1;
    if constexpr (!std::is_void_v<Element>) {
        size = sizeof(Element);
        alignment = alignof(Element);
    }
    return {kind, index, size, alignment, std::is_reference_v<P>, !std::is_const_v<Element>, nullptr};
}

template <class P>
P pass_memory(void* memory) {
    if constexpr (std::is_reference_v<P>) {
        return *static_cast<std::remove_reference_t<P>*>(memory);
    } else {
        return static_cast<P>(memory);
    }
}

template <int index>
struct buffer {
    static_assert(index >= 0 && index < num_buffer_indices, "buffer indices are 0 to 30");
    template <class P>
    static parameter describe() {
        return describe_memory<P>(parameter_kind::buffer, index);
    }
    template <class P>
    METAL_HOST_UNTRACED static P pass() {
        return pass_memory<P>(arguments.buffers[index]);
    }
};

template <int index>
struct threadgroup_memory {
    static_assert(index >= 0 && index < num_threadgroup_memory_indices, "threadgroup memory indices are 0 to 30");
    template <class P>
    static parameter describe() {
        return describe_memory<P>(parameter_kind::threadgroup_memory, index);
    }
    template <class P>
    METAL_HOST_UNTRACED static P pass() {
        return pass_memory<P>(arguments.threadgroup_memory[index]);
    }
};

// A parameter that exists only where a function constant is true: [[buffer(n), function_constant(name)]].
template <class Attribute, class Condition>
struct conditional {
    template <class P>
    static parameter describe() {
        parameter described = Attribute::template describe<P>();
        described.is_present = &Condition::holds;
        return described;
    }
    template <class P>
    METAL_HOST_UNTRACED static P pass() {
        return Attribute::template pass<P>();
    }
};

// What a condition's expression says when the launch has set the function constants.
template <class Expression>
struct condition {
    static bool holds() { return Expression{}(); }
};

// P: ushort or uint, or a vector of two or three of them.
template <class P>
METAL_HOST_UNTRACED P pass_extent(extent value) {
    if constexpr (std::is_integral_v<P>) {
        static_assert(std::is_unsigned_v<P> && (sizeof(P) == 2 || sizeof(P) == 4),
                      "a position's type must be ushort or uint, or a vector of two or three of them");
        return static_cast<P>(value.x);
    } else {
        P vector{};
        vector.x = static_cast<decltype(+vector.x)>(value.x);
        vector.y = static_cast<decltype(+vector.y)>(value.y);
        if constexpr (requires { vector.z; }) {
            vector.z = static_cast<decltype(+vector.z)>(value.z);
        }
        return vector;
    }
}

template <class P, bool only_scalar>
parameter describe_position() {
    static_assert(!only_scalar || std::is_integral_v<P>, "this attribute's type must be ushort or uint");
    return {parameter_kind::position, 0, 0, 1, false, false, nullptr};
}

#define METAL_HOST_POSITION(name, only_scalar, ...)                                  \
    struct name {                                                                    \
        template <class P>                                                           \
        static parameter describe() {                                                \
            return describe_position<P, only_scalar>();                              \
        }                                                                            \
        template <class P>                                                           \
        METAL_HOST_UNTRACED static P pass() {                                        \
            [[maybe_unused]] const thread_state& thread = current();                 \
            [[maybe_unused]] const threadgroup_state& group = current_threadgroup(); \
            return pass_extent<P>(__VA_ARGS__);                                      \
        }                                                                            \
    };

inline extent scalar(uint32_t value) {
    return {value, 0, 0};
}

// By dispatch: of a full threadgroup. The others: of this threadgroup, which is smaller at the edge of a grid of
// threads.
inline uint32_t dispatched_threads(const threadgroup_state& group) {
    return static_cast<uint32_t>(group.threads_per_threadgroup.count());
}

METAL_HOST_POSITION(thread_position_in_grid,
                    false,
                    {group.position.x * group.threads_per_threadgroup.x + thread.position.x,
                     group.position.y* group.threads_per_threadgroup.y + thread.position.y,
                     group.position.z* group.threads_per_threadgroup.z + thread.position.z})
METAL_HOST_POSITION(thread_position_in_threadgroup, false, thread.position)
METAL_HOST_POSITION(thread_index_in_threadgroup, true, scalar(thread.index))
METAL_HOST_POSITION(thread_index_in_simdgroup, true, scalar(thread.lane))
METAL_HOST_POSITION(thread_index_in_quadgroup, true, scalar(thread.index % 4))
METAL_HOST_POSITION(simdgroup_index_in_threadgroup, true, scalar(thread.simdgroup))
METAL_HOST_POSITION(quadgroup_index_in_threadgroup, true, scalar(thread.index / 4))
METAL_HOST_POSITION(threadgroup_position_in_grid, false, group.position)
METAL_HOST_POSITION(threadgroups_per_grid, false, group.threadgroups)
METAL_HOST_POSITION(threads_per_grid, false, group.threads_per_grid)
METAL_HOST_POSITION(threads_per_threadgroup, false, group.threads)
METAL_HOST_POSITION(dispatch_threads_per_threadgroup, false, group.threads_per_threadgroup)
METAL_HOST_POSITION(simdgroups_per_threadgroup, true, scalar(group.num_simdgroups))
METAL_HOST_POSITION(dispatch_simdgroups_per_threadgroup, true, scalar((dispatched_threads(group) + 31) / 32))
METAL_HOST_POSITION(quadgroups_per_threadgroup, true, scalar(static_cast<uint32_t>(group.threads.count() + 3) / 4))
METAL_HOST_POSITION(dispatch_quadgroups_per_threadgroup, true, scalar((dispatched_threads(group) + 3) / 4))
METAL_HOST_POSITION(threads_per_simdgroup, true, scalar(simdgroup_width))
METAL_HOST_POSITION(thread_execution_width, true, scalar(simdgroup_width))

#undef METAL_HOST_POSITION

} // namespace attribute

template <auto function, class... Attributes>
struct kernel_binding;

template <class... Parameters, void (*function)(Parameters...), class... Attributes>
struct kernel_binding<function, Attributes...> {
    static_assert(sizeof...(Parameters) == sizeof...(Attributes), "each parameter of a kernel needs an attribute");

    static void run() { function(Attributes::template pass<Parameters>()...); }

    static std::vector<parameter> parameters() { return {Attributes::template describe<Parameters>()...}; }
};

// Adds a kernel to this library. `names`: of the parameters, in order.
template <auto function, class... Attributes>
bool register_kernel(const char* name, uint32_t most_threads, std::vector<const char*> names) {
    using binding = kernel_binding<function, Attributes...>;
    kernel_record record{name, &binding::run, binding::parameters(), most_threads};
    for (std::size_t i = 0; i < names.size(); ++i) {
        record.parameters[i].name = names[i];
    }
    kernel_records().push_back(record);
    return true;
}

} // namespace metal_host
