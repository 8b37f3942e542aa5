#include "fake_backend.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <exception>
#include <limits>
#include <optional>

#include "errors.h"
#include "model_file_builder.h"

namespace fake {

namespace {

using gptoss::Backend;
using gptoss::Batch;
using gptoss::DensePlace;
using gptoss::KvStorage;
using gptoss::RingSnapshot;
using gptoss::SampledToken;
using gptoss::StreamStart;
using gptoss::TensorPlace;
using gptoss::TokenStream;

constexpr uint32_t kGarbage = 0xFFFFFFFF; // in place of a token: nobody wrote there, or only half

struct Slot {
    size_t position = SIZE_MAX;
    uint32_t token = kGarbage;
};

class FakeSnapshot final : public RingSnapshot {
public:
    size_t num_bytes() const override { return slots.size() * sizeof(Slot); }
    std::vector<Slot> slots; // ascending positions
};

// Tokens in place of keys and values.
class FakeStorage final : public KvStorage {
public:
    FakeStorage(std::shared_ptr<Controls> controls, size_t ring_slots)
        : controls_(std::move(controls)), ring_(ring_slots) {}
    ~FakeStorage() override { check_idle("freed"); }

    void reserve(size_t num_tokens) override {
        if (num_tokens > full_.size()) {
            check_idle("grown");
            full_.resize(num_tokens, kGarbage);
        }
    }
    size_t ring_slots() const override { return ring_.size(); }
    std::shared_ptr<const RingSnapshot> save_rings(size_t end) const override {
        check_idle("saved");
        auto snapshot = std::make_shared<FakeSnapshot>();
        for (size_t position = end - std::min(end, kWindow); position < end; position++) {
            check_ring(position);
            snapshot->slots.push_back(ring_[position % ring_.size()]);
        }
        return snapshot;
    }
    void restore_rings(const RingSnapshot& snapshot, size_t) override {
        check_idle("restored");
        for (const Slot& slot : static_cast<const FakeSnapshot&>(snapshot).slots) {
            ring_[slot.position % ring_.size()] = slot;
        }
    }
    std::unique_ptr<KvStorage> clone() const override {
        check_idle("copied");
        auto copy = std::make_unique<FakeStorage>(controls_, ring_.size());
        copy->full_ = full_;
        copy->ring_ = ring_;
        return copy;
    }
    size_t num_bytes() const override { return full_.size() * sizeof(uint32_t) + ring_.size() * sizeof(Slot); }

    void write(size_t position, uint32_t token) {
        if (position >= full_.size()) {
            controls_->complaints.push_back("no room was made for position " + std::to_string(position));
            return;
        }
        full_[position] = token;
        ring_[position % ring_.size()] = {position, token};
    }

    // [V] of the token that follows [0, end), as the last of them sees its cache.
    std::vector<float> logits(size_t end) const {
        uint64_t seed = 0;
        for (size_t position = 0; position < end; position++) {
            if (full_[position] == kGarbage) {
                controls_->complaints.push_back("position " + std::to_string(position) + " was never processed");
            }
            seed = seed * 0x9E3779B97F4A7C15u + full_[position] + 1;
        }
        for (size_t position = end - std::min(end, kWindow); position < end; position++) {
            check_ring(position);
        }
        std::mt19937_64 random(seed);
        std::vector<float> result(kVocabularySize);
        for (float& logit : result) {
            logit = controls_->damaged ? std::numeric_limits<float>::quiet_NaN()
                                       : static_cast<float>(random() % 10000) * 1e-3f - 5.0f;
        }
        return result;
    }

    size_t num_in_flight = 0; // passes that nobody has waited for

private:
    void check_idle(const char* what) const {
        if (num_in_flight != 0) {
            controls_->complaints.push_back(std::string("the storage was ") + what + " with work in flight");
        }
    }
    void check_ring(size_t position) const {
        const Slot& slot = ring_[position % ring_.size()];
        if (slot.position != position || slot.token != full_[position]) {
            controls_->complaints.push_back("the ring's slot of position " + std::to_string(position) + " is stale");
        }
    }

    std::shared_ptr<Controls> controls_;
    std::vector<uint32_t> full_; // by position
    std::vector<Slot> ring_;
};

// Whether this is the one that is to fail.
bool comes_due(size_t& countdown) {
    return countdown != 0 && --countdown == 0;
}

// NaN included.
bool same_bits(const std::vector<float>& left, const std::vector<float>& right) {
    return left.size() == right.size() && std::memcmp(left.data(), right.data(), left.size() * sizeof(float)) == 0;
}

class FakeStream final : public TokenStream {
public:
    FakeStream(std::shared_ptr<Controls> controls, const StreamStart& start)
        : controls_(std::move(controls)),
          storage_(static_cast<FakeStorage&>(*start.storage)),
          options_(start.options),
          stop_tokens_(options_.stop_tokens, options_.stop_tokens + options_.num_stop_tokens),
          logit_biases_(options_.logit_biases, options_.logit_biases + options_.num_logit_biases),
          logits_(start.logits.begin(), start.logits.end()),
          context_(start.history.context.begin(), start.history.context.end()),
          generated_(start.history.generated),
          first_position_(start.position) {
        options_.stop_tokens = stop_tokens_.data();
        options_.logit_biases = logit_biases_.data();
        note("start", start.position);
        if (start.position != context_.size() || !same_bits(logits_, storage_.logits(start.position))) {
            complain("it begins with other logits than those of its position");
        }
    }
    ~FakeStream() override {
        wait_for_all();
        controls_->events.push_back("end");
    }

    void submit() override {
        const size_t position = first_position_ + num_submitted_;
        note("submit", position);
        if (comes_due(controls_->failing_submission)) {
            gptoss::fail(gptoss_status_internal_error, "The submission failed.");
        }
        if (unread_.size() == 2) {
            complain("two tokens are not read yet");
        }
        if (has_read_last_) {
            complain("the last token was read already");
        }
        unread_.push_back({position});
        num_submitted_++;
        if (position != first_position_) {
            storage_.num_in_flight++;
        }
        if (controls_->runs_at_once) {
            run(unread_.back());
        }
    }

    SampledToken read() override {
        if (unread_.empty()) {
            complain("nothing is left to read");
            return {};
        }
        wait(unread_.front());
        const Token token = unread_.front();
        unread_.pop_front();
        note("read", token.position);
        if (token.failure != nullptr) {
            has_read_last_ = true;
            std::rethrow_exception(token.failure);
        }
        if (!token.sampled.has_value()) {
            complain("a token was read that follows a stop token");
            return {};
        }
        has_read_last_ = std::ranges::count(stop_tokens_, token.sampled->token) != 0;
        return *token.sampled;
    }

    bool is_drained() const override { return unread_.empty(); }

    std::span<const float> logits() override {
        wait_for_all();
        if (has_failed_) {
            gptoss::fail(gptoss_status_internal_error, "A pass failed.");
        }
        return logits_;
    }

private:
    struct Token {
        size_t position;
        bool has_run = false;
        bool was_awaited = false;
        std::optional<SampledToken> sampled = std::nullopt;
        std::exception_ptr failure = nullptr;
    };

    void note(const char* what, size_t position) {
        controls_->events.push_back(std::string(what) + " " + std::to_string(position));
    }
    void complain(const char* what) { controls_->complaints.push_back(std::string("stream: ") + what); }

    void run(Token& token) {
        token.has_run = true;
        try {
            if (token.position != first_position_) {
                storage_.write(token.position - 1, next_token_);
                if (comes_due(controls_->failing_pass)) {
                    storage_.write(token.position - 1, kGarbage - 1);
                    has_failed_ = true;
                    gptoss::fail(gptoss_status_internal_error, "The pass failed.");
                }
                logits_ = storage_.logits(token.position);
            }
            if (!has_ended_) {
                has_ended_ = true; // unless this token is one to go on from
                gptoss::Sampler sampler(options_, kVocabularySize);
                token.sampled = sampler.sample(logits_, {context_, generated_}, token.position);
                next_token_ = token.sampled->token;
                context_.push_back(next_token_);
                generated_[next_token_]++;
                has_ended_ = sampler.is_stop_token(next_token_);
            }
        } catch (const gptoss::Error&) {
            token.failure = std::current_exception();
        }
    }

    void wait(Token& token) {
        if (!token.has_run) {
            run(token);
        }
        if (!token.was_awaited) {
            token.was_awaited = true;
            storage_.num_in_flight -= token.position != first_position_ ? 1 : 0;
        }
    }
    void wait_for_all() {
        for (Token& token : unread_) {
            wait(token);
        }
    }

    std::shared_ptr<Controls> controls_;
    FakeStorage& storage_;
    gptoss_sampling_options options_;
    std::vector<uint32_t> stop_tokens_;
    std::vector<gptoss_logit_bias> logit_biases_;
    std::vector<float> logits_;
    std::vector<uint32_t> context_;
    std::unordered_map<uint32_t, uint32_t> generated_;
    size_t first_position_;
    size_t num_submitted_ = 0;
    uint32_t next_token_ = 0;    // what is queued behind an error processes anything
    bool has_ended_ = false;     // what is submitted from here on draws nothing
    bool has_read_last_ = false; // and the caller knows
    bool has_failed_ = false;
    std::deque<Token> unread_;
};

class FakeBackend final : public Backend {
public:
    explicit FakeBackend(std::shared_ptr<Controls> controls) : controls_(std::move(controls)) {}

    gptoss_backend kind() const override { return gptoss_backend_cpu; }
    uint32_t num_threads() const override { return 1; }
    gptoss_precision precision() const override { return gptoss_precision_exact; }
    size_t workspace_bytes() const override { return 0; }
    std::unique_ptr<KvStorage> create_kv_storage(size_t max_tokens, size_t max_batch_tokens) const override {
        return std::make_unique<FakeStorage>(controls_, std::min(max_tokens, kWindow - 1 + max_batch_tokens));
    }
    size_t kv_storage_bytes(size_t num_tokens, size_t) const override { return num_tokens * sizeof(uint32_t); }
    size_t longest_context(size_t) const override { return builder::small_config().context_length; }

    std::unique_ptr<TokenStream> start_stream(const StreamStart& start) override {
        if (!controls_->samples) {
            return nullptr;
        }
        if (comes_due(controls_->failing_start)) {
            gptoss::fail(gptoss_status_insufficient_memory, "The stream could not be started.");
        }
        return std::make_unique<FakeStream>(controls_, start);
    }

    void begin(const Batch& batch) override {
        batch_ = &batch;
        for (const gptoss::Span& span : batch.spans) {
            if (static_cast<const FakeStorage&>(*span.storage).num_in_flight != 0) {
                controls_->complaints.push_back("a batch began with work of a stream in flight");
            }
        }
    }
    void embed(const DensePlace&) override {
        size_t row = 0;
        for (const gptoss::Span& span : batch_->spans) {
            for (size_t i = 0; i < span.num_tokens; i++) {
                static_cast<FakeStorage&>(*span.storage).write(span.first_position + i, batch_->tokens[row++]);
            }
        }
    }
    void project_qkv(size_t, const TensorPlace&, const DensePlace&, const TensorPlace&) override {}
    void keep_logit_rows() override {}
    void attend(size_t, const TensorPlace&) override {}
    void project_attention_output(const DensePlace&, const TensorPlace&) override {}
    void route(const TensorPlace&, const TensorPlace&, const TensorPlace&) override {}
    void apply_experts(uint64_t, const gptoss::ExpertPlaces&) override {}
    void unembed(const TensorPlace&, const DensePlace&) override {}
    void end() override {
        if (comes_due(controls_->failing_batch)) {
            gptoss::fail(gptoss_status_internal_error, "The batch failed.");
        }
        controls_->num_rows_processed += batch_->tokens.size();
        logits_.clear();
        size_t end_row = 0;
        for (const gptoss::Span& span : batch_->spans) {
            end_row += span.num_tokens;
            if (std::ranges::count(batch_->logit_rows, end_row - 1) != 0) {
                logits_.push_back(
                    static_cast<const FakeStorage&>(*span.storage).logits(span.first_position + span.num_tokens));
            }
        }
    }
    std::span<const float> logits(size_t index) const override { return logits_.at(index); }

private:
    std::shared_ptr<Controls> controls_;
    const Batch* batch_ = nullptr;
    std::vector<std::vector<float>> logits_; // [logit rows][V]
};

} // namespace

std::shared_ptr<const gptoss::Model> make_model(const std::shared_ptr<Controls>& controls) {
    static const builder::TemporaryFile file(
        builder::build_model_file(builder::small_config(), builder::byte_vocabulary(), 5));
    return std::make_shared<const gptoss::Model>(
        file.path(), [&](const auto&, const auto&) { return std::make_unique<FakeBackend>(controls); });
}

gptoss_sampling_options default_options() {
    gptoss_sampling_options options;
    gptoss_sampling_options_init(&options);
    return options;
}

std::vector<uint32_t> some_tokens(size_t count, uint32_t seed) {
    std::vector<uint32_t> tokens(count);
    for (size_t i = 0; i < count; i++) {
        tokens[i] = static_cast<uint32_t>((i * 131 + seed * 17) % kVocabularySize);
    }
    return tokens;
}

} // namespace fake
