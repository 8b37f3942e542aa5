#include "model.h"

#include "errors.h"
#include "forward.h"

namespace gptoss {

Model::Model(const std::string& path, const gptoss_model_options& options)
    : Model(path, [&](std::shared_ptr<const MappedFile> mapping, std::shared_ptr<const ModelFile> file) {
          return create_backend(options, std::move(mapping), std::move(file));
      }) {}

Model::Model(const std::string& path, const BackendFactory& create)
    : mapping_(MappedFile::open(path)),
      file_(std::make_shared<const ModelFile>(ModelFile::parse(mapping_->bytes(), path))),
      tokenizer_(std::make_shared<const Tokenizer>(mapping_, file_)),
      backend_(create(mapping_, file_)) {}

gptoss_memory_use Model::memory_use() const {
    return {mapping_->bytes().size(), backend_->workspace_bytes()};
}

void Model::check_context_length(size_t context_length) const {
    if (context_length > config().context_length) {
        fail(gptoss_status_invalid_argument, "A context of ", context_length, " tokens is longer than the model's ",
             config().context_length, ": ask for that many or fewer, or for 0, which means the maximum.");
    }
}

gptoss_memory_estimate Model::estimate_memory(gptoss_backend backend,
                                              size_t context_length,
                                              size_t max_batch_tokens) const {
    check_context_length(context_length);
    const uint32_t num_threads = backend_->kind() == gptoss_backend_cpu ? backend_->num_threads() : 0;
    return gptoss::estimate_memory(backend, num_threads, *file_, mapping_->bytes().size(), context_length,
                                   max_batch_tokens);
}

void Model::run(const Batch& batch,
                const std::function<void()>& checkpoint,
                const std::function<void(const Backend&)>& use_logits) const {
    const std::lock_guard<std::mutex> lock(backend_mutex_);
    backend_->begin(batch);
    forward(*backend_, *file_, batch, checkpoint);
    backend_->end();
    use_logits(*backend_);
}

} // namespace gptoss
