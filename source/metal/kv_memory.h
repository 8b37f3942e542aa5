// What the keys and values of a model's contexts take of the GPU's memory, all together.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>

namespace gptoss::metal {

// May be used from any thread.
class KvMemory {
public:
    // Throws if `more` bytes are not to be taken beside the `used` ones.
    using Check = std::function<void(uint64_t used, uint64_t more)>;

    explicit KvMemory(Check check) : check_(std::move(check)) {}

    uint64_t used() const {
        const std::lock_guard<std::mutex> lock(mutex_);
        return used_;
    }
    // Fails as the check does, and then takes nothing.
    void take(uint64_t num_bytes) {
        const std::lock_guard<std::mutex> lock(mutex_);
        check_(used_, num_bytes);
        used_ += num_bytes;
    }
    void give_back(uint64_t num_bytes) {
        const std::lock_guard<std::mutex> lock(mutex_);
        used_ -= num_bytes;
    }

private:
    const Check check_;
    mutable std::mutex mutex_;
    uint64_t used_ = 0; // bytes
};

} // namespace gptoss::metal
