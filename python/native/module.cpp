// The extension module gptoss._native: the C API as Python objects. Only handles, conversions of arguments, and
// statuses turned into exceptions; what users see is written in Python (model.py, context.py, tokenizer.py).

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <chrono>
#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gptoss.h"

namespace py = pybind11;

namespace {

// Raises the exception that a failed call stands for, with the library's sentence.
void check(gptoss_status status) {
    if (status == gptoss_status_success) {
        return;
    }
    const auto raise = [](const py::object& exception) {
        // A message may name a path, which need not be UTF-8: as os.fsdecode has it, with surrogates.
        const char* const text = gptoss_last_error();
        const py::object message = py::reinterpret_steal<py::object>(
            PyUnicode_DecodeUTF8(text, static_cast<Py_ssize_t>(strlen(text)), "surrogateescape"));
        if (message) {
            PyErr_SetObject(exception.ptr(), message.ptr());
        }
        throw py::error_already_set();
    };
    const auto builtin = [](PyObject* exception) { return py::reinterpret_borrow<py::object>(exception); };
    const auto own = [](const char* name) -> py::object { return py::module_::import("gptoss.errors").attr(name); };
    switch (status) {
        case gptoss_status_invalid_argument:
        case gptoss_status_unsupported_argument:
            return raise(builtin(PyExc_ValueError));
        case gptoss_status_invalid_state:
            return raise(own("InvalidStateError"));
        case gptoss_status_io_error:
            return raise(builtin(PyExc_OSError));
        case gptoss_status_insufficient_memory:
            return raise(builtin(PyExc_MemoryError));
        case gptoss_status_context_overflow:
            return raise(own("ContextOverflowError"));
        case gptoss_status_file_not_found:
            return raise(builtin(PyExc_FileNotFoundError));
        case gptoss_status_invalid_model_file:
            return raise(own("ModelFormatError"));
        case gptoss_status_aborted:
            return raise(own("AbortedError"));
        default:
            return raise(own("BackendError"));
    }
}

template <auto release>
struct Releaser {
    template <class Handle>
    void operator()(Handle* handle) const {
        release(handle);
    }
};
using ModelHandle = std::unique_ptr<gptoss_model, Releaser<gptoss_model_release>>;
using TokenizerHandle = std::unique_ptr<gptoss_tokenizer, Releaser<gptoss_tokenizer_release>>;
using ContextHandle = std::unique_ptr<gptoss_context, Releaser<gptoss_context_release>>;

// Lets Python's signal handlers run, and the caller's progress function, while the engine works without the GIL.
class Interrupts {
public:
    explicit Interrupts(std::optional<py::function> progress) : progress_(std::move(progress)) {}

    static int callback(void* user_data, size_t num_processed, size_t num_total) {
        return static_cast<Interrupts*>(user_data)->poll(num_processed, num_total) ? 0 : 1;
    }

    // To be called with the GIL held, before the status is checked.
    void rethrow() const {
        if (exception_ != nullptr) {
            std::rethrow_exception(exception_);
        }
    }

private:
    bool poll(size_t num_processed, size_t num_total) {
        // The call after the last piece comes too late to stop it; the next token of a sample is not too late.
        if (exception_ != nullptr) {
            return false;
        }
        // Taking the GIL can mean waiting for another thread's turn, so not after every layer of a small model.
        constexpr std::chrono::milliseconds kInterval(50);
        const auto now = std::chrono::steady_clock::now();
        const bool report = progress_.has_value() && num_processed != last_reported_;
        if (!report && now - last_poll_ < kInterval) {
            return true;
        }
        last_poll_ = now;
        const py::gil_scoped_acquire gil;
        try {
            if (PyErr_CheckSignals() != 0) {
                throw py::error_already_set();
            }
            if (report) {
                last_reported_ = num_processed;
                (*progress_)(num_processed, num_total);
            }
        } catch (...) {
            exception_ = std::current_exception();
            return false;
        }
        return true;
    }

    std::optional<py::function> progress_;
    size_t last_reported_ = SIZE_MAX;
    std::chrono::steady_clock::time_point last_poll_ = std::chrono::steady_clock::now();
    std::exception_ptr exception_;
};

template <class Call>
void check_without_gil(const Interrupts& interrupts, const Call& call) {
    gptoss_status status;
    {
        const py::gil_scoped_release release;
        status = call();
    }
    interrupts.rethrow();
    check(status);
}

const char* backend_name(gptoss_backend backend) {
    return backend == gptoss_backend_metal ? "metal" : "cpu";
}

// (backend, name, operating system, recommended bytes, bytes of the largest buffer, bytes of memory)
py::tuple device_info(gptoss_backend backend) {
    gptoss_device_info info;
    check(gptoss_get_device_info(backend, &info));
    return py::make_tuple(backend_name(info.backend), info.name, info.operating_system, info.recommended_bytes,
                          info.max_buffer_bytes, info.physical_bytes);
}

// (commit, compiler)
py::tuple build_info() {
    gptoss_build_info info;
    check(gptoss_get_build_info(&info));
    return py::make_tuple(info.commit, info.compiler);
}

// What the callback of a self-test is called with, and what it raised.
struct KernelChecks {
    py::function callback;
    std::exception_ptr exception;

    static int report(void* user_data, size_t num_done, size_t num_total, const gptoss_kernel_check* check) {
        auto* const checks = static_cast<KernelChecks*>(user_data);
        const py::gil_scoped_acquire gil;
        try {
            if (PyErr_CheckSignals() != 0) {
                throw py::error_already_set();
            }
            checks->callback(num_done, num_total,
                             py::make_tuple(check->kernel, check->shape, check->passed != 0, check->largest_difference,
                                            check->tolerance, check->message, check->seconds));
        } catch (...) {
            checks->exception = std::current_exception();
            return 1;
        }
        return 0;
    }
};

// Calls callback(number done, number in all, (kernel, shape, passed, largest difference, tolerance, message, seconds))
// after each check. What it raises ends the self-test and is raised here.
void selftest_kernels(gptoss_backend backend, py::function callback) {
    KernelChecks checks = {std::move(callback), nullptr};
    gptoss_status status;
    {
        const py::gil_scoped_release release;
        status = gptoss_selftest_kernels(backend, KernelChecks::report, &checks);
    }
    if (checks.exception != nullptr) {
        std::rethrow_exception(checks.exception);
    }
    check(status);
}

class Model {
public:
    Model(const std::string& path, gptoss_backend backend, uint32_t num_threads, gptoss_precision precision) {
        const gptoss_model_options options = {sizeof(options), backend, num_threads, precision};
        gptoss_model_t model = nullptr;
        gptoss_status status;
        {
            const py::gil_scoped_release release;
            status = gptoss_model_create(path.c_str(), &options, &model);
        }
        check(status);
        model_.reset(model);
        gptoss_tokenizer_t tokenizer = nullptr;
        check(gptoss_model_get_tokenizer(model, &tokenizer));
        tokenizer_.reset(tokenizer);
    }

    gptoss_model_t get() const { return model_.get(); }

    gptoss_model_config config() const {
        gptoss_model_config config;
        check(gptoss_model_get_config(model_.get(), &config));
        return config;
    }

    py::dict config_dict() const {
        const gptoss_model_config config = this->config();
        py::dict result;
        result["context_length"] = config.context_length;
        result["num_blocks"] = config.num_blocks;
        result["num_experts"] = config.num_experts;
        result["num_active_experts"] = config.num_active_experts;
        result["embedding_dim"] = config.embedding_dim;
        result["mlp_dim"] = config.mlp_dim;
        result["swiglu_limit"] = config.swiglu_limit;
        result["head_dim"] = config.head_dim;
        result["num_heads"] = config.num_heads;
        result["num_kv_heads"] = config.num_kv_heads;
        result["attention_window"] = config.attention_window;
        result["rope_theta"] = config.rope_theta;
        result["interpolation_scale"] = config.interpolation_scale;
        result["yarn_offset"] = config.yarn_offset;
        result["yarn_scale"] = config.yarn_scale;
        result["yarn_multiplier"] = config.yarn_multiplier;
        result["rmsnorm_epsilon"] = config.rmsnorm_epsilon;
        result["vocabulary_size"] = config.vocabulary_size;
        return result;
    }

    std::string backend() const {
        gptoss_backend backend;
        check(gptoss_model_get_backend(model_.get(), &backend));
        return backend_name(backend);
    }

    uint32_t num_threads() const {
        uint32_t num_threads;
        check(gptoss_model_get_num_threads(model_.get(), &num_threads));
        return num_threads;
    }

    gptoss_precision precision() const {
        gptoss_precision precision;
        check(gptoss_model_get_precision(model_.get(), &precision));
        return precision;
    }

    std::string instruction_set() const {
        const char* name;
        check(gptoss_model_get_instruction_set(model_.get(), &name));
        return name;
    }

    // (threads, bytes read per second, the same where the file is mapped, fp32 and int8 operations per second)
    py::tuple measure_roofline(double seconds) const {
        gptoss_roofline roofline;
        gptoss_status status;
        {
            const py::gil_scoped_release release;
            status = gptoss_model_measure_roofline(model_.get(), seconds, &roofline);
        }
        check(status);
        return py::make_tuple(roofline.num_threads, roofline.read_bytes_per_second,
                              roofline.mapped_read_bytes_per_second, roofline.fp32_operations_per_second,
                              roofline.int8_operations_per_second);
    }

    py::tuple memory_use() const {
        gptoss_memory_use memory;
        check(gptoss_model_get_memory_use(model_.get(), &memory));
        return py::make_tuple(memory.weights, memory.workspace);
    }

    size_t kv_cache_size(size_t num_tokens) const {
        size_t num_bytes;
        check(gptoss_model_get_kv_cache_size(model_.get(), num_tokens, &num_bytes));
        return num_bytes;
    }

    // (backend, context length, weights, workspace, key/value cache, total, limit, advice); sizes in bytes
    py::tuple estimate_memory(gptoss_backend backend, size_t context_length, size_t max_batch_tokens) const {
        gptoss_memory_estimate estimate;
        check(gptoss_model_estimate_memory(model_.get(), backend, context_length, max_batch_tokens, &estimate));
        return py::make_tuple(backend_name(estimate.backend), estimate.context_length, estimate.weights,
                              estimate.workspace, estimate.kv_cache, estimate.total, estimate.limit, estimate.advice);
    }

    // (name, data type, shape, offset, number of bytes) of each tensor, in file order.
    py::list tensors() const {
        static constexpr const char* kDataTypes[] = {"bf16", "mxfp4_blocks", "mxfp4_scales", "q8_codes", "q8_scales"};
        size_t num_tensors;
        check(gptoss_model_get_num_tensors(model_.get(), &num_tensors));
        py::list result;
        for (size_t index = 0; index < num_tensors; index++) {
            gptoss_tensor tensor;
            check(gptoss_model_get_tensor(model_.get(), index, &tensor));
            py::tuple shape(tensor.num_dims);
            for (uint32_t dim = 0; dim < tensor.num_dims; dim++) {
                shape[dim] = tensor.shape[dim];
            }
            result.append(
                py::make_tuple(tensor.name, kDataTypes[tensor.data_type], shape, tensor.offset, tensor.num_bytes));
        }
        return result;
    }

    // The file is untrusted: what is not UTF-8 is replaced here, and rejected by the regex compiler if need be.
    py::object tokenizer_regex() const {
        const char* regex;
        check(gptoss_tokenizer_get_regex(tokenizer_.get(), &regex));
        PyObject* const text = PyUnicode_DecodeUTF8(regex, static_cast<Py_ssize_t>(std::strlen(regex)), "replace");
        if (text == nullptr) {
            throw py::error_already_set();
        }
        return py::reinterpret_steal<py::object>(text);
    }

    uint32_t num_text_tokens() const {
        uint32_t count;
        check(gptoss_tokenizer_get_num_text_tokens(tokenizer_.get(), &count));
        return count;
    }

    uint32_t num_special_tokens() const {
        uint32_t count;
        check(gptoss_tokenizer_get_num_special_tokens(tokenizer_.get(), &count));
        return count;
    }

    py::bytes token_bytes(uint32_t token) const {
        const void* bytes;
        size_t size;
        check(gptoss_tokenizer_decode(tokenizer_.get(), token, &bytes, &size));
        return py::bytes(static_cast<const char*>(bytes), size);
    }

    py::list all_text_tokens() const {
        const uint32_t count = num_text_tokens();
        py::list result(count);
        for (uint32_t token = 0; token < count; token++) {
            result[token] = token_bytes(token);
        }
        return result;
    }

    // Takes bytes, so that what is not UTF-8 is the library's to refuse.
    std::vector<uint32_t> encode_text(const py::bytes& text) const {
        char* bytes;
        Py_ssize_t size;
        if (PyBytes_AsStringAndSize(text.ptr(), &bytes, &size) != 0) {
            throw py::error_already_set();
        }
        const auto num_bytes = static_cast<size_t>(size);
        std::vector<uint32_t> tokens(num_bytes); // no text has more tokens than bytes
        size_t num_tokens;
        gptoss_status status;
        {
            const py::gil_scoped_release release;
            status = gptoss_tokenizer_encode(tokenizer_.get(), bytes, num_bytes, tokens.data(), num_bytes, &num_tokens);
        }
        check(status);
        tokens.resize(num_tokens);
        return tokens;
    }

    std::optional<std::string> special_token_name(uint32_t token) const {
        static constexpr const char* kNames[] = {"",         "<|return|>",    "<|start|>",        "<|message|>",
                                                 "<|end|>",  "<|refusal|>",   "<|constrain|>",    "<|channel|>",
                                                 "<|call|>", "<|untrusted|>", "<|end_untrusted|>"};
        gptoss_special_token type;
        check(gptoss_tokenizer_get_special_token(tokenizer_.get(), token, &type));
        if (type == gptoss_special_token_invalid) {
            return std::nullopt;
        }
        return kNames[type];
    }

private:
    ModelHandle model_;
    TokenizerHandle tokenizer_;
};

class Context {
public:
    Context(std::shared_ptr<const Model> model, size_t context_length, size_t max_batch_tokens)
        : model_(std::move(model)) {
        gptoss_context_t context = nullptr;
        check(gptoss_context_create(model_->get(), context_length, max_batch_tokens, &context));
        context_.reset(context);
    }

    std::unique_ptr<Context> copy() const {
        gptoss_context_t context = nullptr;
        gptoss_status status;
        {
            const py::gil_scoped_release release;
            status = gptoss_context_copy(context_.get(), &context);
        }
        check(status);
        return std::unique_ptr<Context>(new Context(model_, ContextHandle(context)));
    }

    gptoss_context_t get() const { return context_.get(); }

    size_t num_tokens() const {
        size_t count;
        check(gptoss_context_get_num_tokens(context_.get(), &count));
        return count;
    }

    size_t max_tokens() const {
        size_t count;
        check(gptoss_context_get_max_tokens(context_.get(), &count));
        return count;
    }

    size_t num_cached_tokens() const {
        size_t count;
        check(gptoss_context_get_num_cached_tokens(context_.get(), &count));
        return count;
    }

    std::vector<uint32_t> tokens() const {
        std::vector<uint32_t> tokens(num_tokens());
        size_t count;
        check(gptoss_context_get_tokens(context_.get(), tokens.data(), tokens.size(), &count));
        return tokens;
    }

    void append(const std::vector<uint32_t>& tokens) {
        check(gptoss_context_append_tokens(context_.get(), tokens.size(), tokens.data()));
    }

    void truncate(size_t num_tokens) { check(gptoss_context_truncate(context_.get(), num_tokens)); }

    void reset() { check(gptoss_context_reset(context_.get())); }

    void abort() { check(gptoss_context_abort(context_.get())); }

    void process(std::optional<py::function> progress) {
        Interrupts interrupts(std::move(progress));
        check_without_gil(interrupts, [&] {
            return gptoss_context_process_with_progress(context_.get(), Interrupts::callback, &interrupts);
        });
    }

    py::array_t<float> logits() {
        process(std::nullopt); // interruptible, unlike the call that copies
        const size_t vocabulary_size = model_->config().vocabulary_size;
        py::array_t<float> result(static_cast<py::ssize_t>(vocabulary_size));
        check(gptoss_context_get_logits(context_.get(), result.mutable_data(), vocabulary_size));
        return result;
    }

    // [num_tokens - first_token, V]
    py::array_t<float> logits_from(size_t first_token, std::optional<py::function> progress) {
        const size_t vocabulary_size = model_->config().vocabulary_size;
        const size_t num_rows = num_tokens() - first_token;
        py::array_t<float> result({num_rows, vocabulary_size});
        float* const logits = result.mutable_data();
        Interrupts interrupts(std::move(progress));
        check_without_gil(interrupts, [&] {
            return gptoss_context_get_logits_from(context_.get(), first_token, logits, num_rows * vocabulary_size,
                                                  Interrupts::callback, &interrupts);
        });
        return result;
    }

    // (tokens, their log-probabilities, finish reason)
    py::tuple sample(size_t max_tokens,
                     float temperature,
                     float top_p,
                     uint32_t top_k,
                     float min_p,
                     float repetition_penalty,
                     float presence_penalty,
                     float frequency_penalty,
                     const std::vector<std::pair<uint32_t, float>>& logit_bias,
                     uint64_t seed,
                     const std::vector<uint32_t>& stop_tokens,
                     size_t num_tokens_ahead) {
        std::vector<gptoss_logit_bias> biases;
        for (const auto& [token, bias] : logit_bias) {
            biases.push_back({token, bias});
        }
        Interrupts interrupts(std::nullopt);
        gptoss_sampling_options options;
        gptoss_sampling_options_init(&options);
        options.temperature = temperature;
        options.top_p = top_p;
        options.top_k = top_k;
        options.min_p = min_p;
        options.repetition_penalty = repetition_penalty;
        options.presence_penalty = presence_penalty;
        options.frequency_penalty = frequency_penalty;
        options.logit_biases = biases.data();
        options.num_logit_biases = biases.size();
        options.seed = seed;
        options.stop_tokens = stop_tokens.data();
        options.num_stop_tokens = stop_tokens.size();
        options.progress = Interrupts::callback;
        options.user_data = &interrupts;
        options.num_tokens_ahead = num_tokens_ahead;

        // No more than fits, whatever was asked for: a caller's "unlimited" is not a size to allocate.
        const size_t room = this->max_tokens() - this->num_tokens();
        std::vector<uint32_t> tokens(std::min(max_tokens, room + 1));
        std::vector<float> log_probabilities(tokens.size());
        size_t num_tokens = 0;
        gptoss_finish_reason reason = gptoss_finish_reason_length;
        check_without_gil(interrupts, [&] {
            return gptoss_context_sample_with_options(context_.get(), &options, tokens.size(), tokens.data(),
                                                      log_probabilities.data(), &num_tokens, &reason);
        });
        tokens.resize(num_tokens);
        log_probabilities.resize(num_tokens);
        static constexpr const char* kReasons[] = {"length", "stop", "context_length"};
        return py::make_tuple(tokens, log_probabilities, kReasons[reason]);
    }

private:
    Context(std::shared_ptr<const Model> model, ContextHandle context)
        : model_(std::move(model)), context_(std::move(context)) {}

    std::shared_ptr<const Model> model_;
    ContextHandle context_;
};

void process_batch(const std::vector<Context*>& contexts, std::optional<py::function> progress) {
    std::vector<gptoss_context_t> handles;
    for (const Context* const context : contexts) {
        handles.push_back(context->get());
    }
    Interrupts interrupts(std::move(progress));
    check_without_gil(interrupts, [&] {
        return gptoss_process_batch(handles.size(), handles.data(), Interrupts::callback, &interrupts);
    });
}

} // namespace

PYBIND11_MODULE(_native, module) {
    module.doc() = "The C library of gptoss as Python objects; use gptoss.Model and gptoss.Context instead.";
    module.def("version", &gptoss_version);
    module.def("build_info", &build_info);

    py::enum_<gptoss_backend>(module, "Backend")
        .value("auto", gptoss_backend_auto)
        .value("cpu", gptoss_backend_cpu)
        .value("metal", gptoss_backend_metal);
    py::enum_<gptoss_precision>(module, "Precision")
        .value("default", gptoss_precision_default)
        .value("exact", gptoss_precision_exact)
        .value("fast", gptoss_precision_fast);
    module.def("device_info", &device_info, py::arg("backend"));
    module.def("selftest_kernels", &selftest_kernels, py::arg("backend"), py::arg("callback"));

    py::class_<Model, std::shared_ptr<Model>>(module, "Model")
        .def(py::init<const std::string&, gptoss_backend, uint32_t, gptoss_precision>(), py::arg("path"),
             py::arg("backend"), py::arg("num_threads"), py::arg("precision"))
        .def("config", &Model::config_dict)
        .def("backend", &Model::backend)
        .def("num_threads", &Model::num_threads)
        .def("precision", &Model::precision)
        .def("instruction_set", &Model::instruction_set)
        .def("measure_roofline", &Model::measure_roofline, py::arg("seconds"))
        .def("memory_use", &Model::memory_use)
        .def("kv_cache_size", &Model::kv_cache_size, py::arg("num_tokens"))
        .def("estimate_memory", &Model::estimate_memory, py::arg("backend"), py::arg("context_length"),
             py::arg("max_batch_tokens"))
        .def("tensors", &Model::tensors)
        .def("tokenizer_regex", &Model::tokenizer_regex)
        .def("num_text_tokens", &Model::num_text_tokens)
        .def("num_special_tokens", &Model::num_special_tokens)
        .def("token_bytes", &Model::token_bytes, py::arg("token"))
        .def("all_text_tokens", &Model::all_text_tokens)
        .def("encode_text", &Model::encode_text, py::arg("text"))
        .def("special_token_name", &Model::special_token_name, py::arg("token"));

    py::class_<Context>(module, "Context")
        .def(py::init([](std::shared_ptr<Model> model, size_t context_length, size_t max_batch_tokens) {
                 return std::make_unique<Context>(std::move(model), context_length, max_batch_tokens);
             }),
             py::arg("model"), py::arg("context_length"), py::arg("max_batch_tokens"))
        .def("copy", &Context::copy)
        .def("num_tokens", &Context::num_tokens)
        .def("max_tokens", &Context::max_tokens)
        .def("num_cached_tokens", &Context::num_cached_tokens)
        .def("tokens", &Context::tokens)
        .def("append", &Context::append, py::arg("tokens"))
        .def("truncate", &Context::truncate, py::arg("num_tokens"))
        .def("reset", &Context::reset)
        .def("abort", &Context::abort)
        .def("process", &Context::process, py::arg("progress"))
        .def("logits", &Context::logits)
        .def("logits_from", &Context::logits_from, py::arg("first_token"), py::arg("progress"))
        .def("sample", &Context::sample, py::kw_only(), py::arg("max_tokens"), py::arg("temperature"), py::arg("top_p"),
             py::arg("top_k"), py::arg("min_p"), py::arg("repetition_penalty"), py::arg("presence_penalty"),
             py::arg("frequency_penalty"), py::arg("logit_bias"), py::arg("seed"), py::arg("stop_tokens"),
             py::arg("num_tokens_ahead"));

    module.def("process_batch", &process_batch, py::arg("contexts"), py::arg("progress"));
}
