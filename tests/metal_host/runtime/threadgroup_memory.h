// Threadgroup memory: variables that kernels declare, and [[threadgroup(n)]] arguments.
//
// Each variable is an allocation of its own between guard zones. When a threadgroup starts, all of it holds 0xFF bytes:
// NaN, and the largest index; when one ends, the guard zones are checked (AddressSanitizer and the tracer check each
// access instead). A kernel has no more than 32,768 bytes of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace metal_host {

inline constexpr std::size_t most_threadgroup_memory = 32768; // bytes

// A `threadgroup` variable of a kernel; one static object for each declaration (and instantiation of a template).
struct threadgroup_declaration {
    std::size_t size;
    std::size_t alignment;
    const char* name;
    const char* file;
    int line;
    void* memory = nullptr;
    uint64_t launch = 0; // in which `memory` was assigned
};

// The memory of a declared variable, the same for all threads that come to the declaration. Only inside a kernel.
void* threadgroup_variable(threadgroup_declaration& declaration);

class threadgroup_memory {
public:
    threadgroup_memory();
    ~threadgroup_memory();
    threadgroup_memory(const threadgroup_memory&) = delete;
    threadgroup_memory& operator=(const threadgroup_memory&) = delete;

    void begin_launch();
    void end_launch();

    // One more variable of this launch. Null when that is more than a threadgroup has; error() then says so.
    std::byte* add(const std::string& name, std::size_t size, std::size_t alignment);
    const std::string& error() const { return error_; }

    uint64_t launch() const { return launch_; }

    // Makes all variables undefined.
    void poison();

    // What was written outside the variables: a sentence, or an empty string.
    std::string check_guards();

    // "byte 64 of threadgroup memory 'x', which has 64 bytes", or nothing for an address that is elsewhere.
    std::string describe(const void* address) const;

private:
    struct variable {
        std::string name;
        std::byte* begin;
        std::size_t size;
        std::size_t padded; // to what ends at the next guard zone
    };

    std::byte* arena_;
    std::size_t used_ = 0; // bytes of the arena, guards included
    std::vector<variable> variables_;
    std::size_t total_ = 0; // bytes of all variables
    uint64_t launch_ = 0;
    std::string error_;
};

threadgroup_memory& the_threadgroup_memory();

} // namespace metal_host
