#include "buffers.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstdint>

namespace gptoss::cpu {

void prefer_huge_pages(void* start, size_t num_bytes) {
#if defined(MADV_HUGEPAGE)
    constexpr uintptr_t kHugePage = uintptr_t{2} << 20;
    const uintptr_t address = reinterpret_cast<uintptr_t>(start);
    const uintptr_t first = (address + kHugePage - 1) / kHugePage * kHugePage;
    const uintptr_t last = (address + num_bytes) / kHugePage * kHugePage;
    if (first < last) {
        ::madvise(reinterpret_cast<void*>(first), last - first,
                  MADV_HUGEPAGE); // no is an answer: small ones do as well
    }
#else
    (void)start;
    (void)num_bytes;
#endif
}

} // namespace gptoss::cpu
