// Memory of the CPU backend's activations.
#pragma once

#include <cstddef>
#include <vector>

namespace gptoss::cpu {

// Asks for huge pages where the system has them (Linux), for the part of the memory that can be made of them. Has to be
// called before the memory is written to. Kernels go through several rows at once, each on another page: with small
// pages a quarter of such a read is looking up addresses.
void prefer_huge_pages(void* start, size_t num_bytes);

// Resizes to exactly that size: a vector that grows by resize alone may take up to twice as much. What the buffer held
// is lost if it grows.
template <class Element>
void fit(std::vector<Element>& buffer, size_t size) {
    if (size > buffer.capacity()) {
        std::vector<Element>().swap(buffer); // before the new memory is there, and nothing is copied
        buffer.reserve(size);
        prefer_huge_pages(buffer.data(), size * sizeof(Element));
    }
    buffer.resize(size);
}

} // namespace gptoss::cpu
