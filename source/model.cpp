#include "model.h"

#include "forward.h"

namespace gptoss {

Model::Model(const std::string& path, gptoss_backend backend, uint32_t num_threads)
    : mapping_(MappedFile::open(path)),
      file_(std::make_shared<const ModelFile>(ModelFile::parse(mapping_->bytes(), path))),
      tokenizer_(std::make_shared<const Tokenizer>(mapping_, file_)),
      backend_(create_backend(backend, num_threads, mapping_, file_)) {}

gptoss_memory_use Model::memory_use() const {
    return {mapping_->bytes().size(), backend_->workspace_bytes()};
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
