// The host device's account of hazards and barriers, for made-up command buffers: beside a plain one, byte by byte.
#include <algorithm>
#include <random>
#include <vector>

#include "../metal_device/dispatch_order.h"
#include "../metal_device/hazards.h"
#include "arguments.h"
#include "check.h"

using namespace gptoss;
using namespace gptoss::metal;
using namespace gptoss::metal::host;

namespace {

constexpr size_t kMemoryBytes = 12;

// A dispatch of norm, which is not going to run: it reads two slices and writes one.
struct Program {
    struct Use {
        size_t begin;
        size_t end;
        bool is_written;
    };

    explicit Program(uint32_t seed) : random(seed) {
        const size_t num_dispatches = below(6);
        for (size_t i = 0; i < num_dispatches; i++) {
            while (below(3) == 0) {
                barriers.push_back(i);
            }
            add_dispatch();
        }
        while (below(4) == 0) {
            barriers.push_back(num_dispatches);
        }
    }

    size_t below(size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random); }

    void add_dispatch() {
        Bindings bindings;
        bindings.buffers[0] = BoundBuffer{nullptr, 0, 0, std::make_shared<std::vector<std::byte>>(8)};
        std::vector<Use>& used = uses.emplace_back();
        for (const uint32_t index : {1u, 2u, 3u}) {
            const size_t begin = below(kMemoryBytes);
            const size_t size = below(std::min<size_t>(kMemoryBytes - begin, 3) + 1);
            bindings.buffers[index] = BoundBuffer{memory, begin, size, nullptr};
            used.push_back({begin, begin + size, index == 3});
        }
        dispatches.emplace_back(kernel, bindings, Extent{}, Extent{});
    }

    // Whether two dispatches with none of `those` between them touch the same byte, and one of them writes it.
    bool has_hazard(const std::vector<size_t>& those) const {
        for (size_t later = 0; later < uses.size(); later++) {
            for (size_t earlier = 0; earlier < later; earlier++) {
                const bool ordered =
                    std::any_of(those.begin(), those.end(), [&](size_t b) { return earlier < b && b <= later; });
                for (size_t byte = 0; byte < kMemoryBytes && !ordered; byte++) {
                    for (const Use& a : uses[earlier]) {
                        for (const Use& b : uses[later]) {
                            const bool both = a.begin <= byte && byte < a.end && b.begin <= byte && byte < b.end;
                            if (both && (a.is_written || b.is_written)) {
                                return true;
                            }
                        }
                    }
                }
            }
        }
        return false;
    }

    std::mt19937 random;
    std::shared_ptr<Memory> memory = std::make_shared<Memory>(kMemoryBytes, "memory", std::make_shared<ByteCount>());
    std::shared_ptr<const Kernel> kernel = [] {
        const KernelLibrary& library = KernelLibrary::get("plain", "norm");
        return std::make_shared<const Kernel>(Kernel{library, "norm", {}, library.describe("norm", {})});
    }();
    std::vector<Dispatch> dispatches;
    std::vector<std::vector<Use>> uses; // of each dispatch
    std::vector<size_t> barriers;
};

} // namespace

TEST(hazards_are_those_of_a_plain_account) {
    int num_hazards = 0;
    constexpr uint32_t kPrograms = 2000;
    for (uint32_t seed = 0; seed < kPrograms; seed++) {
        const Program program(seed);
        const bool expected = program.has_hazard(program.barriers);
        const std::string found = find_hazard(program.dispatches, program.barriers);
        if (found.empty() == expected) {
            check::report_failure(__FILE__, __LINE__,
                                  "program " + std::to_string(seed) + ": found '" + found + "', expected " +
                                      (expected ? "a hazard" : "none"));
        }
        num_hazards += expected;
    }
    CHECK(num_hazards > 200 && num_hazards < int{kPrograms} - 200); // or this shows little
}

TEST(a_barrier_is_needed_if_there_is_a_hazard_without_it) {
    size_t num_unneeded = 0;
    size_t num_needed = 0;
    for (uint32_t seed = 0; seed < 4000; seed++) {
        const Program program(seed);
        if (program.has_hazard(program.barriers)) {
            continue; // of a command buffer that is refused nothing is reported
        }
        size_t expected = 0;
        for (size_t i = 0; i < program.barriers.size(); i++) {
            std::vector<size_t> others = program.barriers;
            others.erase(others.begin() + static_cast<std::ptrdiff_t>(i));
            expected += !program.has_hazard(others);
        }
        CHECK_EQUAL(find_unneeded_barriers(program.dispatches, program.barriers).size(), expected);
        num_unneeded += expected;
        num_needed += program.barriers.size() - expected;
    }
    CHECK(num_unneeded > 100 && num_needed > 100);
}

TEST(a_random_order_passes_no_barrier) {
    const std::vector<size_t> barriers = {0, 2, 2, 7};
    constexpr size_t kDispatches = 9;
    std::vector<std::vector<bool>> seen(kDispatches, std::vector<bool>(kDispatches)); // [dispatch][place]
    for (uint64_t seed = 0; seed < 300; seed++) {
        const std::vector<size_t> order = random_dispatch_order(kDispatches, barriers, seed);
        CHECK_EQUAL(order.size(), kDispatches);
        for (size_t place = 0; place < order.size(); place++) {
            seen[order[place]][place] = true;
        }
        CHECK(order == random_dispatch_order(kDispatches, barriers, seed));
    }
    const auto part = [](size_t i) { return i < 2 ? 0 : i < 7 ? 1 : 2; };
    for (size_t i = 0; i < kDispatches; i++) {
        for (size_t place = 0; place < kDispatches; place++) {
            CHECK_EQUAL(seen[i][place], part(i) == part(place));
        }
    }
}
