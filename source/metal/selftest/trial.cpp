#include "trial.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <sstream>

#include "../timeout.h"

namespace gptoss::metal {

namespace {

constexpr size_t kGuardBytes = 256;
constexpr std::byte kPoison{0xFF};

// FNV-1a. (What std::hash gives differs between machines.)
uint64_t seed_of(const std::string& name) {
    uint64_t seed = 0xCBF29CE484222325u;
    for (const char letter : name) {
        seed = (seed ^ static_cast<unsigned char>(letter)) * 0x100000001B3u;
    }
    return seed;
}

} // namespace

Trial::Trial(Device& device, Pipelines& pipelines, const std::string& kernel)
    : device_(device), random_(seed_of(kernel)) {
    encoder_.emplace(device, pipelines, "self-test of " + kernel);
}

Slice Trial::make_buffer(const void* bytes, size_t num_bytes) {
    std::unique_ptr<Buffer> buffer = device_.make_buffer(num_bytes + kGuardBytes, "self-test");
    std::fill_n(buffer->data(), buffer->size(), kPoison);
    if (bytes != nullptr) {
        std::memcpy(buffer->data(), bytes, num_bytes);
    }
    buffers_.push_back(std::move(buffer));
    return {buffers_.back().get(), 0, num_bytes};
}

void Trial::run() {
    const std::chrono::duration<double> timeout = read_timeout();
    const auto deadline =
        std::chrono::steady_clock::now() + std::chrono::duration_cast<std::chrono::nanoseconds>(timeout);
    try {
        encoder_->commit()->wait(deadline);
    } catch (const Error& error) {
        if (std::chrono::steady_clock::now() < deadline) {
            throw; // it ended, but failed
        }
        throw DeviceStopped("The GPU stopped answering during the self-test: " + std::string(error.what()));
    }
    encoder_.reset();
    for (const std::unique_ptr<Buffer>& buffer : buffers_) {
        const std::byte* const end = buffer->data() + buffer->size();
        if (!std::all_of(end - kGuardBytes, end, [](std::byte byte) { return byte == kPoison; })) {
            fail("it wrote past the end of a buffer of " + std::to_string(buffer->size() - kGuardBytes) + " bytes");
        }
    }
}

void Trial::expect_close(const std::string& what,
                         const std::vector<double>& actual,
                         const std::vector<double>& expected,
                         double tolerance) {
    double scale = 0;
    for (const double value : expected) {
        scale = std::max(scale, std::abs(value));
    }
    scale = scale == 0 ? 1 : scale;
    size_t worst = 0;
    double largest = 0;
    for (size_t i = 0; i < expected.size(); i++) {
        double difference = std::abs(actual[i] - expected[i]) / scale;
        if (!std::isfinite(difference)) { // what is expected is finite
            difference = std::numeric_limits<double>::quiet_NaN();
        }
        if (!(difference <= largest)) {
            worst = i;
            largest = difference;
        }
        if (std::isnan(difference)) {
            break;
        }
    }
    const bool is_worse = largest * verdict_.tolerance >= verdict_.largest_difference * tolerance;
    if (verdict_.message.empty() && (std::isnan(largest) || is_worse)) {
        verdict_.largest_difference = largest;
        verdict_.tolerance = tolerance;
    }
    if (!(largest <= tolerance)) {
        std::ostringstream message;
        message.precision(9);
        message << what << ": element " << worst << " of " << expected.size() << " is " << actual[worst]
                << ", expected " << expected[worst] << " (the greatest is " << scale << ")";
        fail(message.str());
    }
}

void Trial::expect_equal(const std::string& what,
                         const std::vector<uint32_t>& actual,
                         const std::vector<uint32_t>& expected) {
    for (size_t i = 0; i < expected.size(); i++) {
        if (actual[i] != expected[i]) {
            std::ostringstream message;
            message << what << ": element " << i << " of " << expected.size() << " is " << actual[i] << ", expected "
                    << expected[i];
            return fail(message.str());
        }
    }
}

void Trial::fail(const std::string& message) {
    if (verdict_.message.empty()) {
        verdict_.message = message;
    }
}

} // namespace gptoss::metal
