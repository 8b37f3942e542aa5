#include "pipelines.h"

namespace gptoss::metal {

const Pipeline& Pipelines::get(const KernelName& name) {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::unique_ptr<Pipeline>& pipeline = pipelines_[{name.kernel, name.constants}];
    if (pipeline == nullptr) {
        pipeline = device_.make_pipeline(name.file, name.kernel, name.constants);
    }
    return *pipeline;
}

} // namespace gptoss::metal
