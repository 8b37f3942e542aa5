#include "threadgroup_memory.h"

#include <sys/mman.h>

#include <cstring>
#include <new>

#include "guards.h"
#include "machine.h"
#include "trace.h"

namespace metal_host {

namespace {

constexpr std::size_t guard_size = 1024; // a write that misses a variable by up to this is noticed
constexpr std::size_t arena_size = 4 << 20;

} // namespace

threadgroup_memory& the_threadgroup_memory() {
    static threadgroup_memory instance;
    return instance;
}

threadgroup_memory::threadgroup_memory() {
    void* mapping =
        mmap(nullptr, arena_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) {
        throw std::bad_alloc();
    }
    arena_ = static_cast<std::byte*>(mapping);
}

threadgroup_memory::~threadgroup_memory() {
    munmap(arena_, arena_size);
}

void threadgroup_memory::begin_launch() {
    ++launch_;
    variables_.clear();
    error_.clear();
    total_ = 0;
    write_guard(arena_, arena_ + guard_size);
    used_ = guard_size;
}

void threadgroup_memory::end_launch() {
    remove_guard(arena_, arena_ + used_);
}

std::byte* threadgroup_memory::add(const std::string& name, std::size_t size, std::size_t alignment) {
    total_ += size;
    if (total_ > most_threadgroup_memory || used_ + size + alignment + guard_size > arena_size) {
        error_ = "threadgroup memory of " + std::to_string(total_) + " bytes is more than the 32768 there are:";
        for (const variable& v : variables_) {
            error_ += " " + v.name + " " + std::to_string(v.size) + ",";
        }
        error_ += " " + name + " " + std::to_string(size);
        return nullptr;
    }
    const std::size_t multiple = alignment > 16 ? alignment : 16;
    const std::size_t offset = (used_ + multiple - 1) / multiple * multiple;
    write_guard(arena_ + used_, arena_ + offset);
    std::byte* begin = arena_ + offset;
    used_ = (offset + size + guard_size + 15) / 16 * 16;
    write_guard(begin + size, arena_ + used_);
    std::memset(begin, 0xFF, size);
    variables_.push_back({name, begin, size, static_cast<std::size_t>(arena_ + used_ - begin)});
#if METAL_HOST_TRACE
    // Of the zone between two variables, each has the half that is nearer to it.
    const std::size_t guard_after = variables_.back().padded - size - guard_size / 2;
    trace::threadgroup_memory({begin, size, guard_size / 2, guard_after, -1, name.c_str(), true});
#endif
    return begin;
}

void threadgroup_memory::poison() {
    for (const variable& v : variables_) {
        std::memset(v.begin, 0xFF, v.size);
    }
}

std::string threadgroup_memory::check_guards() {
    const std::byte* guard = arena_;
    const std::byte* damaged = nullptr;
    for (const variable& v : variables_) {
        damaged = damaged == nullptr ? damaged_guard(guard, v.begin) : damaged;
        guard = v.begin + v.size;
    }
    damaged = damaged == nullptr ? damaged_guard(guard, arena_ + used_) : damaged;
    return damaged == nullptr
               ? ""
               : "something wrote to " + describe(damaged) + "; in asan or trace mode this names the line";
}

std::string threadgroup_memory::describe(const void* address) const {
    const auto at = static_cast<const std::byte*>(address);
    const variable* nearest = nullptr;
    std::ptrdiff_t distance = 0; // negative: before the variable; positive: beyond its last byte
    for (const variable& v : variables_) {
        const std::ptrdiff_t d = at < v.begin ? at - v.begin : at < v.begin + v.size ? 0 : at - (v.begin + v.size - 1);
        if (nearest == nullptr || std::abs(d) < std::abs(distance)) {
            nearest = &v;
            distance = d;
        }
    }
    if (nearest == nullptr || at < arena_ || at >= arena_ + used_) {
        return "";
    }
    return "byte " + std::to_string(at - nearest->begin) + " of threadgroup memory '" + nearest->name +
           "', which has " + std::to_string(nearest->size) + " bytes";
}

void* threadgroup_variable(threadgroup_declaration& declaration) {
    threadgroup_memory& memory = the_threadgroup_memory();
    if (declaration.launch != memory.launch()) {
        declaration.memory = memory.add(declaration.name, declaration.size, declaration.alignment);
        declaration.launch = memory.launch();
        if (declaration.memory == nullptr) {
            fail(memory.error() + " (" + location({"", declaration.file, declaration.line}) + ")");
        }
    }
    return declaration.memory;
}

} // namespace metal_host
