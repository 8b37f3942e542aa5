#include "token_stream.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "../../metal/arguments.h"
#include "../errors.h"
#include "../forward.h"
#include "metal_backend.h"

namespace gptoss::metal {

namespace {

using namespace gptoss_metal;

// Where a slice of `constant` memory may begin, on every GPU.
constexpr size_t kAlignment = 256;

size_t num_groups(const ModelConfig& config) {
    return (size_t{config.vocabulary_size} + 31) / 32;
}

// Hands out slices of one buffer, one after the other; of no buffer, to count the bytes.
class Carver {
public:
    explicit Carver(const Buffer* memory) : memory_(memory) {}

    template <class Element>
    Slice take(size_t count) {
        const Slice slice(memory_, used_, count * sizeof(Element));
        used_ += (slice.size + kAlignment - 1) / kAlignment * kAlignment;
        return slice;
    }
    size_t used() const { return used_; }

private:
    const Buffer* memory_;
    size_t used_ = 0;
};

// All but the stop tokens, whose number is the caller's.
void carve(Carver& carver, const ModelConfig& config, SamplingBuffers& buffers, std::span<Slice> results) {
    const size_t vocabulary_size = config.vocabulary_size;
    const size_t groups = num_groups(config);
    buffers.options = carver.take<SamplingOptions>(1);
    buffers.state = carver.take<SamplingState>(1);
    buffers.logits = carver.take<float>(vocabulary_size);
    buffers.biased = carver.take<uint32_t>(groups);
    buffers.biases = carver.take<float>(vocabulary_size);
    buffers.seen = carver.take<uint32_t>(groups);
    buffers.generated = carver.take<uint32_t>(groups);
    buffers.counts = carver.take<uint32_t>(vocabulary_size);
    buffers.groups = carver.take<uint32_t>(2 * groups);
    buffers.model_groups = carver.take<uint32_t>(2 * groups);
    buffers.cut = carver.take<uint32_t>(1);
    buffers.num_candidates = carver.take<uint32_t>(1);
    buffers.candidates = carver.take<uint32_t>(2 * vocabulary_size);
    buffers.next_token = carver.take<uint32_t>(1);
    for (Slice& result : results) {
        result = carver.take<SamplingResult>(1);
    }
}

void set_bit(const Slice& words, uint32_t token) {
    words.as<uint32_t>()[token / 32] |= 1u << (token % 32);
}

} // namespace

size_t MetalTokenStream::bytes_for(const ModelConfig& config) {
    Carver carver(nullptr);
    SamplingBuffers buffers;
    Slice results[kMaxInFlight];
    carve(carver, config, buffers, results);
    return carver.used();
}

MetalTokenStream::MetalTokenStream(MetalBackend& backend, const StreamStart& start)
    : backend_(backend),
      storage_(*start.storage),
      memory_(backend.device().make_buffer(bytes_for(backend.config()), "sampling")),
      stop_tokens_(backend.device().make_buffer(std::max<size_t>(start.options.num_stop_tokens, 1) * sizeof(uint32_t),
                                                "stop tokens")),
      position_(start.position) {
    Carver carver(memory_.get());
    carve(carver, backend.config(), buffers_, results_);
    buffers_.stop_tokens = *stop_tokens_;

    std::copy(start.logits.begin(), start.logits.end(), buffers_.logits.as<float>());
    *buffers_.state.as<SamplingState>() = {static_cast<uint32_t>(start.position), sampling_goes_on};
    write_options(start.options);
    write_history(start.history);
}

MetalTokenStream::~MetalTokenStream() {
    for (const InFlight& token : in_flight_) {
        try {
            backend_.wait(*token.commands);
        } catch (const Error&) { // NOLINT: whoever reads is told; nobody does
        }
    }
}

void MetalTokenStream::write_options(const gptoss_sampling_options& options) {
    const uint32_t vocabulary_size = backend_.config().vocabulary_size;
    *buffers_.options.as<SamplingOptions>() = {
        .seed = options.seed,
        .temperature = options.temperature,
        .top_p = options.top_p,
        .min_p = options.min_p,
        .repetition_penalty = options.repetition_penalty,
        .presence_penalty = options.presence_penalty,
        .frequency_penalty = options.frequency_penalty,
        .top_k = options.top_k,
        .num_stop_tokens = static_cast<uint32_t>(options.num_stop_tokens),
        .num_top_tokens = 0,
        .features = options.num_logit_biases == 0 ? 0u : uint32_t{sampling_uses_bias},
    };
    shape_.vocabulary_size = vocabulary_size;
    // Where sample_keys.h says that candidates are needed, and the launches that find them.
    shape_.filters = options.temperature > 0 && ((options.top_k != 0 && options.top_k < vocabulary_size) ||
                                                 options.top_p < 1 || options.min_p > 0);

    std::copy_n(options.stop_tokens, options.num_stop_tokens, buffers_.stop_tokens.as<uint32_t>());
    for (size_t i = 0; i < options.num_logit_biases; i++) {
        // Several of one token add up; one of minus infinity forbids it, whatever the others are.
        const gptoss_logit_bias& bias = options.logit_biases[i];
        float& sum = buffers_.biases.as<float>()[bias.token];
        sum = bias.bias == -INFINITY || sum == -INFINITY ? -INFINITY : sum + bias.bias;
        set_bit(buffers_.biased, bias.token);
    }
}

void MetalTokenStream::write_history(const TokenHistory& history) {
    for (const uint32_t token : history.context) {
        set_bit(buffers_.seen, token);
    }
    for (const auto& [token, count] : history.generated) {
        set_bit(buffers_.generated, token);
        buffers_.counts.as<uint32_t>()[token] = count;
    }
}

void MetalTokenStream::submit() {
    if (failure_ != nullptr) {
        std::rethrow_exception(failure_);
    }
    if (in_flight_.size() == kMaxInFlight || ended_) {
        fail(gptoss_status_internal_error, "A token was asked for ",
             ended_ ? "after the last one" : "while two are not read yet",
             ". This is a defect of gptoss: please report it.");
    }
    SamplingBuffers buffers = buffers_;
    buffers.result = results_[num_submitted_ % kMaxInFlight];

    std::shared_ptr<CommandBuffer> commands;
    if (num_submitted_ == 0) {
        Encoder encoder(backend_.device(), backend_.pipelines(),
                        "sampling of the token at position " + std::to_string(position_));
        launch_sampling(encoder, shape_, buffers);
        commands = encoder.commit();
    } else {
        const size_t processed = position_ - 1;
        const Batch batch = {.tokens = {0}, .spans = {{&storage_, processed, 1}}, .logit_rows = {0}};
        backend_.begin_row(storage_, processed, buffers_.next_token, buffers_.logits);
        forward(backend_, backend_.file(), batch, [] {});
        backend_.encoder().barrier();
        launch_sampling(backend_.encoder(), shape_, buffers);
        commands = backend_.commit();
    }
    in_flight_.push_back({std::move(commands), buffers.result});
    position_++;
    num_submitted_++;
}

SampledToken MetalTokenStream::read() {
    const InFlight token = std::move(in_flight_.front());
    in_flight_.pop_front();
    wait(*token.commands);
    const SamplingResult& result = *token.result.as<SamplingResult>();
    ended_ = result.status != sampling_goes_on;
    switch (result.status) {
        case sampling_goes_on:
        case sampling_stopped:
            return {result.token, result.log_probability};
        case sampling_not_finite:
            fail_not_finite();
        case sampling_all_forbidden:
            fail_all_forbidden();
        case sampling_infinite_penalty:
            fail_infinite_penalty();
        default:
            fail(gptoss_status_internal_error, "The GPU left no token where one was sampled (status ", result.status,
                 "): use the backend 'cpu', and please report it with the output of `gptoss selftest`.");
    }
}

void MetalTokenStream::wait(CommandBuffer& commands) {
    try {
        backend_.wait(commands);
    } catch (...) {
        failure_ = std::current_exception();
        throw;
    }
}

std::span<const float> MetalTokenStream::logits() {
    for (const InFlight& token : in_flight_) {
        wait(*token.commands);
    }
    if (failure_ != nullptr) {
        std::rethrow_exception(failure_);
    }
    return {buffers_.logits.as<float>(), backend_.config().vocabulary_size};
}

} // namespace gptoss::metal
