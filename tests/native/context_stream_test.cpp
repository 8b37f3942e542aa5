// A context whose backend samples: what it asks of the stream of tokens, and when, and what it keeps of it.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "check.h"
#include "context.h"
#include "fake_backend.h"
#include "model_file_builder.h"
#include "sampler.h"

using fake::Controls;
using fake::default_options;
using fake::some_tokens;
using gptoss::Context;

namespace {

using Tokens = std::vector<uint32_t>;

// A model, and a context on it with some tokens.
struct Fixture {
    explicit Fixture(size_t num_tokens = 5, size_t context_length = 0, size_t max_batch_tokens = 0)
        : context(std::make_unique<Context>(model, context_length, max_batch_tokens)) {
        context->append(some_tokens(num_tokens));
    }
    ~Fixture() {
        context.reset();
        for (const std::string& complaint : controls->complaints) {
            check::report_failure(__FILE__, __LINE__, complaint);
        }
    }

    size_t count(const std::string& event) const {
        return static_cast<size_t>(std::ranges::count_if(
            controls->events, [&](const std::string& other) { return other.starts_with(event); }));
    }
    bool has(const std::string& event) const { return std::ranges::count(controls->events, event) != 0; }
    // Events since the last call.
    std::string events() {
        std::string text;
        for (; num_seen < controls->events.size(); num_seen++) {
            text += (text.empty() ? "" : ", ") + controls->events[num_seen];
        }
        return text;
    }

    std::shared_ptr<Controls> controls = std::make_shared<Controls>();
    std::shared_ptr<const gptoss::Model> model = fake::make_model(controls);
    std::unique_ptr<Context> context;
    size_t num_seen = 0;
};

struct Sampled {
    Tokens tokens;
    std::vector<float> log_probabilities;
    gptoss_finish_reason reason = gptoss_finish_reason_length;
};

// What a call that throws has sampled before is in `result`.
void sample_into(Sampled& result, Context& context, size_t max_tokens, const gptoss_sampling_options& options) {
    result.tokens.resize(max_tokens);
    result.log_probabilities.resize(max_tokens);
    size_t num_tokens = 0;
    const auto cut = [&] {
        result.tokens.resize(num_tokens);
        result.log_probabilities.resize(num_tokens);
    };
    try {
        result.reason =
            context.sample(options, max_tokens, result.tokens.data(), result.log_probabilities.data(), num_tokens);
    } catch (...) {
        cut();
        throw;
    }
    cut();
}

Sampled sample(Context& context, size_t max_tokens, const gptoss_sampling_options& options = default_options()) {
    Sampled result;
    sample_into(result, context, max_tokens, options);
    return result;
}

gptoss_sampling_options expecting(size_t num_tokens_ahead) {
    gptoss_sampling_options options = default_options();
    options.num_tokens_ahead = num_tokens_ahead;
    return options;
}

// What a context that does not stream samples after these tokens.
Sampled expected(const Tokens& tokens, size_t count, const gptoss_sampling_options& options = default_options()) {
    Fixture fixture(0);
    fixture.controls->samples = false;
    fixture.context->append(tokens);
    return sample(*fixture.context, count, options);
}

void check_goes_on(Fixture& fixture, const Tokens& prompt, size_t count, const gptoss_sampling_options& options) {
    const size_t num_sampled = fixture.context->tokens().size() - prompt.size();
    const Tokens all = expected(prompt, num_sampled + count, options).tokens;
    sample(*fixture.context, count, options);
    const Tokens found(fixture.context->tokens().begin() + static_cast<std::ptrdiff_t>(prompt.size()),
                       fixture.context->tokens().end());
    CHECK(found == all);
}

std::vector<float> logits_of(Context& context) {
    const std::span<const float> logits = context.logits({});
    return {logits.begin(), logits.end()};
}

} // namespace

// ---- What is queued when

TEST(the_next_tokens_work_is_queued_before_this_one_is_read) {
    Fixture fixture;
    sample(*fixture.context, 4);
    CHECK_EQUAL(fixture.events(), "start 5, submit 5, submit 6, read 5, submit 7, read 6, submit 8, read 7, read 8");
}

TEST(no_more_is_queued_than_was_asked_for) {
    Fixture fixture;
    sample(*fixture.context, 1);
    CHECK_EQUAL(fixture.events(), "start 5, submit 5, read 5");
}

TEST(where_the_caller_expects_more_the_next_token_is_queued_before_a_call_returns) {
    Fixture fixture;
    sample(*fixture.context, 1, expecting(2));
    CHECK_EQUAL(fixture.events(), "start 5, submit 5, submit 6, read 5");
    sample(*fixture.context, 1, expecting(1));
    CHECK_EQUAL(fixture.events(), "submit 7, read 6");
    sample(*fixture.context, 1, expecting(0));
    CHECK_EQUAL(fixture.events(), "read 7");
    sample(*fixture.context, 1, expecting(0));
    CHECK_EQUAL(fixture.events(), "submit 8, read 8");
}

TEST(the_number_of_expected_tokens_may_be_anything) {
    Fixture fixture;
    CHECK_EQUAL(sample(*fixture.context, 3, expecting(SIZE_MAX)).tokens.size(), 3u);
    CHECK_EQUAL(fixture.count("submit"), 4u);
}

TEST(nothing_is_queued_beyond_the_contexts_limit) {
    Fixture fixture(5, 8);
    const Sampled sampled = sample(*fixture.context, 100, expecting(100));
    CHECK_EQUAL(sampled.reason, gptoss_finish_reason_context_length);
    CHECK_EQUAL(fixture.events(), "start 5, submit 5, submit 6, read 5, submit 7, read 6, read 7");
    CHECK_FAILS(gptoss_status_context_overflow, "The context is full", sample(*fixture.context, 1, expecting(100)));
}

TEST(no_token_at_all_is_no_stream) {
    Fixture fixture;
    CHECK_EQUAL(sample(*fixture.context, 0, expecting(5)).tokens.size(), 0u);
    CHECK_EQUAL(fixture.events(), "");
}

TEST(a_backend_that_does_not_sample_is_asked_once) {
    Fixture fixture;
    fixture.controls->samples = false;
    CHECK(sample(*fixture.context, 3).tokens == expected(some_tokens(5), 3).tokens);
    fixture.controls->samples = true;
    sample(*fixture.context, 3);
    CHECK_EQUAL(fixture.events(), "");
}

// ---- Where the storage must not move

TEST(nothing_is_in_flight_when_the_storage_grows_or_is_copied) {
    for (const bool runs_at_once : {false, true}) {
        Fixture fixture(5, 0, 16); // rings of 23 slots; the fake storage complains
        fixture.controls->runs_at_once = runs_at_once;
        const size_t count = 4000;
        sample(*fixture.context, count);
        // It waits where room for 256 tokens becomes room for 512, 1,024, 2,048 and 4,096, and for one snapshot.
        size_t num_waits = 0;
        const std::vector<std::string>& events = fixture.controls->events;
        for (size_t i = 1; i + 1 < events.size(); i++) {
            num_waits += events[i - 1].starts_with("read") && events[i].starts_with("read");
        }
        CHECK_EQUAL(num_waits, 5u);
        CHECK_EQUAL(fixture.context->num_cached_tokens(), 5 + count - 1);
    }
}

TEST(a_context_may_go_while_its_stream_is_at_work) {
    Fixture fixture;
    sample(*fixture.context, 2, expecting(1));
    fixture.context.reset();
    CHECK_EQUAL(fixture.controls->events.back(), "end");
}

// ---- Stop tokens

TEST(a_stop_token_ends_it_and_the_pass_in_flight_is_kept) {
    Fixture fixture;
    const Tokens tokens = expected(some_tokens(5), 10).tokens;
    gptoss_sampling_options options = default_options();
    options.num_stop_tokens = 1;
    options.stop_tokens = &tokens[3];
    const Sampled sampled = sample(*fixture.context, 10, options);
    CHECK_EQUAL(sampled.reason, gptoss_finish_reason_stop);
    CHECK(sampled.tokens == Tokens(tokens.begin(), tokens.begin() + 4));
    CHECK(fixture.has("submit 9")); // was queued before the token was known
    CHECK(!fixture.has("submit 10"));
    CHECK(!fixture.has("read 9"));

    CHECK_EQUAL(fixture.context->num_cached_tokens(), 9u);
    const size_t num_rows = fixture.controls->num_rows_processed;
    const std::vector<float> logits = logits_of(*fixture.context);
    CHECK_EQUAL(fixture.controls->num_rows_processed, num_rows);
    Fixture other(0);
    other.context->append(fixture.context->tokens());
    CHECK(logits == logits_of(*other.context));
}

TEST(after_a_stop_token_sampling_may_go_on) {
    Fixture fixture;
    const Tokens tokens = expected(some_tokens(5), 8).tokens;
    gptoss_sampling_options options = expecting(1);
    options.num_stop_tokens = 1;
    options.stop_tokens = &tokens[3];
    sample(*fixture.context, 10, options);
    options.num_stop_tokens = 0;
    check_goes_on(fixture, some_tokens(5), 4, options);
}

TEST(a_stop_token_that_is_the_last_one_wanted_is_not_processed) {
    Fixture fixture;
    const Tokens tokens = expected(some_tokens(5), 4).tokens;
    gptoss_sampling_options options = default_options();
    options.num_stop_tokens = 1;
    options.stop_tokens = &tokens[3];
    CHECK_EQUAL(sample(*fixture.context, 4, options).reason, gptoss_finish_reason_stop);
    CHECK(!fixture.has("submit 9"));
    CHECK_EQUAL(fixture.context->num_cached_tokens(), 8u);
}

// ---- Across calls

TEST(a_seed_gives_the_same_tokens_however_the_calls_are_cut) {
    const Sampled whole = expected(some_tokens(5), 24);
    for (const size_t piece : {1, 2, 3, 24}) {
        for (const size_t num_ahead : {0, 1, 5}) {
            Fixture fixture;
            Sampled all;
            while (all.tokens.size() < 24) {
                const Sampled sampled = sample(*fixture.context, piece, expecting(num_ahead));
                all.tokens.insert(all.tokens.end(), sampled.tokens.begin(), sampled.tokens.end());
                all.log_probabilities.insert(all.log_probabilities.end(), sampled.log_probabilities.begin(),
                                             sampled.log_probabilities.end());
            }
            CHECK(all.tokens == whole.tokens);
            CHECK(all.log_probabilities == whole.log_probabilities);
            CHECK_EQUAL(fixture.count("start"), 1u);
            CHECK_EQUAL(fixture.count("submit"), 24 + std::min<size_t>(num_ahead, 1));
        }
    }
}

TEST(other_options_start_another_stream_and_equal_ones_do_not) {
    const uint32_t stop_tokens[] = {300 % fake::kVocabularySize, 7};
    const uint32_t same_stop_tokens[] = {300 % fake::kVocabularySize, 7};
    const gptoss_logit_bias biases[] = {{3, 0.5f}, {4, -0.5f}};
    const gptoss_logit_bias same_biases[] = {{3, 0.5f}, {4, -0.5f}};
    const gptoss_logit_bias other_biases[] = {{3, 0.5f}, {4, -0.25f}};
    gptoss_sampling_options options = expecting(1);
    options.num_stop_tokens = 2;
    options.stop_tokens = stop_tokens;
    options.num_logit_biases = 2;
    options.logit_biases = biases;

    const auto check_starts = [&](size_t num_starts, const auto& change, const char* what) {
        Fixture fixture;
        sample(*fixture.context, 1, options);
        gptoss_sampling_options changed = options;
        change(changed);
        sample(*fixture.context, 1, changed);
        if (fixture.count("start") != num_starts) {
            check::report_failure(__FILE__, __LINE__,
                                  std::string(what) + ": " + std::to_string(fixture.count("start")) + " streams");
        }
    };
    check_starts(1, [](auto&) {}, "the same");
    check_starts(1, [](auto& other) { other.num_tokens_ahead = 0; }, "fewer tokens ahead");
    check_starts(1, [](auto& other) { other.progress = [](void*, size_t, size_t) { return 0; }; }, "with a callback");
    check_starts(1, [&](auto& other) { other.stop_tokens = same_stop_tokens; }, "the same stop tokens elsewhere");
    check_starts(1, [&](auto& other) { other.logit_biases = same_biases; }, "the same biases elsewhere");

    check_starts(2, [](auto& other) { other.temperature = 0.5f; }, "temperature");
    check_starts(2, [](auto& other) { other.top_p = 0.5f; }, "top_p");
    check_starts(2, [](auto& other) { other.min_p = 0.5f; }, "min_p");
    check_starts(2, [](auto& other) { other.top_k = 5; }, "top_k");
    check_starts(2, [](auto& other) { other.repetition_penalty = 1.5f; }, "repetition_penalty");
    check_starts(2, [](auto& other) { other.presence_penalty = 1.5f; }, "presence_penalty");
    check_starts(2, [](auto& other) { other.frequency_penalty = 1.5f; }, "frequency_penalty");
    check_starts(2, [](auto& other) { other.seed = 1; }, "seed");
    check_starts(2, [](auto& other) { other.num_stop_tokens = 1; }, "fewer stop tokens");
    check_starts(2, [](auto& other) { other.num_logit_biases = 1; }, "fewer biases");
    check_starts(2, [&](auto& other) { other.logit_biases = other_biases; }, "another bias");
}

TEST(options_that_are_refused_leave_the_stream_as_it_is) {
    Fixture fixture;
    sample(*fixture.context, 1, expecting(1));
    gptoss_sampling_options options = expecting(1);
    options.temperature = -1;
    CHECK_FAILS(gptoss_status_invalid_argument, "temperature", sample(*fixture.context, 1, options));
    check_goes_on(fixture, some_tokens(5), 3, expecting(1));
    CHECK_EQUAL(fixture.count("start"), 1u);
}

TEST(a_token_counts_as_cached_once_its_pass_was_awaited) {
    Fixture fixture;
    sample(*fixture.context, 3, expecting(1));
    CHECK_EQUAL(fixture.context->num_cached_tokens(), 7u); // of 8, with the last one's pass in flight
}

TEST(what_changes_or_processes_the_tokens_ends_the_stream_and_keeps_what_it_has_processed) {
    const auto check_change = [](const char* what, size_t num_cached, const auto& change) {
        for (const bool runs_at_once : {false, true}) {
            Fixture fixture;
            fixture.controls->runs_at_once = runs_at_once;
            sample(*fixture.context, 3, expecting(1)); // 8 tokens, and one that is drawn already
            const size_t num_rows = fixture.controls->num_rows_processed;
            change(*fixture.context);
            if (fixture.count("end") != 1 || fixture.context->num_cached_tokens() != num_cached) {
                check::report_failure(__FILE__, __LINE__,
                                      std::string(what) + ": " + std::to_string(fixture.count("end")) + " ended, " +
                                          std::to_string(fixture.context->num_cached_tokens()) + " tokens cached");
            }
            if (fixture.context->tokens().empty()) {
                return;
            }
            const std::vector<float> logits = logits_of(*fixture.context);
            CHECK_EQUAL(fixture.controls->num_rows_processed - num_rows, fixture.context->tokens().size() - num_cached);
            Fixture other(0);
            other.context->append(fixture.context->tokens());
            CHECK(logits == logits_of(*other.context));
        }
    };
    check_change("append", 8, [](Context& context) { context.append(Tokens{1, 2}); });
    check_change("append nothing", 8, [](Context& context) { context.append(Tokens{}); });
    check_change("truncate to all", 8, [](Context& context) { context.truncate(8); });
    check_change("truncate", 6, [](Context& context) { context.truncate(7); }); // its logits are gone
    check_change("reset", 0, [](Context& context) { context.reset(); });
    check_change("logits", 8, [](Context& context) { context.logits({}); });
    check_change("copy", 8, [](Context& context) { context.copy(); });
    check_change("process", 8, [](Context& context) {
        Context* const contexts[] = {&context};
        Context::process(contexts, {});
    });
}

TEST(what_is_refused_does_not_end_the_stream) {
    Fixture fixture(5, 100);
    sample(*fixture.context, 3, expecting(1));
    CHECK_FAILS(gptoss_status_invalid_argument, "outside", fixture.context->append(Tokens{999}));
    CHECK_FAILS(gptoss_status_context_overflow, "limit", fixture.context->append(Tokens(100)));
    CHECK_FAILS(gptoss_status_invalid_argument, "cannot keep", fixture.context->truncate(9));
    CHECK_EQUAL(fixture.count("end"), 0u);
    check_goes_on(fixture, some_tokens(5), 3, default_options());
}

TEST(the_same_tokens_follow_after_the_stream_was_ended) {
    Fixture fixture;
    sample(*fixture.context, 3, expecting(1));
    fixture.context->logits({});
    check_goes_on(fixture, some_tokens(5), 5, expecting(1));
    fixture.context->truncate(fixture.context->tokens().size());
    check_goes_on(fixture, some_tokens(5), 5, expecting(1));
    CHECK_EQUAL(fixture.count("start"), 3u);
}

TEST(a_copy_and_its_original_go_on_alike) {
    Fixture fixture;
    gptoss_sampling_options options = expecting(1);
    options.frequency_penalty = 0.5f;
    sample(*fixture.context, 3, options);
    const std::unique_ptr<Context> copy = fixture.context->copy();
    const Tokens tokens = sample(*copy, 5, options).tokens;
    CHECK(tokens == sample(*fixture.context, 5, options).tokens);
    CHECK(copy->tokens() == fixture.context->tokens());
}

TEST(a_batch_ends_the_streams_of_its_contexts) {
    Fixture fixture;
    Context second(fixture.model, 0, 0);
    second.append(some_tokens(9, 2));
    sample(*fixture.context, 3, expecting(1));
    sample(second, 2, expecting(0));
    const size_t num_rows = fixture.controls->num_rows_processed;
    Context* const contexts[] = {fixture.context.get(), &second};
    Context::process(contexts, {});
    CHECK_EQUAL(fixture.controls->num_rows_processed - num_rows, 1u); // the first one's was in flight
    CHECK_EQUAL(fixture.count("end"), 2u);
    CHECK_EQUAL(fixture.context->num_cached_tokens(), 8u);
    CHECK_EQUAL(second.num_cached_tokens(), 11u);
}

TEST(streams_of_several_contexts_do_not_mix) {
    Fixture fixture;
    Context second(fixture.model, 0, 0);
    second.append(some_tokens(9, 2));
    const Tokens first_tokens = expected(some_tokens(5), 12).tokens;
    const Tokens second_tokens = expected(some_tokens(9, 2), 12).tokens;
    for (size_t i = 0; i < 12; i++) {
        CHECK_EQUAL(sample(*fixture.context, 1, expecting(1)).tokens.at(0), first_tokens[i]);
        CHECK_EQUAL(sample(second, 1, expecting(1)).tokens.at(0), second_tokens[i]);
    }
    CHECK_EQUAL(fixture.count("start"), 2u);
}

TEST(logits_that_outlived_their_cache_are_not_streamed_from) {
    Fixture fixture(100, 0, 32);
    sample(*fixture.context, 3);
    fixture.context->logits({}); // of 103 tokens; the rings have a snapshot at 100
    const Tokens prompt = fixture.context->tokens();
    fixture.context->append(some_tokens(200, 2));
    fixture.controls->failing_batch = 4; // when the others have overwritten the rings
    CHECK_FAILS(gptoss_status_internal_error, "The batch failed", fixture.context->logits({}));
    fixture.context->truncate(103);
    const size_t num_rows = fixture.controls->num_rows_processed;
    check_goes_on(fixture, prompt, 6, expecting(1));
    CHECK_EQUAL(fixture.controls->num_rows_processed - num_rows, 3u);
}

TEST(a_stream_begins_where_the_tokens_end_even_if_more_is_cached) {
    Fixture fixture(100, 0, 32);
    fixture.context->logits({});
    fixture.context->append(some_tokens(200, 2));
    fixture.controls->failing_batch = 4;
    CHECK_FAILS(gptoss_status_internal_error, "The batch failed", fixture.context->logits({}));
    fixture.context->truncate(100);
    check_goes_on(fixture, some_tokens(100), 6, expecting(1));
}

// ---- Aborts

TEST(an_abort_before_it_stops_sampling_once) {
    Fixture fixture;
    sample(*fixture.context, 3, expecting(1));
    fixture.context->abort();
    CHECK_FAILS(gptoss_status_aborted, "aborted after 0 of at most 4 tokens", sample(*fixture.context, 4));
    CHECK_EQUAL(fixture.context->num_cached_tokens(), 8u);
    check_goes_on(fixture, some_tokens(5), 4, expecting(1));
}

TEST(an_abort_or_a_callback_at_any_moment_leaves_a_context_that_goes_on) {
    struct Stop {
        Context* context;
        size_t countdown;
        bool aborts;
        static int call(void* user_data, size_t, size_t) {
            Stop& stop = *static_cast<Stop*>(user_data);
            if (stop.countdown == 0 || --stop.countdown != 0) {
                return 0;
            }
            if (stop.aborts) {
                stop.context->abort();
                return 0;
            }
            return 1;
        }
    };
    for (const bool aborts : {false, true}) {
        for (const bool runs_at_once : {false, true}) {
            for (size_t call = 1; call < 40; call++) {
                Fixture fixture;
                fixture.controls->runs_at_once = runs_at_once;
                Stop stop = {fixture.context.get(), call, aborts};
                gptoss_sampling_options options = expecting(1);
                options.progress = Stop::call;
                options.user_data = &stop;
                Sampled sampled;
                try {
                    sample_into(sampled, *fixture.context, 10, options);
                } catch (const gptoss::Error& error) {
                    CHECK_EQUAL(error.status(), gptoss_status_aborted);
                }
                CHECK_EQUAL(fixture.context->tokens().size(), 5 + sampled.tokens.size());
                // All that was sampled, or all but the last, unless not even the prompt was processed.
                CHECK(sampled.tokens.empty() ||
                      fixture.context->num_cached_tokens() + 1 >= fixture.context->tokens().size());
                fixture.context->append(Tokens{}); // clears what came too late
                check_goes_on(fixture, some_tokens(5), 6, expecting(1));
            }
        }
    }
}

// ---- Failures

TEST(a_stream_that_cannot_be_started_is_an_error_and_the_context_goes_on) {
    Fixture fixture;
    fixture.controls->failing_start = 1;
    CHECK_FAILS(gptoss_status_insufficient_memory, "could not be started", sample(*fixture.context, 3));
    CHECK_EQUAL(fixture.context->num_cached_tokens(), 5u);
    check_goes_on(fixture, some_tokens(5), 3, default_options());
}

TEST(a_failure_anywhere_is_an_error_and_the_context_goes_on) {
    for (const bool runs_at_once : {false, true}) {
        for (const bool of_a_pass : {false, true}) {
            for (size_t when = 1; when <= 12; when++) {
                for (const size_t piece : {1, 3, 12}) {
                    Fixture fixture;
                    fixture.controls->runs_at_once = runs_at_once;
                    (of_a_pass ? fixture.controls->failing_pass : fixture.controls->failing_submission) = when;
                    size_t num_sampled = 0;
                    size_t num_failures = 0;
                    while (num_sampled < 12) {
                        Sampled sampled;
                        try {
                            sample_into(sampled, *fixture.context, piece, expecting(1));
                        } catch (const gptoss::Error& error) {
                            num_failures++;
                            CHECK(std::string(error.what()) ==
                                  (of_a_pass ? "The pass failed." : "The submission failed."));
                        }
                        num_sampled += sampled.tokens.size();
                        CHECK_EQUAL(fixture.context->tokens().size(), 5 + num_sampled);
                    }
                    CHECK(num_failures <= 1);
                    CHECK(num_failures == 1 || when == 12); // else it was in vain, and nobody asked for it
                    fixture.context->append(Tokens{});      // drops what was done in vain
                    fixture.controls->failing_pass = 0;
                    fixture.controls->failing_submission = 0;
                    check_goes_on(fixture, some_tokens(5), 4, expecting(1));
                }
            }
        }
    }
}

TEST(a_failure_of_what_was_done_ahead_in_vain_is_nobodys_error) {
    Fixture fixture;
    fixture.controls->failing_pass = 3;
    sample(*fixture.context, 3, expecting(1));
    fixture.context->append(Tokens{});
    CHECK_EQUAL(fixture.controls->failing_pass, 0u); // it has failed
    CHECK_EQUAL(fixture.context->num_cached_tokens(), 7u);
    check_goes_on(fixture, some_tokens(5), 4, expecting(1));
}

TEST(why_no_token_can_be_sampled_is_said_in_the_samplers_words) {
    const auto check_error = [](const char* what, const gptoss_sampling_options& options, bool damaged) {
        std::string sentences[2];
        for (const bool samples : {false, true}) {
            Fixture fixture;
            fixture.controls->samples = samples;
            fixture.controls->damaged = damaged;
            Sampled sampled;
            try {
                sample_into(sampled, *fixture.context, 3, options);
                check::report_failure(__FILE__, __LINE__, std::string(what) + " is no error");
            } catch (const gptoss::Error& error) {
                sentences[samples] = error.what();
            }
        }
        CHECK_EQUAL(sentences[0], sentences[1]);
    };
    check_error("damaged", default_options(), true);

    std::vector<gptoss_logit_bias> biases;
    for (uint32_t token = 0; token < fake::kVocabularySize; token++) {
        biases.push_back({token, -std::numeric_limits<float>::infinity()});
    }
    gptoss_sampling_options options = default_options();
    options.num_logit_biases = biases.size();
    options.logit_biases = biases.data();
    check_error("all forbidden", options, false);

    options = default_options();
    options.repetition_penalty = 1e-38f;
    check_error("infinite penalty", options, false);
}

TEST(an_error_of_the_next_token_is_the_next_calls) {
    // Only a token that was sampled has a penalty, and it makes its logit infinite.
    gptoss_sampling_options options = expecting(1);
    options.presence_penalty = -3e38f;
    options.frequency_penalty = -3e38f;
    Fixture fixture;
    CHECK_EQUAL(sample(*fixture.context, 1, options).tokens.size(), 1u);
    CHECK(fixture.has("submit 6"));
    options.num_tokens_ahead = 0;
    CHECK_FAILS(gptoss_status_invalid_argument, "make a logit infinite", sample(*fixture.context, 1, options));
    CHECK_EQUAL(fixture.context->num_cached_tokens(), 6u); // its pass was done
    check_goes_on(fixture, some_tokens(5), 3, default_options());
}

// ---- The C API

TEST(options_of_a_caller_that_does_not_know_the_last_field_are_read) {
    const builder::TemporaryFile file(
        builder::build_model_file(builder::small_config(), builder::byte_vocabulary(), 5));
    gptoss_model_t model = nullptr;
    CHECK_SUCCESS(gptoss_model_create_from_file(file.path().c_str(), &model));
    std::vector<Tokens> found;
    for (const size_t size : {offsetof(gptoss_sampling_options, num_tokens_ahead), sizeof(gptoss_sampling_options)}) {
        gptoss_context_t context = nullptr;
        CHECK_SUCCESS(gptoss_context_create(model, 0, 0, &context));
        const Tokens prompt = some_tokens(5);
        CHECK_SUCCESS(gptoss_context_append_tokens(context, prompt.size(), prompt.data()));
        gptoss_sampling_options options = default_options();
        CHECK_EQUAL(options.num_tokens_ahead, 0u);
        options.size = size;
        options.seed = 3;
        Tokens tokens(6);
        size_t num_tokens = 0;
        CHECK_SUCCESS(gptoss_context_sample_with_options(context, &options, tokens.size(), tokens.data(), nullptr,
                                                         &num_tokens, nullptr));
        found.push_back(tokens);
        CHECK_SUCCESS(gptoss_context_release(context));
    }
    CHECK(found[0] == found[1]);
    CHECK_SUCCESS(gptoss_model_release(model));
}
