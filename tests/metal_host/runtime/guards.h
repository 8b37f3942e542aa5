// Bytes around memory that kernels use, which nothing may write to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if METAL_HOST_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace metal_host {

// NaN as float, half and bfloat, and hardly a number that a kernel writes.
inline constexpr uint16_t guard_pattern = 0xFFF5;

// Fills [begin, end) with the pattern; under AddressSanitizer also forbids to access it.
inline void write_guard(std::byte* begin, std::byte* end) {
    for (std::byte* byte = begin; byte < end; ++byte) {
        *byte = static_cast<std::byte>(guard_pattern >> (reinterpret_cast<uintptr_t>(byte) % 2 * 8));
    }
#if METAL_HOST_ASAN
    __asan_poison_memory_region(begin, static_cast<std::size_t>(end - begin));
#endif
}

// The first byte that is not the pattern's, or null. Looked at after every threadgroup, so eight bytes at a time.
inline const std::byte* damaged_guard([[maybe_unused]] const std::byte* begin, [[maybe_unused]] const std::byte* end) {
#if !METAL_HOST_ASAN // where each access is checked
    const auto is_damaged = [](const std::byte* byte) {
        return *byte != static_cast<std::byte>(guard_pattern >> (reinterpret_cast<uintptr_t>(byte) % 2 * 8));
    };
    constexpr uint64_t wide_pattern = guard_pattern * uint64_t{0x0001000100010001};
    const std::byte* byte = begin;
    while (byte < end) {
        uint64_t word = 0;
        if (reinterpret_cast<uintptr_t>(byte) % 8 == 0 && end - byte >= 8 &&
            (std::memcpy(&word, byte, 8), word == wide_pattern)) {
            byte += 8;
        } else if (is_damaged(byte)) {
            return byte;
        } else {
            ++byte;
        }
    }
#endif
    return nullptr;
}

inline void remove_guard([[maybe_unused]] std::byte* begin, [[maybe_unused]] std::byte* end) {
#if METAL_HOST_ASAN
    __asan_unpoison_memory_region(begin, static_cast<std::size_t>(end - begin));
#endif
}

} // namespace metal_host
