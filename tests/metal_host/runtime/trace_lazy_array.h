// An array of zeros whose pages take memory only once they are touched: shadow memory of large buffers.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

namespace metal_host::trace {

template <class T>
class lazy_array {
    static_assert(std::is_trivially_copyable_v<T>);

public:
    lazy_array() = default;
    explicit lazy_array(std::size_t size) : size_(size) {
        if (size == 0) {
            return;
        }
        void* const mapped =
            mmap(nullptr, size * sizeof(T), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (mapped == MAP_FAILED) {
            throw std::bad_alloc();
        }
        elements_ = static_cast<T*>(mapped);
    }
    lazy_array(lazy_array&& other) noexcept
        : elements_(std::exchange(other.elements_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    lazy_array& operator=(lazy_array&& other) noexcept {
        std::swap(elements_, other.elements_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~lazy_array() {
        if (elements_ != nullptr) {
            munmap(elements_, size_ * sizeof(T));
        }
    }

    T& operator[](std::size_t index) { return elements_[index]; }
    const T& operator[](std::size_t index) const { return elements_[index]; }
    std::size_t size() const { return size_; }

private:
    T* elements_ = nullptr;
    std::size_t size_ = 0;
};

} // namespace metal_host::trace
