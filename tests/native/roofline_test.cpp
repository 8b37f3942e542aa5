// The loops that measure a machine's limits do what they count, and their figures make sense.
#include "cpu/roofline.h"

#include <cstdint>
#include <cstring>
#include <vector>

#include "check.h"
#include "cpu/instruction_set.h"

using namespace gptoss::cpu;

TEST(reading_depends_on_every_word) {
    std::vector<uint64_t> words(4096);
    uint64_t sum = 0;
    for (size_t i = 0; i < words.size(); i++) {
        words[i] = i * i + 1;
        sum += words[i];
    }
    for (const Kernels* const kernels : available_kernels()) {
        CHECK_EQUAL(kernels->peaks.read_memory(words.data(), words.size() * sizeof(uint64_t)), sum);
        words[777] += 5;
        CHECK_EQUAL(kernels->peaks.read_memory(words.data(), words.size() * sizeof(uint64_t)), sum + 5);
        words[777] -= 5;
    }
}

TEST(loops_count_their_operations) {
    for (const Kernels* const kernels : available_kernels()) {
        const PeakLoops& peaks = kernels->peaks;
        CHECK(peaks.fp32_operations_per_round > 0);
        peaks.multiply_add_fp32(3);
        CHECK((peaks.multiply_add_int8 == nullptr) == (peaks.int8_operations_per_round == 0));
        if (peaks.multiply_add_int8 != nullptr) {
            peaks.multiply_add_int8(3);
        }
    }
}

TEST(all_figures_are_positive) {
    ThreadPool pool(2);
    const Kernels& kernels = *available_kernels().back();
    const std::vector<std::byte> small(4096);
    const gptoss_roofline roofline = measure_roofline(pool, kernels, small, 0);
    CHECK_EQUAL(roofline.num_threads, 2u);
    CHECK(roofline.read_bytes_per_second > 0);
    CHECK(roofline.fp32_operations_per_second > 0);
    CHECK((roofline.int8_operations_per_second > 0) == (kernels.peaks.multiply_add_int8 != nullptr));
    // What a cache may hold says nothing of memory.
    CHECK_EQUAL(roofline.mapped_read_bytes_per_second, 0.0);
}
