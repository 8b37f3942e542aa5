// What a model and a context need of the GPU's memory, whether that fits, and what to do if it does not.
//
// macOS gives a process as much GPU memory as it asks for, and fails the command buffers later. So everything that a
// context will ever need is added up before it is created, and compared with what the device recommends. The sizes are
// those of the files that allocate them: workspace.h, token_stream.h, kv_storage.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "../model_config.h"
#include "device.h"

namespace gptoss::metal {

// What is allocated already, in bytes.
struct MemoryInUse {
    uint64_t workspace = 0;
    uint64_t caches = 0; // of all contexts
};

// Immutable; may be used from any thread. Sizes are bytes. A max_batch_tokens of 0 means the default, and one above the
// length of the context means that length.
class MemoryPlan {
public:
    // saved_by_q8: by how much the file would be shorter with its dense weights in 8 bits.
    MemoryPlan(const ModelConfig& config, uint64_t weight_bytes, uint64_t saved_by_q8)
        : config_(config), weight_bytes_(weight_bytes), saved_by_q8_(saved_by_q8) {}

    uint64_t weight_bytes() const { return weight_bytes_; } // of the mapped file
    // Activations of batches of so many tokens, and the token stream of one context.
    uint64_t workspace_bytes(size_t max_batch_tokens) const;
    // Keys and values of a context that may hold context_length tokens, when it does.
    uint64_t kv_bytes(size_t context_length, size_t max_batch_tokens) const;
    // Weights, workspace and the cache of one more context, and the caches of those that are there.
    uint64_t total_beside(const MemoryInUse& in_use, size_t context_length, size_t max_batch_tokens) const;
    // The longest context, in tokens, that fits beside what is there; at most the model's maximum. 0 if none does.
    size_t longest_context(const DeviceInfo& device, const MemoryInUse& in_use, size_t max_batch_tokens) const;

    // context_length 0: the longest that fits, or where check_model() fails, the one that it is about.
    gptoss_memory_estimate estimate(const DeviceInfo& device, size_t context_length, size_t max_batch_tokens) const;

    // Fail with insufficient_resources if what is to be created does not fit: a model with which no useful context
    // would (4,096 tokens), and a context beside what is there.
    void check_model(const DeviceInfo& device) const;
    void check_context(const DeviceInfo& device,
                       const MemoryInUse& in_use,
                       size_t context_length,
                       size_t max_batch_tokens) const;

    // Fails in the same way if `more` bytes for the keys and values of a context do not fit beside what is there.
    void check_growth(const DeviceInfo& device, const MemoryInUse& in_use, uint64_t more) const;

    // What these failures say, with the numbers and the remedies.
    std::string model_sentence(const DeviceInfo& device) const;
    std::string context_sentence(const DeviceInfo& device,
                                 const MemoryInUse& in_use,
                                 size_t context_length,
                                 size_t max_batch_tokens) const;

private:
    // `remedies`, and what always helps where `needed` bytes are too many.
    std::string enumerate_remedies(std::vector<std::string> remedies, const DeviceInfo& device, uint64_t needed) const;
    bool fits(const DeviceInfo& device,
              const MemoryInUse& in_use,
              size_t context_length,
              size_t max_batch_tokens) const;
    std::string sentence(const std::string& subject,
                         std::vector<std::string> remedies,
                         const DeviceInfo& device,
                         const MemoryInUse& in_use,
                         size_t context_length,
                         size_t max_batch_tokens) const;

    ModelConfig config_;
    uint64_t weight_bytes_;
    uint64_t saved_by_q8_;
};

// The value for `sudo sysctl iogpu.wired_limit_mb=N`, in MiB, that makes room for `num_bytes` on this machine; 0 if
// that would leave too little for everything else, or the machine does not run macOS.
uint64_t wired_limit_mb(const DeviceInfo& device, uint64_t num_bytes);

} // namespace gptoss::metal
