// What the files of the C boundary (api_*.cpp) share: the handles, and how exceptions become a status and a sentence.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <vector>

#include "context.h"
#include "errors.h"
#include "gptoss.h"
#include "model.h"
#include "tokenizer.h"

struct gptoss_model {
    std::atomic<size_t> references = 1;
    std::shared_ptr<const gptoss::Model> model;
};

struct gptoss_tokenizer {
    std::atomic<size_t> references = 1;
    std::shared_ptr<const gptoss::Tokenizer> tokenizer;
};

struct gptoss_context {
    std::atomic<size_t> references = 1;
    std::mutex in_use;
    std::unique_ptr<gptoss::Context> context;
};

namespace gptoss::api {

// Runs the body of an API function. Nothing may leave it but a status.
template <class Body>
gptoss_status guarded(const Body& body) noexcept {
    try {
        body();
        return gptoss_status_success;
    } catch (const Error& error) {
        gptoss::set_last_error(error.what());
        return error.status();
    } catch (const std::bad_alloc&) {
        gptoss::set_last_error(
            "Not enough memory: use a shorter context or a smaller max_batch_tokens, or close other programs.");
        return gptoss_status_insufficient_memory;
    } catch (const std::length_error&) {
        gptoss::set_last_error("Not enough memory: a size exceeds what this machine can address.");
        return gptoss_status_insufficient_memory;
    } catch (const std::exception& error) {
        gptoss::set_last_error(error.what());
        return gptoss_status_internal_error;
    } catch (...) {
        gptoss::set_last_error("An unknown error happened inside the library.");
        return gptoss_status_internal_error;
    }
}

template <class Pointer>
void require(Pointer pointer, const char* name) {
    if (pointer == nullptr) {
        fail(gptoss_status_invalid_argument, "The argument '", name, "' must not be null.");
    }
}

template <class Handle>
gptoss_status retain(Handle* handle, const char* name) noexcept {
    return guarded([&] {
        require(handle, name);
        handle->references.fetch_add(1, std::memory_order_relaxed);
    });
}

template <class Handle>
gptoss_status release(Handle* handle, const char* name) noexcept {
    return guarded([&] {
        require(handle, name);
        if (handle->references.fetch_sub(1, std::memory_order_acq_rel) == 1) {
            const std::unique_ptr<Handle> last(handle);
        }
    });
}

inline std::vector<uint32_t> encode(const gptoss::Tokenizer& tokenizer, const char* text, size_t text_length) {
    if (text_length != 0) {
        require(text, "text");
    }
    return tokenizer.encode({text, text_length});
}

// Copies what fits.
inline void copy_tokens(const std::vector<uint32_t>& tokens, uint32_t* tokens_out, size_t max_tokens) {
    const size_t num_copied = std::min(max_tokens, tokens.size());
    if (num_copied != 0) {
        require(tokens_out, "tokens_out");
        std::copy_n(tokens.begin(), num_copied, tokens_out);
    }
}

// The caller's options, which may be of an older version and so shorter, on top of the defaults.
template <class Options>
Options read_options(const Options* options, Options defaults, const char* name) {
    if (options == nullptr) {
        return defaults;
    }
    if (options->size < sizeof(options->size) || options->size > sizeof(Options)) {
        fail(gptoss_status_invalid_argument, name, ".size is ", options->size, ": set it to sizeof(struct ", name,
             "), which is ", sizeof(Options), " in this version of the library.");
    }
    std::memcpy(&defaults, options, options->size);
    return defaults;
}

} // namespace gptoss::api
