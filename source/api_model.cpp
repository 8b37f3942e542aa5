// The C boundary: the library and its models.

#include "api_boundary.h"

using namespace gptoss::api;
using gptoss::fail;

extern "C" {

// ---- Library

const char* gptoss_version(void) {
    return GPTOSS_VERSION;
}

const char* gptoss_last_error(void) {
    return gptoss::last_error();
}

const char* gptoss_status_name(gptoss_status status) {
    switch (status) {
        case gptoss_status_success:
            return "success";
        case gptoss_status_invalid_argument:
            return "invalid_argument";
        case gptoss_status_unsupported_argument:
            return "unsupported_argument";
        case gptoss_status_invalid_state:
            return "invalid_state";
        case gptoss_status_io_error:
            return "io_error";
        case gptoss_status_insufficient_memory:
            return "insufficient_memory";
        case gptoss_status_insufficient_resources:
            return "insufficient_resources";
        case gptoss_status_unsupported_system:
            return "unsupported_system";
        case gptoss_status_context_overflow:
            return "context_overflow";
        case gptoss_status_file_not_found:
            return "file_not_found";
        case gptoss_status_invalid_model_file:
            return "invalid_model_file";
        case gptoss_status_aborted:
            return "aborted";
        case gptoss_status_internal_error:
            return "internal_error";
    }
    return "unknown";
}

// ---- Model

gptoss_status gptoss_model_create_from_file(const char* path, gptoss_model_t* model_out) {
    return gptoss_model_create(path, nullptr, model_out);
}

gptoss_status gptoss_model_create(const char* path, const gptoss_model_options* options, gptoss_model_t* model_out) {
    if (model_out != nullptr) {
        *model_out = nullptr;
    }
    return guarded([&] {
        require(path, "path");
        require(model_out, "model_out");
        const gptoss_model_options chosen = read_options(options, {}, "gptoss_model_options");
        auto handle = std::make_unique<gptoss_model>();
        handle->model = std::make_shared<const gptoss::Model>(path, chosen);
        *model_out = handle.release();
    });
}

gptoss_status gptoss_model_get_tokenizer(gptoss_model_t model, gptoss_tokenizer_t* tokenizer_out) {
    if (tokenizer_out != nullptr) {
        *tokenizer_out = nullptr;
    }
    return guarded([&] {
        require(model, "model");
        require(tokenizer_out, "tokenizer_out");
        auto handle = std::make_unique<gptoss_tokenizer>();
        handle->tokenizer = model->model->tokenizer();
        *tokenizer_out = handle.release();
    });
}

gptoss_status gptoss_model_get_max_context_length(gptoss_model_t model, size_t* max_context_length_out) {
    return guarded([&] {
        require(model, "model");
        require(max_context_length_out, "max_context_length_out");
        *max_context_length_out = model->model->config().context_length;
    });
}

gptoss_status gptoss_model_retain(gptoss_model_t model) {
    return retain(model, "model");
}

gptoss_status gptoss_model_release(gptoss_model_t model) {
    return release(model, "model");
}

gptoss_status gptoss_model_get_config(gptoss_model_t model, gptoss_model_config* config_out) {
    return guarded([&] {
        require(model, "model");
        require(config_out, "config_out");
        *config_out = model->model->config();
    });
}

gptoss_status gptoss_model_get_backend(gptoss_model_t model, gptoss_backend* backend_out) {
    return guarded([&] {
        require(model, "model");
        require(backend_out, "backend_out");
        *backend_out = model->model->backend().kind();
    });
}

gptoss_status gptoss_model_get_num_threads(gptoss_model_t model, uint32_t* num_threads_out) {
    return guarded([&] {
        require(model, "model");
        require(num_threads_out, "num_threads_out");
        *num_threads_out = model->model->backend().num_threads();
    });
}

gptoss_status gptoss_model_get_precision(gptoss_model_t model, gptoss_precision* precision_out) {
    return guarded([&] {
        require(model, "model");
        require(precision_out, "precision_out");
        *precision_out = model->model->backend().precision();
    });
}

gptoss_status gptoss_model_get_memory_use(gptoss_model_t model, gptoss_memory_use* memory_out) {
    return guarded([&] {
        require(model, "model");
        require(memory_out, "memory_out");
        *memory_out = model->model->memory_use();
    });
}

gptoss_status gptoss_model_get_kv_cache_size(gptoss_model_t model, size_t num_tokens, size_t* num_bytes_out) {
    return guarded([&] {
        require(model, "model");
        require(num_bytes_out, "num_bytes_out");
        model->model->check_context_length(num_tokens);
        *num_bytes_out = model->model->backend().kv_storage_bytes(num_tokens, gptoss::kDefaultMaxBatchTokens);
    });
}

gptoss_status gptoss_model_estimate_memory(gptoss_model_t model,
                                           gptoss_backend backend,
                                           size_t context_length,
                                           size_t max_batch_tokens,
                                           gptoss_memory_estimate* estimate_out) {
    return guarded([&] {
        require(model, "model");
        require(estimate_out, "estimate_out");
        *estimate_out = model->model->estimate_memory(backend, context_length, max_batch_tokens);
    });
}

gptoss_status gptoss_model_get_num_tensors(gptoss_model_t model, size_t* num_tensors_out) {
    return guarded([&] {
        require(model, "model");
        require(num_tensors_out, "num_tensors_out");
        *num_tensors_out = model->model->file().tensors().size();
    });
}

gptoss_status gptoss_model_get_tensor(gptoss_model_t model, size_t index, gptoss_tensor* tensor_out) {
    return guarded([&] {
        require(model, "model");
        require(tensor_out, "tensor_out");
        const std::vector<gptoss_tensor>& tensors = model->model->file().tensors();
        if (index >= tensors.size()) {
            fail(gptoss_status_invalid_argument, "There is no tensor ", index, ": the model has ", tensors.size(), ".");
        }
        *tensor_out = tensors[index];
    });
}

} // extern "C"
