// What tests of launches share: a device, its kernels, and buffers of known content.
#pragma once

#include <bit>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "metal/encoder.h"
#include "number_formats.h"

namespace gptoss::metal {

class TestGpu {
public:
    TestGpu() : device_(open_device()), pipelines_(*device_) {}

    // Buffers live as long as this object does.
    template <class Element>
    Slice upload(const std::vector<Element>& elements) {
        const Slice slice = make(elements.size() * sizeof(Element));
        std::memcpy(slice.as<std::byte>(), elements.data(), slice.size);
        return slice;
    }
    // Every float and half of it is NaN until somebody writes it.
    Slice make_poisoned(size_t num_bytes) {
        const Slice slice = make(num_bytes);
        std::memset(slice.as<std::byte>(), 0xFF, slice.size);
        return slice;
    }

    // What `encode` launches, in one command buffer, to its end.
    void run(const std::function<void(Encoder&)>& encode) {
        Encoder encoder(*device_, pipelines_, "test");
        encode(encoder);
        encoder.commit()->wait(std::chrono::steady_clock::now() + std::chrono::minutes(5));
    }

private:
    Slice make(size_t num_bytes) {
        // No device has a buffer without bytes.
        buffers_.push_back(device_->make_buffer(num_bytes == 0 ? 1 : num_bytes, "test"));
        return {buffers_.back().get(), 0, num_bytes};
    }

    std::unique_ptr<Device> device_;
    Pipelines pipelines_;
    std::vector<std::unique_ptr<Buffer>> buffers_;
};

template <class Element>
std::vector<Element> elements_of(const Slice& slice) {
    return {slice.as<Element>(), slice.as<Element>() + slice.size / sizeof(Element)};
}

inline std::vector<float> halves_to_floats(const std::vector<uint16_t>& halves) {
    std::vector<float> floats(halves.size());
    for (size_t i = 0; i < halves.size(); i++) {
        floats[i] = half_to_float(halves[i]);
    }
    return floats;
}

inline std::vector<uint16_t> floats_to_halves(const std::vector<float>& floats) {
    std::vector<uint16_t> halves(floats.size());
    for (size_t i = 0; i < floats.size(); i++) {
        halves[i] = float_to_half(floats[i]);
    }
    return halves;
}

// Normally distributed.
inline std::vector<float> random_floats(std::mt19937& random, size_t count, float deviation) {
    std::normal_distribution<float> distribution(0, deviation);
    std::vector<float> result(count);
    for (float& value : result) {
        value = distribution(random);
    }
    return result;
}

inline std::vector<uint16_t> random_bf16(std::mt19937& random, size_t count, float deviation) {
    std::vector<uint16_t> result;
    for (const float value : random_floats(random, count, deviation)) {
        result.push_back(static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16));
    }
    return result;
}

} // namespace gptoss::metal
