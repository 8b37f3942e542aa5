// The host device (tests/metal_device): what it runs, and what it does not let pass.
#include <chrono>
#include <cmath>
#include <memory>
#include <vector>

#include "arguments.h"
#include "check.h"
#include "dense_geometry.h"
#include "metal/encoder.h"

using namespace gptoss;
using namespace gptoss::metal;

namespace {

std::chrono::steady_clock::time_point in_a_minute() {
    return std::chrono::steady_clock::now() + std::chrono::minutes(1);
}

constexpr uint32_t kColumns = 64;
constexpr uint16_t kOneAsBf16 = 0x3F80;

// norm_float of rows of 64 columns, whose gain is 1.
void launch_norm(Encoder& encoder, const Slice& input, const Slice& gain, const Slice& output) {
    const gptoss_metal::NormArguments arguments{kColumns, 1e-5f};
    const auto num_rows = static_cast<uint32_t>(input.size / (kColumns * sizeof(float)));
    encoder.launch({"norm", "norm_float"}, arguments, {{1, input}, {2, gain}, {3, output}},
                   {{num_rows, 1, 1}, {gptoss_metal::kNormThreads, 1, 1}});
}

} // namespace

TEST(a_kernel_runs) {
    const std::unique_ptr<Device> device = open_device();
    Pipelines pipelines(*device);
    const auto input = device->make_buffer(2 * kColumns * sizeof(float), "input");
    const auto gain = device->make_buffer(kColumns * sizeof(uint16_t), "gain");
    const auto output = device->make_buffer(2 * kColumns * sizeof(float), "output");
    for (size_t i = 0; i < 2 * kColumns; i++) {
        Slice(*input).as<float>()[i] = i < kColumns ? 3.0f : -0.5f;
    }
    for (size_t i = 0; i < kColumns; i++) {
        Slice(*gain).as<uint16_t>()[i] = kOneAsBf16;
    }

    Encoder encoder(*device, pipelines, "norm");
    launch_norm(encoder, *input, *gain, *output);
    const double seconds = encoder.commit()->wait(in_a_minute());

    CHECK(seconds > 0);
    CHECK_CLOSE(Slice(*output).as<float>()[0], 1, 1e-5);
    CHECK_CLOSE(Slice(*output).as<float>()[2 * kColumns - 1], -1, 1e-4);
}
