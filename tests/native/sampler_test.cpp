// From logits to tokens: what each option keeps and drops, and that draws follow the distribution.
#include "sampler.h"

#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <vector>

#include "check.h"

using gptoss::SampledToken;
using gptoss::Sampler;
using gptoss::TokenHistory;

namespace {

constexpr int kNumDraws = 20000;

const std::unordered_map<uint32_t, uint32_t> kNothingGenerated;
const TokenHistory kNoHistory = {{}, kNothingGenerated};

gptoss_sampling_options default_options() {
    gptoss_sampling_options options = {};
    options.size = sizeof(options);
    options.temperature = 1.0f;
    options.top_p = 1.0f;
    options.repetition_penalty = 1.0f;
    return options;
}

// Logits whose softmax is this distribution.
std::vector<float> logits_of(const std::vector<double>& probabilities) {
    std::vector<float> logits;
    for (const double probability : probabilities) {
        logits.push_back(static_cast<float>(std::log(probability) + 3.0));
    }
    return logits;
}

std::map<uint32_t, double> frequencies(const gptoss_sampling_options& options,
                                       const std::vector<float>& logits,
                                       const TokenHistory& history = kNoHistory) {
    Sampler sampler(options, static_cast<uint32_t>(logits.size()));
    std::map<uint32_t, double> result;
    for (int position = 0; position < kNumDraws; position++) {
        result[sampler.sample(logits, history, static_cast<uint64_t>(position)).token] += 1.0 / kNumDraws;
    }
    return result;
}

// Five standard deviations of a frequency: seeds are fixed, so a pass stays a pass.
void check_frequencies(const std::map<uint32_t, double>& found, const std::map<uint32_t, double>& expected) {
    for (const auto& [token, frequency] : found) {
        CHECK(expected.contains(token));
    }
    for (const auto& [token, probability] : expected) {
        const double deviation = std::sqrt(probability * (1 - probability) / kNumDraws);
        const auto entry = found.find(token);
        CHECK(std::fabs((entry == found.end() ? 0.0 : entry->second) - probability) <= 5 * deviation);
    }
}

std::set<uint32_t> tokens_drawn(const gptoss_sampling_options& options,
                                const std::vector<float>& logits,
                                const TokenHistory& history = kNoHistory) {
    std::set<uint32_t> tokens;
    for (const auto& [token, frequency] : frequencies(options, logits, history)) {
        tokens.insert(token);
    }
    return tokens;
}

uint32_t greedy(const gptoss_sampling_options& options,
                const std::vector<float>& logits,
                const TokenHistory& history = kNoHistory) {
    return Sampler(options, static_cast<uint32_t>(logits.size())).sample(logits, history, 0).token;
}

const std::vector<double> kDistribution = {0.05, 0.4, 0.1, 0.25, 0.2};

} // namespace

TEST(temperature_one_draws_from_the_models_distribution) {
    check_frequencies(frequencies(default_options(), logits_of(kDistribution)),
                      {{0, 0.05}, {1, 0.4}, {2, 0.1}, {3, 0.25}, {4, 0.2}});
}

TEST(temperature_sharpens_and_flattens) {
    for (const float temperature : {0.5f, 2.0f}) {
        gptoss_sampling_options options = default_options();
        options.temperature = temperature;
        std::map<uint32_t, double> expected;
        double total = 0;
        for (uint32_t token = 0; token < kDistribution.size(); token++) {
            expected[token] = std::pow(kDistribution[token], 1.0 / temperature);
            total += expected[token];
        }
        for (auto& [token, probability] : expected) {
            probability /= total;
        }
        check_frequencies(frequencies(options, logits_of(kDistribution)), expected);
    }
}

TEST(temperature_zero_takes_the_highest_logit_and_the_lowest_id_of_equals) {
    gptoss_sampling_options options = default_options();
    options.temperature = 0;
    CHECK_EQUAL(greedy(options, {1.0f, 3.0f, 2.0f}), 1u);
    CHECK_EQUAL(greedy(options, {1.0f, 3.0f, 3.0f, 3.0f}), 1u);
    CHECK_EQUAL(greedy(options, {-5.0f}), 0u);
}

TEST(a_tiny_temperature_is_greedy) {
    gptoss_sampling_options options = default_options();
    for (const float temperature : {1e-3f, 1e-30f, std::numeric_limits<float>::denorm_min()}) {
        options.temperature = temperature;
        CHECK(tokens_drawn(options, logits_of(kDistribution)) == std::set<uint32_t>{1});
    }
}

TEST(top_k_keeps_the_k_most_likely) {
    gptoss_sampling_options options = default_options();
    options.top_k = 2;
    check_frequencies(frequencies(options, logits_of(kDistribution)), {{1, 0.4 / 0.65}, {3, 0.25 / 0.65}});
    options.top_k = 1;
    CHECK(tokens_drawn(options, logits_of(kDistribution)) == std::set<uint32_t>{1});
    options.top_k = 100; // more than there are
    CHECK_EQUAL(tokens_drawn(options, logits_of(kDistribution)).size(), 5u);
}

TEST(top_k_breaks_ties_by_the_lowest_id) {
    gptoss_sampling_options options = default_options();
    options.top_k = 3;
    CHECK((tokens_drawn(options, std::vector<float>(50, 1.0f)) == std::set<uint32_t>{0, 1, 2}));
}

TEST(top_p_keeps_the_fewest_tokens_that_reach_it) {
    gptoss_sampling_options options = default_options();
    options.top_p = 0.6f; // 0.4 + 0.25 reach it
    check_frequencies(frequencies(options, logits_of(kDistribution)), {{1, 0.4 / 0.65}, {3, 0.25 / 0.65}});
    options.top_p = 0.7f; // 0.65 does not
    CHECK((tokens_drawn(options, logits_of(kDistribution)) == std::set<uint32_t>{1, 3, 4}));
    options.top_p = 1e-6f; // always one token
    CHECK(tokens_drawn(options, logits_of(kDistribution)) == std::set<uint32_t>{1});
}

TEST(top_p_reaches_past_many_equal_tokens) {
    gptoss_sampling_options options = default_options();
    options.top_p = 0.5f;
    const std::vector<float> logits(1000, 0.0f);
    Sampler sampler(options, 1000);
    for (uint64_t position = 0; position < 2000; position++) {
        CHECK(sampler.sample(logits, kNoHistory, position).token < 501); // 500, and rounding may take one more
    }
}

TEST(min_p_drops_what_is_far_below_the_most_likely) {
    gptoss_sampling_options options = default_options();
    options.min_p = 0.45f; // of 0.4: 0.18
    CHECK((tokens_drawn(options, logits_of(kDistribution)) == std::set<uint32_t>{1, 3, 4}));
    options.min_p = 1.0f;
    CHECK(tokens_drawn(options, logits_of(kDistribution)) == std::set<uint32_t>{1});
}

TEST(a_draw_from_the_whole_vocabulary_is_that_from_a_list_of_all_candidates) {
    std::vector<float> logits(1003); // not a multiple of what is compared at a time
    for (size_t i = 0; i < logits.size(); i++) {
        logits[i] = i % 50 == 7 ? -2000.0f : static_cast<float>(8 * std::sin(static_cast<double>(i) * 12.9898));
    }
    gptoss_sampling_options options = default_options();
    for (const float temperature : {0.3f, 1.0f, 2.5f}) {
        for (const float min_p : {0.0f, 0.02f, 1.0f}) {
            options.temperature = temperature;
            options.min_p = min_p;
            gptoss_sampling_options listed = options;
            listed.top_k = static_cast<uint32_t>(logits.size()); // keeps every one of them
            Sampler whole(options, static_cast<uint32_t>(logits.size()));
            Sampler list(listed, static_cast<uint32_t>(logits.size()));
            for (uint64_t position = 0; position < 100; position++) {
                CHECK_EQUAL(whole.sample(logits, kNoHistory, position).token,
                            list.sample(logits, kNoHistory, position).token);
            }
        }
    }
}

TEST(filters_follow_one_another) {
    gptoss_sampling_options options = default_options();
    options.top_k = 4;     // drops 0
    options.top_p = 0.85f; // of the rest: 0.4, 0.25, 0.2 are 0.895 of 0.95, so 2 goes
    options.min_p = 0.6f;  // of 0.4: 0.24, so 4 goes
    check_frequencies(frequencies(options, logits_of(kDistribution)), {{1, 0.4 / 0.65}, {3, 0.25 / 0.65}});
}

TEST(logit_biases_add_up_and_forbid) {
    const gptoss_logit_bias biases[] = {{1, -std::numeric_limits<float>::infinity()}, {2, 1.0f}, {2, 1.0f}};
    gptoss_sampling_options options = default_options();
    options.temperature = 0;
    options.num_logit_biases = 3;
    options.logit_biases = biases;
    CHECK_EQUAL(greedy(options, {0.0f, 9.0f, 1.0f, 2.5f}), 2u);
    options.temperature = 1;
    CHECK((tokens_drawn(options, {0.0f, 9.0f, 1.0f, 2.5f}) == std::set<uint32_t>{0, 2, 3}));
}

TEST(biases_that_forbid_everything_are_an_error) {
    const float never = -std::numeric_limits<float>::infinity();
    const gptoss_logit_bias biases[] = {{0, never}, {1, never}};
    gptoss_sampling_options options = default_options();
    options.num_logit_biases = 2;
    options.logit_biases = biases;
    for (const float temperature : {0.0f, 1.0f}) {
        options.temperature = temperature;
        CHECK_FAILS(gptoss_status_invalid_argument, "forbid every token", greedy(options, {1.0f, 2.0f}));
    }
}

TEST(the_repetition_penalty_lowers_tokens_of_the_context_whatever_their_sign) {
    const std::vector<uint32_t> context = {0, 0, 2};
    const TokenHistory history = {context, kNothingGenerated};
    gptoss_sampling_options options = default_options();
    options.temperature = 0;
    options.repetition_penalty = 2.0f;
    CHECK_EQUAL(greedy(options, {3.0f, 2.0f}, {std::span(context).first(2), kNothingGenerated}), 1u);   // 3 / 2 < 2
    CHECK_EQUAL(greedy(options, {-1.0f, -1.5f}, {std::span(context).first(2), kNothingGenerated}), 1u); // -2 < -1.5
    CHECK_EQUAL(greedy(options, {5.0f, 2.0f, 1.0f}, history), 0u); // once, not for every repetition: 5 / 2 > 2
}

TEST(presence_and_frequency_penalties_count_sampled_tokens_only) {
    const std::vector<uint32_t> context = {0, 0, 0, 1, 1};
    const std::unordered_map<uint32_t, uint32_t> generated = {{1, 2}};
    const TokenHistory history = {context, generated};
    gptoss_sampling_options options = default_options();
    options.temperature = 0;
    options.presence_penalty = 1.0f;
    CHECK_EQUAL(greedy(options, {2.0f, 2.9f}, history), 0u); // 2.9 - 1
    CHECK_EQUAL(greedy(options, {2.0f, 3.1f}, history), 1u);
    options.presence_penalty = 0.0f;
    options.frequency_penalty = 1.0f;
    CHECK_EQUAL(greedy(options, {2.0f, 3.9f}, history), 0u); // 3.9 - 2
    CHECK_EQUAL(greedy(options, {2.0f, 4.1f}, history), 1u);
    options.frequency_penalty = -1.0f; // negative ones encourage
    CHECK_EQUAL(greedy(options, {2.0f, 0.5f}, history), 1u);
}

TEST(log_probabilities_are_the_models_own) {
    const gptoss_logit_bias bias = {0, 50.0f};
    gptoss_sampling_options options = default_options();
    options.temperature = 0.1f;
    options.top_k = 1;
    options.num_logit_biases = 1;
    options.logit_biases = &bias;
    const SampledToken sampled = Sampler(options, 5).sample(logits_of(kDistribution), kNoHistory, 0);
    CHECK_EQUAL(sampled.token, 0u);
    CHECK(std::fabs(sampled.log_probability - std::log(0.05)) < 1e-5);
}

TEST(huge_logits_neither_overflow_nor_lose_the_order) {
    const std::vector<float> logits = {3e38f, -3e38f, 2.9e38f};
    CHECK(tokens_drawn(default_options(), logits) == std::set<uint32_t>{0});
    const SampledToken sampled = Sampler(default_options(), 3).sample(logits, kNoHistory, 0);
    CHECK_EQUAL(sampled.log_probability, 0.0f);
}

TEST(penalties_that_overflow_are_an_error_and_not_a_crash) {
    const std::vector<uint32_t> context = {0, 1};
    const std::unordered_map<uint32_t, uint32_t> generated = {{0, 3}, {1, 3}};
    const TokenHistory history = {context, generated};
    const float largest = std::numeric_limits<float>::max();
    gptoss_sampling_options division = default_options();
    division.repetition_penalty = std::numeric_limits<float>::denorm_min();
    gptoss_sampling_options subtraction = default_options();
    subtraction.frequency_penalty = -largest;
    for (gptoss_sampling_options options : {division, subtraction}) {
        for (const float temperature : {0.0f, 1.0f}) {
            options.temperature = temperature;
            CHECK_FAILS(gptoss_status_invalid_argument, "penalt", greedy(options, {5.0f, 4.0f}, history));
        }
    }
}

TEST(logits_that_are_no_numbers_are_an_error) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const float infinity = std::numeric_limits<float>::infinity();
    for (const std::vector<float>& logits :
         {std::vector<float>{nan, 1.0f}, std::vector<float>{1.0f, nan}, std::vector<float>{infinity, 1.0f},
          std::vector<float>{-infinity, -infinity}}) {
        CHECK_FAILS(gptoss_status_internal_error, "not finite", greedy(default_options(), logits));
    }
}

TEST(the_same_seed_and_position_draw_the_same_token) {
    std::vector<float> logits(1000);
    for (size_t i = 0; i < logits.size(); i++) {
        logits[i] = static_cast<float>(std::sin(static_cast<double>(i) * 12.9898));
    }
    gptoss_sampling_options options = default_options();
    options.seed = 42;
    Sampler once(options, 1000);
    Sampler again(options, 1000);
    int num_equal_to_another_seed = 0;
    gptoss_sampling_options other_options = options;
    other_options.seed = 43;
    Sampler other(other_options, 1000);
    for (uint64_t position = 200; position-- > 0;) {
        const uint32_t token = once.sample(logits, kNoHistory, position).token;
        num_equal_to_another_seed += other.sample(logits, kNoHistory, position).token == token;
        CHECK_EQUAL(Sampler(options, 1000).sample(logits, kNoHistory, position).token, token);
    }
    for (uint64_t position = 0; position < 200; position++) { // in the other order
        CHECK_EQUAL(again.sample(logits, kNoHistory, position).token, once.sample(logits, kNoHistory, position).token);
    }
    CHECK(num_equal_to_another_seed < 10);
}

TEST(uniform_random_fills_the_unit_interval_evenly) {
    for (const uint64_t key : {uint64_t{0}, uint64_t{1}, ~uint64_t{0}}) {
        std::vector<int> bins(16);
        constexpr int kNumSamples = 160000;
        for (uint64_t counter = 0; counter < kNumSamples; counter++) {
            const double value = gptoss::uniform_random(key, counter);
            CHECK(value >= 0.0 && value < 1.0);
            bins[static_cast<size_t>(value * 16)]++;
        }
        double chi_squared = 0;
        for (const int count : bins) {
            chi_squared += (count - kNumSamples / 16.0) * (count - kNumSamples / 16.0) / (kNumSamples / 16.0);
        }
        CHECK(chi_squared < 50); // 15 degrees of freedom: exceeded once in 80,000
    }
}

TEST(stop_tokens_are_recognised) {
    const uint32_t stop_tokens[] = {3, 1};
    gptoss_sampling_options options = default_options();
    options.num_stop_tokens = 2;
    options.stop_tokens = stop_tokens;
    const Sampler sampler(options, 5);
    CHECK(sampler.is_stop_token(1) && sampler.is_stop_token(3));
    CHECK(!sampler.is_stop_token(0) && !sampler.is_stop_token(2) && !sampler.is_stop_token(4));
    CHECK(!Sampler(default_options(), 5).is_stop_token(0));
}

TEST(options_out_of_range_are_refused_by_name) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const float infinity = std::numeric_limits<float>::infinity();
    const auto refused = [](float gptoss_sampling_options::* field, const char* name, std::vector<float> values) {
        for (const float value : values) {
            gptoss_sampling_options options = default_options();
            options.*field = value;
            CHECK_FAILS(gptoss_status_invalid_argument, name, Sampler(options, 5));
        }
    };
    refused(&gptoss_sampling_options::temperature, "temperature must be", {-0.1f, nan, infinity});
    refused(&gptoss_sampling_options::top_p, "top_p must be", {0.0f, -1.0f, 1.1f, nan});
    refused(&gptoss_sampling_options::min_p, "min_p must be", {-0.1f, 1.1f, nan});
    refused(&gptoss_sampling_options::repetition_penalty, "repetition_penalty must be", {0.0f, -1.0f, nan, infinity});
    refused(&gptoss_sampling_options::presence_penalty, "presence_penalty must be", {nan, infinity});
    refused(&gptoss_sampling_options::frequency_penalty, "frequency_penalty must be", {nan, -infinity});

    const uint32_t stop_token = 5;
    gptoss_sampling_options options = default_options();
    options.num_stop_tokens = 1;
    CHECK_FAILS(gptoss_status_invalid_argument, "must not be null", Sampler(options, 5));
    options.stop_tokens = &stop_token;
    CHECK_FAILS(gptoss_status_invalid_argument, "stop token 5 is outside the vocabulary of 5", Sampler(options, 5));

    options = default_options();
    options.num_logit_biases = 1;
    CHECK_FAILS(gptoss_status_invalid_argument, "must not be null", Sampler(options, 5));
    for (const gptoss_logit_bias bias : {gptoss_logit_bias{9, 0.0f}, {0, nan}, {0, infinity}}) {
        options.logit_biases = &bias;
        CHECK_FAILS(gptoss_status_invalid_argument, "logit bias", Sampler(options, 5));
    }
}
