// A context whose backend samples, beside one that samples itself: whatever is done to both, tokens, log-probabilities
// and logits stay the same, also after failures and aborts of the first.
#include <algorithm>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "check.h"
#include "context.h"
#include "errors.h"
#include "fake_backend.h"

using fake::Controls;
using gptoss::Context;

namespace {

constexpr uint32_t kNumRuns = 400;
constexpr int kStepsOfRun = 40;

struct Sampled {
    std::vector<uint32_t> tokens;
    std::vector<float> log_probabilities;
    gptoss_finish_reason reason = gptoss_finish_reason_length;
    std::string error;
};

Sampled sample(Context& context, size_t max_tokens, const gptoss_sampling_options& options) {
    Sampled result;
    result.tokens.resize(max_tokens);
    result.log_probabilities.resize(max_tokens);
    size_t num_tokens = 0;
    try {
        result.reason =
            context.sample(options, max_tokens, result.tokens.data(), result.log_probabilities.data(), num_tokens);
    } catch (const gptoss::Error& error) {
        result.error = error.what();
    }
    result.tokens.resize(num_tokens);
    result.log_probabilities.resize(num_tokens);
    return result;
}

// Both contexts, and what is done to them.
class Run {
public:
    explicit Run(uint32_t seed) : random_(seed) {
        streamed_->runs_at_once = chance(2);
        plain_->samples = false;
        const size_t max_batch_tokens = std::vector<size_t>{1, 4, 60}[below(3)];
        const size_t context_length = chance(2) ? 120 : 600;
        first_ = std::make_unique<Context>(fake::make_model(streamed_), context_length, max_batch_tokens);
        second_ = std::make_unique<Context>(fake::make_model(plain_), context_length, max_batch_tokens);
        note_ << "seed " << seed << ": ";
        choose_options();
        append(1 + below(60));
    }

    // False after the first difference, which is reported.
    bool step() {
        switch (below(14)) {
            case 0:
                append(below(30));
                break;
            case 1: {
                const size_t length = below(first_->tokens().size() + 1);
                note_ << "truncate " << length << "; ";
                first_->truncate(length);
                second_->truncate(length);
                break;
            }
            case 2:
                choose_options();
                break;
            case 3:
                compare_logits();
                break;
            case 4:
                note_ << "copy; ";
                first_ = first_->copy();
                second_ = second_->copy();
                break;
            case 5:
                fail_somewhere();
                break;
            case 6:
                stop_somewhere();
                break;
            default:
                sample_both();
        }
        check(first_->tokens() == second_->tokens(), "the tokens");
        check(first_->num_cached_tokens() <= first_->tokens().size(), "the number of cached tokens");
        check(streamed_->complaints.empty(),
              "a complaint: " + (streamed_->complaints.empty() ? std::string() : streamed_->complaints[0]));
        check(plain_->complaints.empty(), "a complaint of the plain one");
        return good_;
    }

private:
    size_t below(size_t limit) { return random_() % limit; }
    bool chance(size_t one_in) { return below(one_in) == 0; }

    void check(bool condition, const std::string& what) {
        if (!condition && good_) {
            good_ = false;
            check::report_failure(__FILE__, __LINE__, note_.str() + "WRONG: " + what);
        }
    }

    void choose_options() {
        note_ << "options; ";
        options_ = fake::default_options();
        options_.seed = below(3);
        options_.temperature = std::vector<float>{0, 0.7f, 1.5f}[below(3)];
        options_.top_k = chance(3) ? 5 : 0;
        options_.top_p = chance(3) ? 0.8f : 1;
        options_.min_p = chance(3) ? 0.05f : 0;
        options_.repetition_penalty = chance(3) ? 1.3f : 1;
        options_.presence_penalty = chance(3) ? 0.5f : 0;
        options_.frequency_penalty = chance(3) ? 0.2f : 0;
        stop_tokens_.clear();
        while (chance(2)) {
            for (int i = 0; i < 10; i++) {
                stop_tokens_.push_back(static_cast<uint32_t>(below(fake::kVocabularySize)));
            }
        }
        biases_.clear();
        while (chance(2)) {
            biases_.push_back({static_cast<uint32_t>(below(fake::kVocabularySize)), chance(3) ? 6.0f : -1.0f});
        }
        options_.stop_tokens = stop_tokens_.data();
        options_.num_stop_tokens = stop_tokens_.size();
        options_.logit_biases = biases_.data();
        options_.num_logit_biases = biases_.size();
    }

    void append(size_t count) {
        note_ << "append " << count << "; ";
        std::vector<uint32_t> tokens;
        for (size_t i = 0; i < count; i++) {
            tokens.push_back(static_cast<uint32_t>(below(fake::kVocabularySize)));
        }
        // As a conversation does: the same tokens again, which are cached.
        if (chance(3) && !past_.empty()) {
            tokens.assign(past_.begin(), past_.begin() + static_cast<std::ptrdiff_t>(below(past_.size())));
            first_->reset();
            second_->reset();
        }
        if (first_->tokens().size() + tokens.size() > first_->max_tokens()) {
            return;
        }
        first_->append(tokens);
        second_->append(tokens);
        past_ = first_->tokens();
    }

    void compare_logits() {
        if (first_->tokens().empty()) {
            return;
        }
        note_ << "logits; ";
        const size_t num_pending = first_->tokens().size() - first_->num_cached_tokens();
        const size_t num_before = streamed_->num_rows_processed;
        const auto first = first_->logits({});
        check(streamed_->num_rows_processed - num_before <= num_pending, "more was processed than was not cached");
        check(std::ranges::equal(first, second_->logits({})), "the logits");
        check(first_->num_cached_tokens() == first_->tokens().size(), "not all is cached after the logits");
    }

    void sample_both() {
        if (first_->tokens().empty()) {
            return;
        }
        options_.num_tokens_ahead = below(3);
        const size_t count = 1 + below(12);
        note_ << "sample " << count << " ahead " << options_.num_tokens_ahead << "; ";
        catch_up(sample(*first_, count, options_), count);
    }

    void compare(const Sampled& first, const Sampled& second) {
        check(first.tokens == second.tokens, "the tokens of the call");
        check(first.log_probabilities == second.log_probabilities, "the log-probabilities");
        check(first.reason == second.reason, "the finish reason");
        check(first.error == second.error, "the errors: " + first.error + " | " + second.error);
    }

    // The first context has sampled, and may have failed or been stopped on the way, or by what was ahead before; then
    // the second one samples as many tokens.
    void catch_up(const Sampled& first, size_t count) {
        const bool is_made = first.error.find("failed") != std::string::npos ||
                             first.error.find("could not be started") != std::string::npos ||
                             first.error.find("stopped") != std::string::npos;
        if (!is_made) {
            compare(first, sample(*second_, count, options_));
            return;
        }
        note_ << "(" << first.tokens.size() << " sampled) ";
        if (!first.tokens.empty()) {
            Sampled second = sample(*second_, first.tokens.size(), options_);
            second.reason = first.reason;
            second.error = first.error;
            compare(first, second);
        }
    }

    void fail_somewhere() {
        if (first_->tokens().empty() || first_->tokens().size() == first_->max_tokens()) {
            return;
        }
        const std::vector<size_t*> places = {&streamed_->failing_start, &streamed_->failing_submission,
                                             &streamed_->failing_pass, &streamed_->failing_batch};
        const size_t place = below(places.size());
        *places[place] = 1 + below(8);
        note_ << "fail at " << place << "/" << *places[place] << " ";
        options_.num_tokens_ahead = below(3);
        const size_t count = 1 + below(12);
        catch_up(sample(*first_, count, options_), count);
        // What comes too late must not fail something else.
        streamed_->failing_start = streamed_->failing_submission = streamed_->failing_pass = 0;
        streamed_->failing_batch = 0;
        note_ << "; ";
    }

    void stop_somewhere() {
        if (first_->tokens().empty() || first_->tokens().size() == first_->max_tokens()) {
            return;
        }
        size_t countdown = 1 + below(20);
        note_ << "stop at call " << countdown << " ";
        options_.num_tokens_ahead = below(3);
        options_.user_data = &countdown;
        options_.progress = [](void* user_data, size_t, size_t) -> int {
            size_t& calls = *static_cast<size_t*>(user_data);
            return calls != 0 && --calls == 0;
        };
        const size_t count = 1 + below(12);
        const Sampled first = sample(*first_, count, options_);
        options_.progress = nullptr;
        catch_up(first, count);
        note_ << "; ";
    }

    std::mt19937 random_;
    std::shared_ptr<Controls> streamed_ = std::make_shared<Controls>();
    std::shared_ptr<Controls> plain_ = std::make_shared<Controls>();
    std::unique_ptr<Context> first_;
    std::unique_ptr<Context> second_;
    gptoss_sampling_options options_;
    std::vector<uint32_t> stop_tokens_;
    std::vector<gptoss_logit_bias> biases_;
    std::vector<uint32_t> past_;
    std::ostringstream note_; // what was done so far
    bool good_ = true;
};

} // namespace

TEST(a_streamed_context_and_a_plain_one_cannot_be_told_apart) {
    for (uint32_t seed = 0; seed < kNumRuns; seed++) {
        Run run(seed);
        for (int i = 0; i < kStepsOfRun && run.step(); i++) {
        }
    }
}
