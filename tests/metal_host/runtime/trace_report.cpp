#include "trace_report.h"

#include <cstdio>

namespace metal_host::trace {
namespace {

const char* origin_of_locations = nullptr;

std::string place(int32_t location) {
    return code_location(origin_of_locations + location);
}

const char* verb(access_kind kind) {
    switch (kind) {
        case access_kind::read:
            return "reads";
        case access_kind::write:
            return "writes";
        case access_kind::atomic_read:
            return "atomically reads";
        case access_kind::atomic_write:
            return "atomically writes";
    }
    return "";
}

const char* barrier_flag(address_space space) {
    return space == address_space::device ? "mem_flags::mem_device" : "mem_flags::mem_threadgroup";
}

std::string describe(const memory_block::part& part) {
    if (part.buffer < 0) {
        return "threadgroup memory '" + part.name + "'";
    }
    return "buffer " + std::to_string(part.buffer) + " ('" + part.name + "')";
}

std::string describe(const moment& when, address_space space) {
    std::string text = "thread " + std::to_string(when.thread) + " (lane " +
                       std::to_string(when.thread % simdgroup_width) + " of simdgroup " +
                       std::to_string(when.simdgroup) + ")";
    if (space == address_space::device) {
        text += " of threadgroup " + std::to_string(when.threadgroup);
    }
    return text;
}

std::string missing_order(const moment& first, const moment& second, address_space space) {
    if (first.threadgroup != second.threadgroup) {
        return "nothing orders different threadgroups of one launch";
    }
    const std::string flag = barrier_flag(space);
    if (first.simdgroup == second.simdgroup) {
        return "no simdgroup_barrier or threadgroup_barrier with " + flag + " lies between them";
    }
    return "no threadgroup_barrier with " + flag + " lies between them";
}

} // namespace

int32_t location_of(const void* program_counter) {
    const char* const place = static_cast<const char*>(program_counter);
    if (origin_of_locations == nullptr) {
        origin_of_locations = place;
    }
    return static_cast<int32_t>(place - origin_of_locations);
}

void forget_locations() {
    origin_of_locations = nullptr;
}

std::string describe_race(
    const memory_block& block, const conflict& found, access_kind kind, const event& now, const timeline& time) {
    const moment& first = time.at(found.earlier.moment);
    const moment& second = time.at(now.moment);
    const memory_block::part& part = block.part_at(found.offset);
    return "data race on " + describe(part) + ", byte " + std::to_string(found.offset - part.begin) + ": " +
           describe(first, block.space) + " " + verb(found.earlier_kind) + " it at " + place(found.earlier.location) +
           ", " + describe(second, block.space) + " " + verb(kind) + " it at " + place(now.location) + ", and " +
           missing_order(first, second, block.space);
}

std::string describe_overrun(
    const memory_block& block, uintptr_t address, std::size_t size, access_kind kind, int32_t location) {
    const memory_block::part& part = address < block.begin ? block.parts.front() : block.part_at(address - block.begin);
    const auto offset = static_cast<int64_t>(address - (block.begin + part.begin));
    const std::string bytes = size == 1 ? "byte " + std::to_string(offset)
                                        : "bytes " + std::to_string(offset) + " to " +
                                              std::to_string(offset + static_cast<int64_t>(size) - 1);
    return std::string(is_write(kind) ? "write" : "read") + " out of bounds of " + describe(part) + ", which has " +
           std::to_string(part.size) + " bytes: " + bytes + ", at " + place(location);
}

std::string describe_unwritten(const memory_block& block, std::size_t offset, const event& when, const timeline& time) {
    return "uninitialised read of " + describe(block.parts.front()) + ", byte " + std::to_string(offset) +
           ", which no thread of the threadgroup has written before: " + describe(time.at(when.moment), block.space) +
           " reads it at " + place(when.location);
}

std::string describe_write_to_constant(const memory_block& block, std::size_t offset, int32_t location) {
    const memory_block::part& part = block.part_at(offset);
    return "write to " + describe(part) + ", which the kernel declares constant, byte " +
           std::to_string(offset - part.begin) + ", at " + place(location);
}

std::string describe_unknown_address(uintptr_t address, std::size_t size, access_kind kind, int32_t location) {
    char text[32];
    std::snprintf(text, sizeof text, "0x%zx", static_cast<std::size_t>(address));
    return std::string(is_write(kind) ? "write" : "read") + " of " + std::to_string(size) + " bytes at address " +
           text + ", which belongs to no buffer that is bound and to no threadgroup memory, at " + place(location);
}

} // namespace metal_host::trace
