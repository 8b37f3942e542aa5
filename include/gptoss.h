/*
 * gptoss: a local inference engine for OpenAI's gpt-oss-20b and gpt-oss-120b.
 *
 * The whole boundary of the C library. A *model* is one loaded file and is immutable; a *context* is one mutable
 * timeline of tokens with its key/value cache and belongs to a model; a *tokenizer* is the model's vocabulary.
 * Callers hand over tokens; a context re-uses whatever part of its cache still matches them.
 *
 *     gptoss_model_t model;
 *     gptoss_context_t context;
 *     gptoss_model_create_from_file("model.bin", &model);
 *     gptoss_context_create(model, 0, 0, &context);
 *     gptoss_context_append_tokens(context, num_prompt_tokens, prompt_tokens);
 *     gptoss_context_sample(context, 0.0f, 0, 128, tokens, &num_tokens);
 *     gptoss_context_release(context);
 *     gptoss_model_release(model);
 *
 * Errors: every function returns a status. On anything but success, gptoss_last_error() holds a sentence that says
 * what happened, and output arguments are unchanged (handles: null). No C++ exception crosses this boundary.
 *
 * Ownership: objects are reference-counted. *_create and *_copy return one reference, *_retain adds one, *_release
 * drops one. A context keeps its model alive, and a tokenizer keeps the mapped file alive.
 *
 * Threads: models and tokenizers may be used from any number of threads at once. A context may be used from any
 * thread but from one at a time: a second call made while one is running returns gptoss_status_invalid_state. The
 * exception is gptoss_context_abort, which is meant to be called from another thread (or a signal handler).
 * Contexts of one model that run in several threads take turns on its backend, one batch at a time.
 *
 * Names and meaning follow the reference's C API (openai/gpt-oss, gpt_oss/metal/include), so that a program written
 * for it compiles; what is added is marked "addition".
 */
#ifndef GPTOSS_H
#define GPTOSS_H

#include <stddef.h>
#include <stdint.h>

#define GPTOSS_VERSION_MAJOR 0
#define GPTOSS_VERSION_MINOR 1
#define GPTOSS_VERSION_PATCH 0

#if defined(__GNUC__)
#define GPTOSS_ABI __attribute__((visibility("default")))
#else
#define GPTOSS_ABI
#endif

/* The values come from callers, so they may be any: with a fixed type C++, like C, may look at one and refuse it. */
#ifdef __cplusplus
#define GPTOSS_INT : int
#else
#define GPTOSS_INT
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum gptoss_status GPTOSS_INT {
    gptoss_status_success = 0,
    gptoss_status_invalid_argument = 1,     /* a null pointer, a token outside the vocabulary, a value out of range */
    gptoss_status_unsupported_argument = 2, /* valid in general, not for this model or build */
    gptoss_status_invalid_state = 3,        /* the context is in use by another thread, or holds no tokens */
    gptoss_status_io_error = 4,             /* the operating system refused to open, read or map a file */
    gptoss_status_insufficient_memory = 5,
    gptoss_status_insufficient_resources = 6, /* no thread could be started, no device memory was left */
    gptoss_status_unsupported_system = 7,     /* the backend that was asked for is not in this build or machine */
    gptoss_status_context_overflow = 8,       /* more tokens than the context's limit */
    /* additions */
    gptoss_status_file_not_found = 9,
    gptoss_status_invalid_model_file =
        10,                            /* the file is not a valid model.bin; the error names offset, expected, found */
    gptoss_status_aborted = 11,        /* stopped by gptoss_context_abort or by a progress callback */
    gptoss_status_internal_error = 12, /* a defect of this library or a failed device */
};

/* The special tokens that a model file can name. */
enum gptoss_special_token GPTOSS_INT {
    gptoss_special_token_invalid = 0,
    gptoss_special_token_return = 1,
    gptoss_special_token_start = 2,
    gptoss_special_token_message = 3,
    gptoss_special_token_end = 4,
    gptoss_special_token_refusal = 5,
    gptoss_special_token_constrain = 6,
    gptoss_special_token_channel = 7,
    gptoss_special_token_call = 8,
    gptoss_special_token_untrusted = 9,
    gptoss_special_token_end_untrusted = 10,
    gptoss_special_token_max
};

typedef struct gptoss_model* gptoss_model_t;
typedef struct gptoss_tokenizer* gptoss_tokenizer_t;
typedef struct gptoss_context* gptoss_context_t;

/* ---- Library (additions) -------------------------------------------------------------------------------------- */

/* "MAJOR.MINOR.PATCH" of the library that is linked; static storage. */
GPTOSS_ABI const char* gptoss_version(void);

/*
 * The sentence that describes the last failure in the calling thread, "" if there was none. Owned by the library and
 * valid until the next failing call in the same thread.
 */
GPTOSS_ABI const char* gptoss_last_error(void);

/* The name of a status, for instance "context_overflow"; static storage. */
GPTOSS_ABI const char* gptoss_status_name(enum gptoss_status status);

/* ---- Model ---------------------------------------------------------------------------------------------------- */

/* addition: where the model runs. */
enum gptoss_backend GPTOSS_INT {
    gptoss_backend_auto = 0, /* the fastest of this build and machine */
    gptoss_backend_cpu = 1,
    gptoss_backend_metal = 2
};

/* addition: how a backend computes where there is a choice between speed and the last digits (docs/accuracy.md). */
enum gptoss_precision GPTOSS_INT {
    /* The fastest arithmetic whose probabilities stay within a KL divergence of 1e-3 of exact ones, on average. */
    gptoss_precision_default = 0,
    gptoss_precision_exact = 1, /* activations are fp32 in every product, and sums too */
    /* The experts' activations take 8 bits, as in llama.cpp; what that costs is in docs/accuracy.md. */
    gptoss_precision_fast = 2
};

/* addition: where a backend runs. */
struct gptoss_device_info {
    enum gptoss_backend backend; /* never auto */
    char name[128];              /* NUL-terminated: "Apple M2 Max"; of the processor for the CPU backend */
    char operating_system[128];  /* "macOS 14.5" */
    uint64_t recommended_bytes;  /* that all of the backend's memory should not exceed; 0: none known (CPU) */
    uint64_t max_buffer_bytes;   /* of one allocation; 0: none known (CPU) */
    uint64_t physical_bytes;     /* memory of the machine */
};

/* addition: the device of a backend; auto: of the one that it stands for. Fails with unsupported_system. */
GPTOSS_ABI enum gptoss_status gptoss_get_device_info(enum gptoss_backend backend,
                                                     struct gptoss_device_info* device_info_out);

/*
 * addition: options of gptoss_model_create. Set `size` to sizeof(struct gptoss_model_options) and the rest to zero
 * for the defaults; later versions only append fields.
 */
struct gptoss_model_options {
    size_t size;
    enum gptoss_backend backend; /* default: auto */
    /* of the CPU backend, the caller's included; 0: what the environment variable GPTOSS_THREADS says, or else one per
     * processor that the process may use (affinity) and has the time of (control groups) */
    uint32_t num_threads;
    enum gptoss_precision precision; /* of the CPU backend; the Metal backend always computes in exact precision */
};

/* addition: the header of a model file (docs/model-format.md). */
struct gptoss_model_config {
    uint32_t context_length;     /* tokens */
    uint32_t num_blocks;         /* layers; even ones slide over attention_window keys, odd ones see everything */
    uint32_t num_experts;        /* per block */
    uint32_t num_active_experts; /* per token */
    uint32_t embedding_dim;      /* width of the residual stream */
    uint32_t mlp_dim;            /* width of an expert */
    float swiglu_limit;
    uint32_t head_dim;
    uint32_t num_heads;
    uint32_t num_kv_heads;
    uint32_t attention_window; /* keys that a query of an even block sees, itself included */
    float rope_theta;
    float interpolation_scale; /* 1 / YaRN factor */
    float yarn_offset;
    float yarn_scale;
    float yarn_multiplier;
    float rmsnorm_epsilon;
    uint32_t vocabulary_size; /* text and special tokens: the number of logits */
};

/* addition: bytes in use by a model. */
struct gptoss_memory_use {
    size_t weights;   /* of the mapped file; shared with other processes that map it, not allocated */
    size_t workspace; /* activations, allocated by the backend so far */
};

/* addition: bytes that a model with one context needs on a backend. */
struct gptoss_memory_estimate {
    enum gptoss_backend backend; /* never auto */
    size_t context_length;       /* tokens that the context is full with */
    size_t weights;              /* of the mapped file */
    size_t workspace;            /* activations, and what sampling needs */
    size_t kv_cache;             /* of the context; any other context's comes on top */
    size_t total;
    size_t limit;     /* what the device recommends not to exceed (gptoss_device_info); 0: none known */
    char advice[768]; /* NUL-terminated: what helps if the total is above the limit, with the numbers; else "" */
};

enum gptoss_data_type GPTOSS_INT {
    gptoss_data_type_bf16 = 0,
    gptoss_data_type_mxfp4_blocks = 1, /* 32 codes of 4 bits in 16 bytes */
    gptoss_data_type_mxfp4_scales = 2, /* one byte b per 32 codes: 2^(b - 14 - 127) */
    gptoss_data_type_q8_codes = 3,     /* int8 [rows, columns]: value = code * scale */
    gptoss_data_type_q8_scales = 4     /* fp16 [rows, columns / 32]: of 32 codes along a row */
};

/* addition: one tensor of the file. */
struct gptoss_tensor {
    char name[64]; /* NUL-terminated, for instance "block.3.attn.qkv.weight" */
    enum gptoss_data_type data_type;
    uint32_t num_dims;
    uint64_t shape[4]; /* the first num_dims are used; mxfp4 blocks end in [.., columns / 32, 16] */
    uint64_t offset;   /* bytes from the start of the file */
    uint64_t num_bytes;
};

/*
 * Maps and validates a model file. Nothing of its size is read or allocated: weights are used where they are mapped,
 * so the file must not be truncated or rewritten in place while the model lives.
 *
 * Fails with file_not_found, io_error, invalid_model_file, unsupported_system (backend not in this build or machine),
 * insufficient_resources (the GPU's memory does not hold the weights and a context of 4,096 tokens).
 */
GPTOSS_ABI enum gptoss_status gptoss_model_create_from_file(const char* path, gptoss_model_t* model_out);

/* addition: the same with options; null for the defaults. */
GPTOSS_ABI enum gptoss_status gptoss_model_create(const char* path,
                                                  const struct gptoss_model_options* options,
                                                  gptoss_model_t* model_out);

/* The model's tokenizer, retained for the caller: release it with gptoss_tokenizer_release. */
GPTOSS_ABI enum gptoss_status gptoss_model_get_tokenizer(gptoss_model_t model, gptoss_tokenizer_t* tokenizer_out);

/* The longest context that the model was trained for, in tokens. */
GPTOSS_ABI enum gptoss_status gptoss_model_get_max_context_length(gptoss_model_t model, size_t* max_context_length_out);

GPTOSS_ABI enum gptoss_status gptoss_model_retain(gptoss_model_t model);
GPTOSS_ABI enum gptoss_status gptoss_model_release(gptoss_model_t model);

/* additions */
GPTOSS_ABI enum gptoss_status gptoss_model_get_config(gptoss_model_t model, struct gptoss_model_config* config_out);
/* The backend that was chosen: never auto. */
GPTOSS_ABI enum gptoss_status gptoss_model_get_backend(gptoss_model_t model, enum gptoss_backend* backend_out);
GPTOSS_ABI enum gptoss_status gptoss_model_get_num_threads(gptoss_model_t model, uint32_t* num_threads_out);
/* The precision that it computes in: always exact with the Metal backend. */
GPTOSS_ABI enum gptoss_status gptoss_model_get_precision(gptoss_model_t model, enum gptoss_precision* precision_out);
GPTOSS_ABI enum gptoss_status gptoss_model_get_memory_use(gptoss_model_t model, struct gptoss_memory_use* memory_out);
/* Bytes of key/value cache of one context that holds `num_tokens` tokens, with the default batch size. */
GPTOSS_ABI enum gptoss_status gptoss_model_get_kv_cache_size(gptoss_model_t model,
                                                             size_t num_tokens,
                                                             size_t* num_bytes_out);
/*
 * What the model needs on `backend`, which may be another one than its own (auto: the one that auto stands for), with
 * one context. context_length and max_batch_tokens are those of gptoss_context_create; a context_length of 0 means the
 * longest that fits, at most the model's maximum, and 4096 on a device that would refuse the model.
 * Fails with unsupported_system, invalid_argument (longer than the model's maximum).
 */
GPTOSS_ABI enum gptoss_status gptoss_model_estimate_memory(gptoss_model_t model,
                                                           enum gptoss_backend backend,
                                                           size_t context_length,
                                                           size_t max_batch_tokens,
                                                           struct gptoss_memory_estimate* estimate_out);
GPTOSS_ABI enum gptoss_status gptoss_model_get_num_tensors(gptoss_model_t model, size_t* num_tensors_out);
/* The tensor at `index` in file order. */
GPTOSS_ABI enum gptoss_status gptoss_model_get_tensor(gptoss_model_t model,
                                                      size_t index,
                                                      struct gptoss_tensor* tensor_out);

/* ---- Tokenizer ------------------------------------------------------------------------------------------------ */

/* The id of a special token; fails with unsupported_argument if the model's vocabulary has no such token. */
GPTOSS_ABI enum gptoss_status gptoss_tokenizer_get_special_token_id(gptoss_tokenizer_t tokenizer,
                                                                    enum gptoss_special_token token_type,
                                                                    uint32_t* token_id_out);
GPTOSS_ABI enum gptoss_status gptoss_tokenizer_get_num_text_tokens(gptoss_tokenizer_t tokenizer,
                                                                   uint32_t* num_text_tokens_out);
GPTOSS_ABI enum gptoss_status gptoss_tokenizer_get_num_special_tokens(gptoss_tokenizer_t tokenizer,
                                                                      uint32_t* num_special_tokens_out);
GPTOSS_ABI enum gptoss_status gptoss_tokenizer_get_num_tokens(gptoss_tokenizer_t tokenizer, uint32_t* num_tokens_out);

/*
 * The bytes of a text token (not NUL-terminated, not necessarily whole UTF-8 characters). Owned by the tokenizer and
 * valid as long as it lives. Special tokens have no bytes: invalid_argument.
 */
GPTOSS_ABI enum gptoss_status gptoss_tokenizer_decode(gptoss_tokenizer_t tokenizer,
                                                      uint32_t token_id,
                                                      const void** token_ptr_out,
                                                      size_t* token_size_out);

GPTOSS_ABI enum gptoss_status gptoss_tokenizer_retain(gptoss_tokenizer_t tokenizer);
GPTOSS_ABI enum gptoss_status gptoss_tokenizer_release(gptoss_tokenizer_t tokenizer);

/* additions */
/* The pattern that splits text before byte-pair encoding, NUL-terminated; valid as long as the tokenizer lives. */
GPTOSS_ABI enum gptoss_status gptoss_tokenizer_get_regex(gptoss_tokenizer_t tokenizer, const char** regex_out);
/* Which special token an id is: gptoss_special_token_invalid for text tokens and unnamed special tokens. */
GPTOSS_ABI enum gptoss_status gptoss_tokenizer_get_special_token(gptoss_tokenizer_t tokenizer,
                                                                 uint32_t token_id,
                                                                 enum gptoss_special_token* token_type_out);
/*
 * Tokenizes UTF-8 text as ordinary text: the spelling of a special token is ordinary text too. Byte-pair encoding as
 * tiktoken does it, for files with the o200k_base split pattern; any other pattern is unsupported_argument (the Python
 * package handles those). Text that is not UTF-8 is invalid_argument.
 *
 * Copies up to max_tokens token ids; num_tokens_out receives how many the text has, which is never more than
 * text_length. The text may hold NUL bytes and needs none at its end.
 */
GPTOSS_ABI enum gptoss_status gptoss_tokenizer_encode(gptoss_tokenizer_t tokenizer,
                                                      const char* text,
                                                      size_t text_length,
                                                      uint32_t* tokens_out,
                                                      size_t max_tokens,
                                                      size_t* num_tokens_out);

/* ---- Context: tokens ------------------------------------------------------------------------------------------ */

/*
 * Creates an empty context.
 *
 * context_length    most tokens that the context may hold, at most the model's maximum. 0: that maximum, or on a GPU
 *                   the longest that fits its memory beside the contexts that are there, if that is less.
 * max_batch_tokens  most tokens of a prompt processed in one piece; 0: the default (512). Larger pieces are faster
 *                   on long prompts and need more memory; smaller ones stop and report progress more often.
 *
 * Memory for keys and values is allocated as the context fills, not here. A context that the GPU's memory could not
 * hold when it is full is refused here, though: insufficient_resources, with the numbers and what to do.
 */
GPTOSS_ABI enum gptoss_status gptoss_context_create(gptoss_model_t model,
                                                    size_t context_length,
                                                    size_t max_batch_tokens,
                                                    gptoss_context_t* context_out);

/* addition: an independent copy, cache included. It shares the model and nothing else. */
GPTOSS_ABI enum gptoss_status gptoss_context_copy(gptoss_context_t context, gptoss_context_t* context_out);

GPTOSS_ABI enum gptoss_status gptoss_context_retain(gptoss_context_t context);
GPTOSS_ABI enum gptoss_status gptoss_context_release(gptoss_context_t context);

/* The tokens that the context holds, whether or not they were processed yet. */
GPTOSS_ABI enum gptoss_status gptoss_context_get_num_tokens(gptoss_context_t context, size_t* num_tokens_out);
/* The most tokens that the context may hold. */
GPTOSS_ABI enum gptoss_status gptoss_context_get_max_tokens(gptoss_context_t context, size_t* max_tokens_out);
/* Copies up to max_tokens token ids; num_tokens_out receives how many the context holds. */
GPTOSS_ABI enum gptoss_status gptoss_context_get_tokens(gptoss_context_t context,
                                                        uint32_t* tokens_out,
                                                        size_t max_tokens,
                                                        size_t* num_tokens_out);
/*
 * addition: how many of the leading tokens the next gptoss_context_process need not process. After a reset and an
 * append this is the shared prefix that is re-used. A token that was sampled is not cached until it was processed.
 */
GPTOSS_ABI enum gptoss_status gptoss_context_get_num_cached_tokens(gptoss_context_t context,
                                                                   size_t* num_cached_tokens_out);

/* Appends tokens: all of them, or none (context_overflow, invalid_argument). */
GPTOSS_ABI enum gptoss_status gptoss_context_append_tokens(gptoss_context_t context,
                                                           size_t num_tokens,
                                                           const uint32_t* tokens);

/*
 * Tokenizes UTF-8 text as gptoss_tokenizer_encode does, with the same failures, and appends all its tokens or none.
 * num_tokens_out receives how many were appended; it may be null.
 */
GPTOSS_ABI enum gptoss_status gptoss_context_append_chars(gptoss_context_t context,
                                                          const char* text,
                                                          size_t text_length,
                                                          size_t* num_tokens_out);

/* addition: keeps the first num_tokens tokens. */
GPTOSS_ABI enum gptoss_status gptoss_context_truncate(gptoss_context_t context, size_t num_tokens);

/* Forgets all tokens. The cache stays until other tokens are processed, so that a shared prefix is re-used. */
GPTOSS_ABI enum gptoss_status gptoss_context_reset(gptoss_context_t context);

/* ---- Context: work -------------------------------------------------------------------------------------------- */

/*
 * addition: called in the thread that does the work, before the first and after every layer of each piece, with the
 * number of tokens processed so far and in all. Return 0 to go on, anything else to stop (gptoss_status_aborted).
 * It must not call functions on the context.
 */
typedef int (*gptoss_progress_callback)(void* user_data, size_t num_processed, size_t num_total);

/*
 * Processes the tokens that are not cached and computes the logits of the next token. Nothing to do is success.
 * Fails with invalid_state if the context is empty, aborted, insufficient_memory, insufficient_resources (the GPU's
 * memory). After a failure the context is usable: tokens of finished pieces stay cached, the rest is processed by the
 * next call.
 */
GPTOSS_ABI enum gptoss_status gptoss_context_process(gptoss_context_t context);

/* addition: the same with a progress callback, which may be null. */
GPTOSS_ABI enum gptoss_status gptoss_context_process_with_progress(gptoss_context_t context,
                                                                   gptoss_progress_callback progress,
                                                                   void* user_data);

/*
 * addition: processes the pending tokens of several contexts of one model together, so that the weights are read once
 * for all of them. Each context may appear once.
 */
GPTOSS_ABI enum gptoss_status gptoss_process_batch(size_t num_contexts,
                                                   const gptoss_context_t* contexts,
                                                   gptoss_progress_callback progress,
                                                   void* user_data);

/*
 * addition: makes the call that is running on the context, or else the next one that does work, return
 * gptoss_status_aborted within one layer of one piece (CPU), or after the piece or token at work (Metal). Append,
 * truncate and reset clear a pending abort. Safe from any thread and from signal handlers.
 */
GPTOSS_ABI enum gptoss_status gptoss_context_abort(gptoss_context_t context);

/*
 * addition: the logits of the next token, [vocabulary_size] fp32, copied to logits_out. Processes what is pending.
 * num_logits must be the vocabulary size.
 */
GPTOSS_ABI enum gptoss_status gptoss_context_get_logits(gptoss_context_t context, float* logits_out, size_t num_logits);

/*
 * addition: the logits after every token from `first_token` on, as a perplexity or a comparison of models needs them.
 *
 * logits_out  [num_tokens - first_token, vocabulary_size] fp32: row i follows token first_token + i.
 * num_logits  must be that many numbers; 0 rows, an empty context among them, are invalid_argument.
 * progress    may be null, as in gptoss_context_process_with_progress.
 *
 * Processes what is pending, and again what is cached of these tokens, because only the last one's logits are kept.
 * The backend's workspace grows by the logits of one piece (max_batch_tokens): ask for a long text in steps.
 */
GPTOSS_ABI enum gptoss_status gptoss_context_get_logits_from(gptoss_context_t context,
                                                             size_t first_token,
                                                             float* logits_out,
                                                             size_t num_logits,
                                                             gptoss_progress_callback progress,
                                                             void* user_data);

/* addition: how gptoss_context_sample_with_options ended. */
enum gptoss_finish_reason GPTOSS_INT {
    gptoss_finish_reason_length = 0,        /* max_tokens were sampled */
    gptoss_finish_reason_stop = 1,          /* the last token is one of the stop tokens */
    gptoss_finish_reason_context_length = 2 /* the context is full */
};

/* addition: the bias that is added to one token's logit. */
struct gptoss_logit_bias {
    uint32_t token;
    float bias;
};

/*
 * addition: how to sample. Initialise with gptoss_sampling_options_init, then change what is needed.
 *
 * The order is: logit bias, penalties (on the logits), temperature, softmax, top_k, top_p, min_p, one draw. The draw
 * for the token at position p comes from a counter-based generator keyed by (seed, p): the same seed gives the same
 * tokens however the calls are cut and however many threads run.
 */
struct gptoss_sampling_options {
    size_t size;
    float temperature; /* >= 0; 0: the most likely token, the lowest id on a tie */
    float top_p;       /* (0, 1]; the fewest tokens whose probability reaches top_p; 1: off */
    float min_p;       /* [0, 1]; drops tokens below min_p times the highest probability; 0: off */
    uint32_t top_k;    /* the k most likely tokens; 0: off */
    float
        repetition_penalty;  /* > 0; divides positive and multiplies negative logits of tokens in the context; 1: off */
    float presence_penalty;  /* subtracted once from the logit of each token sampled since the last append */
    float frequency_penalty; /* subtracted for every time that it was sampled since then */
    uint64_t seed;
    size_t num_stop_tokens;
    const uint32_t* stop_tokens; /* [num_stop_tokens] sampling ends with the first of these, which is kept */
    size_t num_logit_biases;
    const struct gptoss_logit_bias* logit_biases; /* [num_logit_biases] */
    gptoss_progress_callback progress;            /* called as in process_with_progress for every token; may be null */
    void* user_data;                              /* for progress */
    /*
     * How many more tokens the caller expects to sample with the same options after this call. A GPU then works ahead
     * while the caller looks at the tokens of this call; without it, it waits for the next call. It changes no token,
     * and what was done ahead in vain is dropped. 0: none.
     */
    size_t num_tokens_ahead;
};

GPTOSS_ABI void gptoss_sampling_options_init(struct gptoss_sampling_options* options);

/*
 * Samples and appends up to max_tokens tokens. Processes what is pending first. It never writes past the context's
 * limit: it stops there, and num_tokens_out is smaller than max_tokens. A full context is context_overflow.
 * The last token sampled is not processed yet (see gptoss_context_get_num_cached_tokens).
 */
GPTOSS_ABI enum gptoss_status gptoss_context_sample(gptoss_context_t context,
                                                    float temperature,
                                                    uint64_t seed,
                                                    size_t max_tokens,
                                                    uint32_t* tokens_out,
                                                    size_t* num_tokens_out);

/*
 * addition: the same with options.
 *
 * log_probabilities_out  [max_tokens], may be null: natural logarithm of each token's probability under the model's
 *                        own distribution (temperature 1, before bias, penalties and filters).
 * finish_reason_out      may be null.
 *
 * If the call is aborted, tokens sampled before it are in the context and in tokens_out, and num_tokens_out is set.
 */
GPTOSS_ABI enum gptoss_status gptoss_context_sample_with_options(gptoss_context_t context,
                                                                 const struct gptoss_sampling_options* options,
                                                                 size_t max_tokens,
                                                                 uint32_t* tokens_out,
                                                                 float* log_probabilities_out,
                                                                 size_t* num_tokens_out,
                                                                 enum gptoss_finish_reason* finish_reason_out);

/* ---- Benchmarks (additions) ----------------------------------------------------------------------------------- */

/* What the library was built from and with. */
struct gptoss_build_info {
    char commit[64];    /* NUL-terminated: of the sources, with "-dirty" if they were changed; "" if not known */
    char compiler[128]; /* NUL-terminated: "GCC 12.2.0" */
};

GPTOSS_ABI enum gptoss_status gptoss_get_build_info(struct gptoss_build_info* build_info_out);

/*
 * The instruction set that the CPU backend chose for this processor, for instance "x86-64-v4-vnni"; "" for other
 * backends. Static storage.
 */
GPTOSS_ABI enum gptoss_status gptoss_model_get_instruction_set(gptoss_model_t model, const char** instruction_set_out);

/* What this machine can do at best, with the model's threads and instruction set. */
struct gptoss_roofline {
    uint32_t num_threads;
    double read_bytes_per_second;        /* of memory that no cache holds, in large pages where the system has them */
    double mapped_read_bytes_per_second; /* of the model's file where it is mapped; 0: it is too small to tell */
    double fp32_operations_per_second;   /* multiplications and additions, each counted */
    double int8_operations_per_second;   /* of 8-bit numbers, likewise; 0: the instruction set has nothing for it */
};

/*
 * Measures for about `seconds`, from 0 to 60; three times each at the least, which takes about half a second. Each
 * figure is that of the fastest pass. A file that is not in memory is read from its disk first, up to 1 GiB of it.
 *
 * Fails with unsupported_argument for backends other than the CPU, and with insufficient_memory: it takes up to 1 GiB.
 */
GPTOSS_ABI enum gptoss_status gptoss_model_measure_roofline(gptoss_model_t model,
                                                            double seconds,
                                                            struct gptoss_roofline* roofline_out);

/* ---- Self-test (additions) ------------------------------------------------------------------------------------ */

/* What became of one kernel's check on this machine's device. Valid during the callback only. */
struct gptoss_kernel_check {
    const char* kernel;        /* "projection_qkv_bf16" */
    const char* shape;         /* what it ran on: "1 row, 5120 x 2880" */
    int passed;                /* 1, or 0 and then `message` says what is wrong */
    double largest_difference; /* of an output from float64, relative to the greatest magnitude; NaN: not a number */
    double tolerance;          /* for that output; 0: outputs are integers or copies, which have to be equal */
    const char* message;       /* "" if it passed */
    double seconds;            /* of the whole check: compiling the kernel and computing the same here included */
};

/*
 * Called in the calling thread after each check, with how many are done and how many there are. Return 0 to go on,
 * anything else to stop (gptoss_status_aborted).
 */
typedef int (*gptoss_kernel_check_callback)(void* user_data,
                                            size_t num_done,
                                            size_t num_total,
                                            const struct gptoss_kernel_check* check);

/*
 * Runs every kernel of a backend on this machine's device with made-up inputs, the same at every run, and compares
 * what it computes with plain C++ in float64. Needs no model. A check that fails is told to the callback and is no
 * failure of the call.
 *
 * Fails with unsupported_system if the backend is not in this build or has no device here, with unsupported_argument
 * for the CPU backend, whose kernels are compiled and tested with the library, with insufficient_resources (it
 * takes about 0.2 GB), aborted, and internal_error once the device has stopped answering.
 */
GPTOSS_ABI enum gptoss_status gptoss_selftest_kernels(enum gptoss_backend backend,
                                                      gptoss_kernel_check_callback callback,
                                                      void* user_data);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* GPTOSS_H */
