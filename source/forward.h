// The forward pass of gpt-oss, once for all backends.
#pragma once

#include <functional>

#include "backend.h"
#include "model_file.h"

namespace gptoss {

// Runs a batch, which backend.begin() has been called with, through the model. Once the backend has done it, it holds
// the logits of the batch's logit rows, and every context's storage the keys and values of its span.
//
// `checkpoint` is called before the first and after every block; it throws to stop the pass.
void forward(Backend& backend, const ModelFile& model, const Batch& batch, const std::function<void()>& checkpoint);

} // namespace gptoss
