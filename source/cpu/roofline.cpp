#include "roofline.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <new>

#include "machine.h"

namespace gptoss::cpu {

namespace {

using Clock = std::chrono::steady_clock;

// Thirty times the largest cache of most machines, where there is memory enough.
constexpr size_t kMostBytes = size_t{1} << 30;
// Less than this might come from a cache.
constexpr size_t kLeastMappedBytes = size_t{1} << 29;
constexpr size_t kAlignment = 4096;
constexpr size_t kLeastPasses = 3;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

// Runs pass() for about `seconds`, three times at least, and returns the seconds of the fastest: what the machine can
// do is what it does when nothing else disturbs it.
template <class Pass>
double fastest(double seconds, const Pass& pass) {
    const Clock::time_point begin = Clock::now();
    double best = 0;
    for (size_t count = 0; count < kLeastPasses || seconds_since(begin) < seconds; count++) {
        const Clock::time_point start = Clock::now();
        pass();
        const double duration = std::max(seconds_since(start), 1e-9);
        best = count == 0 ? duration : std::min(best, duration);
    }
    return best;
}

// Memory of the system's large pages where it has them, so that address translation does not count.
class LargeBuffer {
public:
    explicit LargeBuffer(size_t num_bytes) : num_bytes_(num_bytes) {
        address_ = ::mmap(nullptr, num_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (address_ == MAP_FAILED) {
            throw std::bad_alloc();
        }
#if defined(MADV_HUGEPAGE)
        ::madvise(address_, num_bytes, MADV_HUGEPAGE);
#endif
    }
    ~LargeBuffer() { ::munmap(address_, num_bytes_); }
    LargeBuffer(const LargeBuffer&) = delete;
    LargeBuffer& operator=(const LargeBuffer&) = delete;

    std::span<std::byte> bytes() const { return {static_cast<std::byte*>(address_), num_bytes_}; }

private:
    void* address_;
    size_t num_bytes_;
};

// Calls use(part) in every thread, each with its own contiguous part of the bytes.
template <class Byte, class Use>
void for_each_part(ThreadPool& pool, std::span<Byte> bytes, const Use& use) {
    const size_t num_parts = pool.num_threads();
    const size_t part_bytes = bytes.size() / num_parts / kAlignment * kAlignment;
    pool.run(num_parts, [&](size_t index, uint32_t) { use(bytes.subspan(index * part_bytes, part_bytes)); });
}

// Of num_parts stretches of part_bytes each, which begin evenly spread over all bytes. The pool hands neighbours to the
// same thread.
double bytes_per_second(ThreadPool& pool,
                        const Kernels& kernels,
                        std::span<const std::byte> bytes,
                        size_t num_parts,
                        size_t part_bytes,
                        double seconds) {
    std::atomic<uint64_t> sum = 0;
    const double best = fastest(seconds, [&] {
        pool.run(num_parts, [&](size_t part, uint32_t) {
            const size_t first = bytes.size() / num_parts * part / kAlignment * kAlignment;
            sum += kernels.peaks.read_memory(bytes.data() + first, part_bytes);
        });
    });
    return static_cast<double>(num_parts * part_bytes) / best;
}

double read_bandwidth(ThreadPool& pool, const Kernels& kernels, double seconds) {
    const uint64_t physical_bytes = describe_machine().physical_bytes;
    const size_t limit = physical_bytes == 0 ? kMostBytes : static_cast<size_t>(physical_bytes / 8);
    const LargeBuffer buffer(std::max(std::min(kMostBytes, limit), pool.num_threads() * kAlignment));
    // Pages that nobody wrote are all one page of zeros, which caches would hold.
    for_each_part(pool, buffer.bytes(), [](std::span<std::byte> part) { std::ranges::fill(part, std::byte{1}); });
    const size_t num_parts = pool.num_threads();
    const size_t part_bytes = buffer.bytes().size() / num_parts / kAlignment * kAlignment;
    return bytes_per_second(pool, kernels, buffer.bytes(), num_parts, part_bytes, seconds);
}

double operations_per_second(ThreadPool& pool, void (*loop)(size_t), size_t operations_per_round, double seconds) {
    if (loop == nullptr) {
        return 0;
    }
    // Long enough for clocks and threads not to matter: some milliseconds.
    constexpr size_t kRounds = 1'000'000;
    const double best =
        fastest(seconds, [&] { pool.run(pool.num_threads(), [&](size_t, uint32_t) { loop(kRounds); }); });
    return static_cast<double>(kRounds) * static_cast<double>(operations_per_round) * pool.num_threads() / best;
}

} // namespace

gptoss_roofline measure_roofline(ThreadPool& pool,
                                 const Kernels& kernels,
                                 std::span<const std::byte> mapped,
                                 double seconds) {
    const double each = seconds / 4;
    const PeakLoops& peaks = kernels.peaks;
    gptoss_roofline roofline = {};
    roofline.num_threads = pool.num_threads();
    // Arithmetic first: clocks that have just been raised by it serve the reading, too.
    roofline.fp32_operations_per_second =
        operations_per_second(pool, peaks.multiply_add_fp32, peaks.fp32_operations_per_round, each);
    roofline.int8_operations_per_second =
        operations_per_second(pool, peaks.multiply_add_int8, peaks.int8_operations_per_round, each);
    roofline.read_bytes_per_second = read_bandwidth(pool, kernels, each);
    if (mapped.size() >= kLeastMappedBytes) {
        // From all over the file, because memory need not be alike everywhere: a part of it may be another socket's,
        // and a part of the file in small pages. Stretches are long enough for the processor's prefetching.
        constexpr size_t kNumParts = 128;
        const size_t part_bytes = std::min(mapped.size(), kMostBytes) / kNumParts / kAlignment * kAlignment;
        roofline.mapped_read_bytes_per_second = bytes_per_second(pool, kernels, mapped, kNumParts, part_bytes, each);
    }
    return roofline;
}

} // namespace gptoss::cpu
