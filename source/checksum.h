// CRC-32 as zip, gzip and PNG have it: the reflected polynomial 0xEDB88320.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace gptoss {

namespace checksum {

// What each byte at the end of eight adds: entry [n] is of a byte with n zeros behind it.
constexpr std::array<std::array<uint32_t, 256>, 8> kTables = [] {
    std::array<std::array<uint32_t, 256>, 8> tables = {};
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t value = byte;
        for (int bit = 0; bit < 8; bit++) {
            value = (value >> 1) ^ ((value & 1) != 0 ? 0xEDB88320u : 0u);
        }
        tables[0][byte] = value;
    }
    for (size_t n = 1; n < tables.size(); n++) {
        for (uint32_t byte = 0; byte < 256; byte++) {
            tables[n][byte] = (tables[n - 1][byte] >> 8) ^ tables[0][tables[n - 1][byte] & 0xFF];
        }
    }
    return tables;
}();

} // namespace checksum

// Eight bytes at a time: a header of 4 MB is done in a few milliseconds.
inline uint32_t crc32(std::span<const std::byte> bytes) {
    const auto& tables = checksum::kTables;
    uint32_t value = 0xFFFFFFFFu;
    size_t i = 0;
    for (; i + 8 <= bytes.size(); i += 8) {
        uint32_t next = 0;
        for (size_t j = 0; j < 8; j++) {
            const auto byte = std::to_integer<uint32_t>(bytes[i + j]);
            next ^= tables[7 - j][j < 4 ? byte ^ (value >> (8 * j) & 0xFF) : byte];
        }
        value = next;
    }
    for (; i < bytes.size(); i++) {
        value = (value >> 8) ^ tables[0][(value ^ std::to_integer<uint32_t>(bytes[i])) & 0xFF];
    }
    return ~value;
}

} // namespace gptoss
