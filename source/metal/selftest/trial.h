// One run of one check: its buffers, its command buffer, and what came of it.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "../../errors.h"
#include "../device.h"
#include "../encoder.h"
#include "../pipelines.h"
#include "numbers.h"
#include "random.h"

namespace gptoss::metal {

struct Verdict {
    double largest_difference = 0; // of an output, relative to the greatest number expected of it
    double tolerance = 0;          // of the output with that difference
    std::string message;           // empty if the check passed
};

// The device did not answer in time: whatever comes after it is pointless.
class DeviceStopped : public Error {
public:
    explicit DeviceStopped(const std::string& sentence) : Error(gptoss_status_internal_error, sentence) {}
};

class Trial {
public:
    Trial(Device& device, Pipelines& pipelines, const std::string& kernel);

    Random& random() { return random_; }
    Encoder& encoder() { return *encoder_; }

    // A buffer that holds these values, for a kernel to read or to add to.
    template <class T>
    Slice input(const std::vector<T>& values) {
        return make_buffer(values.data(), values.size() * sizeof(T));
    }
    // A buffer for `count` elements that a kernel has to fill. Every byte is 0xFF at first, NaN in all formats.
    template <class T>
    Slice output(size_t count) {
        return make_buffer(nullptr, count * sizeof(T));
    }

    // Runs what was encoded, and makes sure that nothing was written past the end of a buffer. Once. Throws
    // DeviceStopped if it does not end in time, another Error if the device says that it failed.
    void run();

    template <class T>
    std::vector<T> values(const Slice& slice) const {
        std::vector<T> copy(slice.size / sizeof(T));
        std::memcpy(copy.data(), slice.as<std::byte>(), copy.size() * sizeof(T));
        return copy;
    }

    // No element may differ by more than `tolerance` times the greatest magnitude expected.
    void expect_close(const std::string& what,
                      const std::vector<double>& actual,
                      const std::vector<double>& expected,
                      double tolerance);
    template <class T>
    void expect_close(const std::string& what,
                      const Slice& output,
                      const std::vector<double>& expected,
                      double tolerance) {
        expect_close(what, to_doubles(values<T>(output)), expected, tolerance);
    }
    void expect_equal(const std::string& what,
                      const std::vector<uint32_t>& actual,
                      const std::vector<uint32_t>& expected);
    void expect_equal(const std::string& what, const Slice& output, const std::vector<uint32_t>& expected) {
        expect_equal(what, values<uint32_t>(output), expected);
    }
    // For what is neither; `message` says what is wrong.
    void fail(const std::string& message);

    const Verdict& verdict() const { return verdict_; }

private:
    // With a guard behind it; `bytes` null: all 0xFF.
    Slice make_buffer(const void* bytes, size_t num_bytes);

    Device& device_;
    Random random_;
    std::optional<Encoder> encoder_;
    std::vector<std::unique_ptr<Buffer>> buffers_;
    Verdict verdict_;
};

} // namespace gptoss::metal
