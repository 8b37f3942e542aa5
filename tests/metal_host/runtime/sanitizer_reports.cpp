// What kernels call in asan mode when a sanitizer finds something: the launch ends with an error, not the process.
//
// The compilers' instrumentation calls these functions by name. Linked into the library of the kernels and hidden
// there, these are found before the sanitizers' own, which print a report and end the process. The addresses that may
// not be accessed are still AddressSanitizer's: guards.h tells it about guard zones, and the compiler about local
// variables.
#include <sanitizer/asan_interface.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "machine.h"

namespace {

// The instruction before the one that the call returns to.
const void* caller(void* return_address) {
    return static_cast<const char*>(return_address) - 1;
}

void check(const char* access, const void* address, std::size_t size, const void* program_counter, const void* frame) {
    if (const void* bad = __asan_region_is_poisoned(const_cast<void*>(address), size)) {
        metal_host::fail_access(access, bad, program_counter, frame);
    }
}

} // namespace

#define METAL_HOST_REPORT extern "C" __attribute__((visibility("hidden")))
// The instruction that calls the function which this is in, and that function's frame.
#define METAL_HOST_PLACE caller(__builtin_return_address(0)), __builtin_frame_address(0)

#define METAL_HOST_ACCESS(SIZE)                                       \
    METAL_HOST_REPORT void __asan_report_load##SIZE(void* address) {  \
        metal_host::fail_access("read", address, METAL_HOST_PLACE);   \
    }                                                                 \
    METAL_HOST_REPORT void __asan_report_store##SIZE(void* address) { \
        metal_host::fail_access("write", address, METAL_HOST_PLACE);  \
    }                                                                 \
    METAL_HOST_REPORT void __asan_load##SIZE(void* address) {         \
        check("read", address, SIZE, METAL_HOST_PLACE);               \
    }                                                                 \
    METAL_HOST_REPORT void __asan_store##SIZE(void* address) {        \
        check("write", address, SIZE, METAL_HOST_PLACE);              \
    }
METAL_HOST_ACCESS(1)
METAL_HOST_ACCESS(2)
METAL_HOST_ACCESS(4)
METAL_HOST_ACCESS(8)
METAL_HOST_ACCESS(16)

METAL_HOST_REPORT void __asan_report_load_n(void* address, std::size_t) {
    metal_host::fail_access("read", address, METAL_HOST_PLACE);
}
METAL_HOST_REPORT void __asan_report_store_n(void* address, std::size_t) {
    metal_host::fail_access("write", address, METAL_HOST_PLACE);
}
METAL_HOST_REPORT void __asan_loadN(void* address, std::size_t size) {
    check("read", address, size, METAL_HOST_PLACE);
}
METAL_HOST_REPORT void __asan_storeN(void* address, std::size_t size) {
    check("write", address, size, METAL_HOST_PLACE);
}
METAL_HOST_REPORT void* __asan_memcpy(void* destination, const void* source, std::size_t size) {
    check("read", source, size, METAL_HOST_PLACE);
    check("write", destination, size, METAL_HOST_PLACE);
    return std::memcpy(destination, source, size);
}
METAL_HOST_REPORT void* __asan_memmove(void* destination, const void* source, std::size_t size) {
    check("read", source, size, METAL_HOST_PLACE);
    check("write", destination, size, METAL_HOST_PLACE);
    return std::memmove(destination, source, size);
}
METAL_HOST_REPORT void* __asan_memset(void* destination, int value, std::size_t size) {
    check("write", destination, size, METAL_HOST_PLACE);
    return std::memset(destination, value, size);
}

// The arguments (the source's location, the operands) are not looked at: the instruction says more, because what is
// inlined there counts as the kernel's line.
#define METAL_HOST_UNDEFINED(NAME, TEXT)             \
    METAL_HOST_REPORT void __ubsan_handle_##NAME() { \
        metal_host::fail_at(TEXT, METAL_HOST_PLACE); \
    }
METAL_HOST_UNDEFINED(add_overflow, "signed integer overflow in an addition")
METAL_HOST_UNDEFINED(sub_overflow, "signed integer overflow in a subtraction")
METAL_HOST_UNDEFINED(mul_overflow, "signed integer overflow in a multiplication")
METAL_HOST_UNDEFINED(negate_overflow, "signed integer overflow in a negation")
METAL_HOST_UNDEFINED(divrem_overflow, "division by zero, or signed integer overflow in a division")
METAL_HOST_UNDEFINED(shift_out_of_bounds, "a shift by more bits than the type has, or by a negative number of bits")
METAL_HOST_UNDEFINED(out_of_bounds, "an index outside of an array")
METAL_HOST_UNDEFINED(type_mismatch_v1, "an access through a null or misaligned pointer")
METAL_HOST_UNDEFINED(alignment_assumption, "an access through a misaligned pointer")
METAL_HOST_UNDEFINED(pointer_overflow, "pointer arithmetic that overflows, or starts from a null pointer")
METAL_HOST_UNDEFINED(float_cast_overflow, "a number outside of the integer type that it is converted to")
METAL_HOST_UNDEFINED(load_invalid_value, "a value that its type (bool or an enumeration) does not have")
METAL_HOST_UNDEFINED(vla_bound_not_positive, "an array whose size is not positive")
METAL_HOST_UNDEFINED(nonnull_arg, "a null pointer where none may be")
METAL_HOST_UNDEFINED(invalid_builtin, "a builtin that counts zeros applied to zero")
METAL_HOST_UNDEFINED(builtin_unreachable, "unreachable code is reached")
METAL_HOST_UNDEFINED(missing_return, "a function that returns a value ends without one")
