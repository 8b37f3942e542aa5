// How the mapped model file is divided among the GPU's buffers.
#include "metal/weights.h"

#include <algorithm>
#include <random>

#include "check.h"

using gptoss::metal::FileRegion;
using gptoss::metal::weight_windows;
using gptoss::metal::WeightWindow;

namespace {

constexpr uint64_t kPage = 16384;

uint64_t pages(uint64_t num_bytes) {
    return (num_bytes + kPage - 1) / kPage;
}

// Regions of up to 5 pages with gaps between them, as tensors in a file.
std::vector<FileRegion> random_regions(std::mt19937& generator) {
    std::vector<FileRegion> regions;
    uint64_t offset = generator() % (3 * kPage);
    const size_t count = 1 + generator() % 30;
    for (size_t i = 0; i < count; i++) {
        const uint64_t num_bytes = 1 + generator() % (5 * kPage);
        regions.push_back({offset, num_bytes});
        offset += num_bytes + (generator() % 2 == 0 ? 0 : generator() % kPage);
    }
    return regions;
}

} // namespace

TEST(every_region_lies_within_a_window_of_whole_pages_that_fits_a_buffer) {
    std::mt19937 generator(1);
    for (int round = 0; round < 2000; round++) {
        const std::vector<FileRegion> regions = random_regions(generator);
        // A region of 5 pages can touch 6. Sizes that are no multiple of a page happen as well.
        const uint64_t max_buffer_bytes = 6 * kPage + generator() % (20 * kPage);
        const std::vector<WeightWindow> windows = weight_windows(regions, kPage, max_buffer_bytes);
        for (const WeightWindow& window : windows) {
            CHECK_EQUAL(window.begin % kPage, 0u);
            CHECK(pages(window.end - window.begin) * kPage <= max_buffer_bytes);
        }
        CHECK(std::is_sorted(windows.begin(), windows.end(),
                             [](const auto& left, const auto& right) { return left.begin < right.begin; }));
        for (const FileRegion& region : regions) {
            CHECK(std::any_of(windows.begin(), windows.end(), [&](const WeightWindow& window) {
                return window.begin <= region.offset && region.offset + region.num_bytes <= window.end;
            }));
        }
        CHECK_EQUAL(windows.back().end, regions.back().offset + regions.back().num_bytes);
    }
}

TEST(a_file_that_fits_is_one_window) {
    const std::vector<FileRegion> regions = {{kPage + 16, 100}, {3 * kPage, 5 * kPage}};
    const std::vector<WeightWindow> windows = weight_windows(regions, kPage, 7 * kPage);
    CHECK_EQUAL(windows.size(), 1u);
    CHECK_EQUAL(windows[0].begin, kPage);
    CHECK_EQUAL(windows[0].end, 8 * kPage);
    CHECK_EQUAL(weight_windows(regions, kPage, 7 * kPage - 1).size(), 2u);
}

TEST(a_region_that_exceeds_every_buffer_is_refused_with_the_numbers) {
    const std::vector<FileRegion> regions = {{kPage + 16, 2 * kPage}};
    CHECK_FAILS(gptoss_status_insufficient_resources,
                "32768 bytes of weights at offset 16400 of its file have to be in one buffer of the GPU, which takes "
                "49152 bytes in whole pages, and this GPU's largest buffer has 49151",
                weight_windows(regions, kPage, 3 * kPage - 1));
    CHECK_EQUAL(weight_windows(regions, kPage, 3 * kPage).size(), 1u);
}
