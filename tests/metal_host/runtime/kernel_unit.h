// Before a kernel's source: the machine, and then the keywords that C++ lacks. After it comes kernel_unit_end.h.
#pragma once

#include <metal_stdlib>
#include <type_traits>
#include <utility>

#include "bindings.h"
#include "function_constants.h"
#include "machine.h"
#include "threadgroup_memory.h"

#define METAL_HOST_UNWRAP(...) __VA_ARGS__

// `threadgroup float x[4][8];` becomes METAL_HOST_THREADGROUP(x, ([4][8]), float);
#define METAL_HOST_THREADGROUP(name, dimensions, ...)                                                       \
    using name##_metal_host_type =                                                                          \
        metal::remove_reference_t<decltype(metal::declval<__VA_ARGS__(&) METAL_HOST_UNWRAP dimensions>())>; \
    static constinit metal_host::threadgroup_declaration name##_metal_host_declaration{                     \
        sizeof(name##_metal_host_type), alignof(name##_metal_host_type), #name, __FILE__, __LINE__};        \
    name##_metal_host_type& name =                                                                          \
        *static_cast<name##_metal_host_type*>(metal_host::threadgroup_variable(name##_metal_host_declaration))

#include "keywords.h"
