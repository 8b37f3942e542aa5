// One loaded model: the mapped file, its layout, its vocabulary and the backend that runs it.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "backend.h"
#include "mapped_file.h"
#include "model_file.h"
#include "tokenizer.h"

namespace gptoss {

// Immutable but for the backend's workspace, which one batch or stream at a time may use.
class Model {
public:
    using BackendFactory =
        std::function<std::unique_ptr<Backend>(std::shared_ptr<const MappedFile>, std::shared_ptr<const ModelFile>)>;

    Model(const std::string& path, const gptoss_model_options& options);
    // With a backend of the caller's making.
    Model(const std::string& path, const BackendFactory& create);

    const ModelConfig& config() const { return file_->config(); }
    const ModelFile& file() const { return *file_; }
    const Backend& backend() const { return *backend_; }
    std::shared_ptr<const Tokenizer> tokenizer() const { return tokenizer_; }
    gptoss_memory_use memory_use() const;
    // Fails with invalid_argument if it is longer than the model's maximum.
    void check_context_length(size_t context_length) const;
    // Of gptoss.h.
    gptoss_memory_estimate estimate_memory(gptoss_backend backend,
                                           size_t context_length,
                                           size_t max_batch_tokens) const;

    // Runs a batch (forward.h) while no other thread does, and calls `use_logits` before the next batch may begin.
    void run(const Batch& batch,
             const std::function<void()>& checkpoint,
             const std::function<void(const Backend&)>& use_logits) const;

    // use(backend), while no other thread runs a batch or does the same.
    template <class Use>
    decltype(auto) with_backend(const Use& use) const {
        const std::lock_guard<std::mutex> lock(backend_mutex_);
        return use(*backend_);
    }

private:
    std::shared_ptr<const MappedFile> mapping_;
    std::shared_ptr<const ModelFile> file_;
    std::shared_ptr<const Tokenizer> tokenizer_;
    std::unique_ptr<Backend> backend_;
    mutable std::mutex backend_mutex_;
};

} // namespace gptoss
