#include "memory.h"

#include <cstring>
#include <new>

namespace gptoss::metal::host {

namespace {

// As device.h promises, and no more: sanitizers see what lies behind the last byte.
constexpr std::align_val_t kAlignment{16};

} // namespace

void Memory::Free::operator()(std::byte* data) const {
    ::operator delete(data, kAlignment);
}

Memory::Memory(size_t num_bytes, std::string label, std::shared_ptr<ByteCount> bytes_in_use)
    : owned_(static_cast<std::byte*>(::operator new(num_bytes, kAlignment))),
      data_(owned_.get()),
      size_(num_bytes),
      label_(std::move(label)),
      bytes_in_use_(std::move(bytes_in_use)) {
    std::memset(data_, 0, size_);
    *bytes_in_use_ += size_;
}

Memory::Memory(std::span<const std::byte> mapped, std::string label)
    // A Buffer has one kind of pointer; Dispatch sees to it that no kernel writes here.
    : data_(const_cast<std::byte*>(mapped.data())), size_(mapped.size()), label_(std::move(label)) {}

Memory::~Memory() {
    if (bytes_in_use_ != nullptr) {
        *bytes_in_use_ -= size_;
    }
}

KeptCopy Memory::keep(const KernelLibrary& library, size_t offset, size_t num_bytes) {
    const std::lock_guard lock(mutex_);
    KeptCopy& kept = kept_[{offset, num_bytes}];
    if (kept == nullptr) {
        kept = library.keep({data_ + offset, num_bytes});
    }
    return kept;
}

} // namespace gptoss::metal::host
