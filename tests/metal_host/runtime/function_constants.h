// Function constants: values that a pipeline is specialised by; here they are set anew for every launch.
//
// source.py turns   constant uint size [[function_constant(3)]];
// into              static const uint& size = <the value of a function_constant<uint, 3>>;
// and declares beside it whether it is defined. A constant of the program's scope that is computed from function
// constants becomes a reference to a value that every launch computes anew.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "machine.h"

namespace metal_host {

// What the launcher is given for one index.
struct constant_value {
    uint32_t index;
    uint32_t is_integer; // else `real` holds the value
    int64_t integer;
    double real;
};

// A function constant, or one computed from them, as the launcher sees it.
struct constant_record {
    const char* name;
    int64_t index;                         // -1: computed from others
    bool (*assign)(const constant_value*); // null: not defined. False: the value does not fit the type
};

// All of this library, in the order of their declaration.
inline std::vector<constant_record>& constant_records() {
    static std::vector<constant_record> records;
    return records;
}

// Tag makes each declaration its own, because two libraries' headers may declare the same index with different types.
template <class T, class Tag>
struct function_constant {
    inline static T value{};
    inline static bool defined = false;

    static bool assign(const constant_value* given) {
        defined = given != nullptr;
        // Undefined is not zero: all bits set, unless that is no value of the type.
        std::memset(static_cast<void*>(&value), std::is_same_v<T, bool> ? 0x01 : 0xFF, sizeof value);
        if (!defined) {
            return true;
        }
        if constexpr (std::is_integral_v<T>) {
            value = static_cast<T>(given->integer);
            return given->is_integer != 0 && static_cast<int64_t>(value) == given->integer;
        } else {
            value = static_cast<T>(given->is_integer != 0 ? static_cast<float>(given->integer)
                                                          : static_cast<float>(given->real));
            return true;
        }
    }

    static const T& declare(const char* name, int64_t index) {
        constant_records().push_back({name, index, &assign});
        return value;
    }
};

template <class T, class Compute>
struct computed_constant {
    inline static std::remove_const_t<T> value{};

    static bool assign(const constant_value*) {
        value = Compute::compute();
        return true;
    }

    static const T& declare(const char* name) {
        constant_records().push_back({name, -1, &assign});
        return value;
    }
};

} // namespace metal_host

// A constant's declaration in place of the kernel's, on the same lines. The type comes last: it may contain commas.
#define METAL_HOST_FUNCTION_CONSTANT(name, index, ...)                              \
    struct name##_metal_host_tag;                                                   \
    [[maybe_unused]] static const bool& name##_metal_host_defined =                 \
        metal_host::function_constant<__VA_ARGS__, name##_metal_host_tag>::defined; \
    [[maybe_unused]] static const __VA_ARGS__& name =                               \
        metal_host::function_constant<__VA_ARGS__, name##_metal_host_tag>::declare(#name, index)

// `type name = expression;` becomes METAL_HOST_COMPUTED_CONSTANT(name, type) expression METAL_HOST_COMPUTED_END(name,
// type)
#define METAL_HOST_COMPUTED_CONSTANT(name, ...) \
    struct name##_metal_host_compute {          \
        static __VA_ARGS__ compute() {          \
            return
#define METAL_HOST_COMPUTED_END(name, ...)            \
    ;                                                 \
    }                                                 \
    }                                                 \
    ;                                                 \
    [[maybe_unused]] static const __VA_ARGS__& name = \
        metal_host::computed_constant<__VA_ARGS__, name##_metal_host_compute>::declare(#name)

#define is_function_constant_defined(name) name##_metal_host_defined
