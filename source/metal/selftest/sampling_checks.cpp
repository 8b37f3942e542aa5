// Sampling: one token of one row, as the backend launches it. Each check looks at what its kernel wrote.

#include <algorithm>
#include <bit>
#include <cmath>

#include "../sampling_launches.h"
#include "checks.h"
#include "sampling_twin.h"

namespace gptoss::metal {

namespace {

using namespace gptoss_metal;

constexpr uint32_t kVocabularySize = 201088; // of the 20b
constexpr uint32_t kGroupSize = 32;
constexpr uint32_t kNoToken = 0xFFFFFFFFu;

// Sums of a group's weights, in units of 2^-26 of its greatest, relative to the greatest sum.
constexpr double kSumTolerance = 5e-6;
// Of logarithms, relative to the greatest.
constexpr double kLogTolerance = 2e-6;
// What a random number has to lie away from the next token's share, so that roundings cannot change the token.
constexpr double kLeastMargin = 1e-4;

// One whose random number roundings do not move to another token.
void choose_position(SamplingCase& c) {
    while (draw_token(c).margin < kLeastMargin) {
        c.position++;
    }
}

// Logits as a model makes them: a few that stand out, and a broad rest. History and biases touch some of both.
SamplingCase random_case(Random& random, uint32_t vocabulary_size, const SamplingOptions& options) {
    SamplingCase c = {};
    c.options = options;
    c.logits = random.normals<float>(vocabulary_size, 2.2);
    c.biased.resize(vocabulary_size);
    c.biases.resize(vocabulary_size, std::nanf("")); // read only where the bit is set
    c.seen.resize(vocabulary_size);
    c.counts.resize(vocabulary_size);
    c.stop_tokens = {kNoToken};
    for (uint32_t token = 0; token < vocabulary_size; token++) {
        if (random.below(vocabulary_size / 50 + 1) == 0) {
            c.logits[token] += static_cast<float>(random.uniform(4, 14));
        }
        if ((options.features & sampling_uses_allowed_mask) != 0) {
            c.biased[token] = random.below(10) != 0;
        } else if (random.below(20) == 0) {
            c.biased[token] = 1;
            c.biases[token] = static_cast<float>(random.normal());
        }
        c.seen[token] = random.below(8) == 0;
        c.counts[token] = c.seen[token] != 0 && random.below(2) == 0 ? 1 + random.below(3) : 0;
    }
    choose_position(c);
    return c;
}

SamplingOptions plain_options() {
    SamplingOptions options = {};
    options.seed = 1;
    options.temperature = 1;
    options.top_p = 1;
    options.repetition_penalty = 1;
    return options;
}

// 32 flags a word.
std::vector<uint32_t> pack_bits(const std::vector<uint8_t>& flags) {
    std::vector<uint32_t> words((flags.size() + kGroupSize - 1) / kGroupSize);
    for (size_t i = 0; i < flags.size(); i++) {
        words[i / kGroupSize] |= static_cast<uint32_t>(flags[i] != 0) << i % kGroupSize;
    }
    return words;
}

// Orders floats by unsigned integers, as the kernels do.
uint32_t key_of(float logit) {
    const uint32_t bits = std::bit_cast<uint32_t>(logit);
    return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

double logit_of(uint32_t key) {
    return std::bit_cast<float>((key & 0x80000000u) != 0 ? key ^ 0x80000000u : ~key);
}

// Encodes what one token takes.
SamplingBuffers sample(Trial& trial, const SamplingCase& c) {
    const size_t vocabulary_size = c.logits.size();
    const size_t num_groups = (vocabulary_size + kGroupSize - 1) / kGroupSize;
    const std::vector<uint8_t> generated(c.counts.begin(), c.counts.end());
    const SamplingBuffers buffers = {
        .options = trial.input(std::vector<SamplingOptions>{c.options}),
        .state = trial.input(std::vector<SamplingState>{{c.position, sampling_goes_on}}),
        .logits = trial.input(c.logits),
        .biased = trial.input(pack_bits(c.biased)),
        .biases = trial.input(c.biases),
        .seen = trial.input(pack_bits(c.seen)),
        .generated = trial.input(pack_bits(generated)),
        .counts = trial.input(c.counts),
        .stop_tokens = trial.input(c.stop_tokens),
        .groups = trial.output<uint32_t>(2 * num_groups),
        .model_groups = trial.output<uint32_t>(2 * num_groups),
        .cut = trial.output<uint32_t>(1),
        .num_candidates = trial.output<uint32_t>(1),
        .candidates = trial.output<uint32_t>(2 * vocabulary_size),
        .next_token = trial.output<uint32_t>(1),
        .result = trial.output<SamplingResult>(1),
    };
    const SamplingOptions& options = c.options;
    const bool filters = options.temperature > 0 && (options.top_k != 0 || options.top_p < 1 || options.min_p > 0);
    // The launch binds `biased` for the mask of allowed tokens as well, so that mask can be checked, if not together
    // with biases.
    launch_sampling(trial.encoder(), {static_cast<uint32_t>(vocabulary_size), filters}, buffers);
    return buffers;
}

// ---- The kernels one by one

// Each group's highest logit, and its weights' sum in units of 2^-26 of the highest.
void expect_groups(
    Trial& trial, const char* what, const Slice& groups, const std::vector<double>& logits, double temperature) {
    const std::vector<uint32_t> words = trial.values<uint32_t>(groups);
    std::vector<double> highest;
    std::vector<double> expected_highest;
    std::vector<double> sums;
    std::vector<double> expected_sums;
    for (size_t group = 0; group < words.size() / 2; group++) {
        const auto begin = logits.begin() + static_cast<std::ptrdiff_t>(group * kGroupSize);
        const auto end =
            logits.begin() + static_cast<std::ptrdiff_t>(std::min((group + 1) * kGroupSize, logits.size()));
        const double best = *std::max_element(begin, end);
        double sum = 0;
        for (auto logit = begin; logit != end; ++logit) {
            sum += std::exp((*logit - best) / temperature);
        }
        highest.push_back(logit_of(words[2 * group]));
        expected_highest.push_back(best);
        sums.push_back(words[2 * group + 1]);
        expected_sums.push_back(sum * 0x1p26);
    }
    trial.expect_close(std::string("the highest logits of ") + what, highest, expected_highest, 1e-6);
    trial.expect_close(std::string("the sums of ") + what, sums, expected_sums, kSumTolerance);
}

void check_survey(Trial& trial, const SamplingOptions& options, uint32_t vocabulary_size) {
    const SamplingCase c = random_case(trial.random(), vocabulary_size, options);
    const SamplingBuffers buffers = sample(trial, c);
    trial.run();
    expect_groups(trial, "the groups", buffers.groups, adjusted_logits(c), options.temperature);
    expect_groups(trial, "the model's groups", buffers.model_groups, {c.logits.begin(), c.logits.end()}, 1);
}

// With top_k, the cut is the k-th highest of the groups' highest logits.
void check_cut_of_top_k(Trial& trial, const SamplingOptions& options) {
    const SamplingCase c = random_case(trial.random(), kVocabularySize, options);
    const SamplingBuffers buffers = sample(trial, c);
    trial.run();
    std::vector<uint32_t> keys;
    for (size_t first = 0; first < c.logits.size(); first += kGroupSize) {
        const auto begin = c.logits.begin() + static_cast<std::ptrdiff_t>(first);
        keys.push_back(key_of(*std::max_element(begin, begin + kGroupSize)));
    }
    std::sort(keys.begin(), keys.end(), std::greater<>());
    trial.expect_equal("cut", buffers.cut, {keys[options.top_k - 1]});
}

// With min_p, the cut is the logit that has this share of the highest probability.
void check_cut_of_min_p(Trial& trial, const SamplingOptions& options) {
    const SamplingCase c = random_case(trial.random(), kVocabularySize, options);
    const SamplingBuffers buffers = sample(trial, c);
    trial.run();
    const double highest = *std::max_element(c.logits.begin(), c.logits.end());
    trial.expect_close("cut", {logit_of(trial.values<uint32_t>(buffers.cut)[0])},
                       {highest + options.temperature * std::log(static_cast<double>(options.min_p))}, 1e-6);
}

// Everything from the cut on, and nothing else.
void check_gather(Trial& trial, const SamplingOptions& options, uint32_t vocabulary_size) {
    const SamplingCase c = random_case(trial.random(), vocabulary_size, options);
    const SamplingBuffers buffers = sample(trial, c);
    trial.run();
    const uint32_t cut = trial.values<uint32_t>(buffers.cut)[0];
    std::vector<uint32_t> expected;
    for (uint32_t token = 0; token < vocabulary_size; token++) {
        if (key_of(c.logits[token]) >= cut) {
            expected.push_back(token);
        }
    }
    const uint32_t num_candidates = trial.values<uint32_t>(buffers.num_candidates)[0];
    trial.expect_equal("number of candidates", {num_candidates}, {static_cast<uint32_t>(expected.size())});
    const std::vector<uint32_t> candidates = trial.values<uint32_t>(buffers.candidates); // key, token; in any order
    std::vector<uint32_t> tokens;
    for (size_t i = 0; i < std::min<size_t>(num_candidates, vocabulary_size); i++) {
        const uint32_t token = candidates[2 * i + 1];
        tokens.push_back(token);
        trial.expect_equal("key of a candidate", {candidates[2 * i]},
                           {token < vocabulary_size ? key_of(c.logits[token]) : 0});
    }
    std::sort(tokens.begin(), tokens.end());
    tokens.resize(expected.size(), kNoToken);
    trial.expect_equal("candidates", tokens, expected);
}

// The token, its log-probability, and what the next one's work reads.
void check_draw(Trial& trial, const SamplingOptions& options, uint32_t vocabulary_size, bool stops = false) {
    SamplingCase c = random_case(trial.random(), vocabulary_size, options);
    const uint32_t token = draw_token(c).token;
    c.stop_tokens = {7, stops ? token : kNoToken};
    c.options.num_stop_tokens = static_cast<uint32_t>(c.stop_tokens.size());
    const SamplingBuffers buffers = sample(trial, c);
    trial.run();

    const uint32_t status = stops ? sampling_stopped : sampling_goes_on;
    const SamplingResult result = trial.values<SamplingResult>(buffers.result)[0];
    trial.expect_equal("token and status", {result.token, result.status}, {token, status});
    trial.expect_equal("next token", buffers.next_token, {token});
    trial.expect_equal("position and status that follow", buffers.state, {c.position + 1, status});
    const std::vector<double> log_probabilities = model_log_probabilities(c);
    trial.expect_close("log-probability", {result.log_probability}, {log_probabilities[token]}, kLogTolerance);
    trial.expect_close("logarithm of the sum", {result.log_sum},
                       {-*std::max_element(log_probabilities.begin(), log_probabilities.end())}, kLogTolerance);
    c.seen[token] = 1;
    c.counts[token] += 1;
    trial.expect_equal("tokens seen", buffers.seen, pack_bits(c.seen));
    trial.expect_equal("counts", buffers.counts, c.counts);
    trial.expect_equal("tokens generated", buffers.generated, pack_bits({c.counts.begin(), c.counts.end()}));
}

// A kernel that the backend does not use: launched after the others.
void check_top_tokens(Trial& trial) {
    constexpr uint32_t kNumTopTokens = 20;
    SamplingOptions options = plain_options();
    options.num_top_tokens = kNumTopTokens;
    SamplingCase c = random_case(trial.random(), kVocabularySize, options);
    const std::vector<uint32_t> order = by_likelihood({c.logits.begin(), c.logits.end()});
    // Ties, in one group and in two: the lowest first.
    c.logits[order[0] ^ 1] = c.logits[order[0]];
    c.logits[(order[0] + 1000) % kVocabularySize] = c.logits[order[0]];
    choose_position(c);
    const SamplingBuffers buffers = sample(trial, c);
    const Slice top_tokens = trial.output<TopToken>(kNumTopTokens);
    trial.encoder().barrier();
    trial.encoder().launch(
        {"sample_top_tokens", "sample_top_tokens"}, SamplingArguments{kVocabularySize, 1, kNumTopTokens},
        {{1, buffers.options}, {3, buffers.logits}, {11, buffers.model_groups}, {17, buffers.result}, {18, top_tokens}},
        {{1}, {256}});
    trial.run();

    const std::vector<uint32_t> expected = by_likelihood({c.logits.begin(), c.logits.end()});
    const std::vector<double> log_probabilities = model_log_probabilities(c);
    std::vector<uint32_t> tokens;
    std::vector<double> actual;
    std::vector<double> wanted;
    for (const TopToken& top : trial.values<TopToken>(top_tokens)) {
        wanted.push_back(log_probabilities[expected[tokens.size()]]);
        tokens.push_back(top.token);
        actual.push_back(top.log_probability);
    }
    trial.expect_equal("tokens", tokens, {expected.begin(), expected.begin() + kNumTopTokens});
    trial.expect_close("log-probabilities", actual, wanted, kLogTolerance);
}

} // namespace

std::vector<KernelCheck> sampling_checks() {
    const SamplingOptions plain = plain_options();
    SamplingOptions greedy = plain;
    greedy.temperature = 0;
    SamplingOptions top_k = plain;
    top_k.top_k = 50;
    SamplingOptions top_p = plain;
    top_p.top_p = 0.9f;
    SamplingOptions min_p = plain;
    min_p.min_p = 0.05f;
    SamplingOptions masked = plain;
    masked.features = sampling_uses_allowed_mask;
    SamplingOptions every = top_k;
    every.temperature = 1.4f;
    every.top_p = 0.97f;
    every.min_p = 0.001f;
    every.repetition_penalty = 1.2f;
    every.presence_penalty = 0.3f;
    every.frequency_penalty = 0.2f;
    every.features = sampling_uses_bias;
    SamplingOptions adjusted = every;
    adjusted.top_k = 0;
    adjusted.top_p = 1;
    adjusted.min_p = 0;
    return {
        {"sample_survey", "201088 tokens, biases and penalties",
         [=](Trial& t) { check_survey(t, adjusted, kVocabularySize); }},
        {"sample_survey", "1003 tokens", [=](Trial& t) { check_survey(t, plain, 1003); }},
        {"sample_cut", "201088 tokens, top_k 50", [=](Trial& t) { check_cut_of_top_k(t, top_k); }},
        {"sample_cut", "201088 tokens, min_p 0.05", [=](Trial& t) { check_cut_of_min_p(t, min_p); }},
        {"sample_gather", "201088 tokens, top_k 50", [=](Trial& t) { check_gather(t, top_k, kVocabularySize); }},
        {"sample_gather", "1003 tokens, top_p 0.9", [=](Trial& t) { check_gather(t, top_p, 1003); }},
        {"sample_draw", "201088 tokens, temperature 1", [=](Trial& t) { check_draw(t, plain, kVocabularySize); }},
        {"sample_draw", "201088 tokens, temperature 0", [=](Trial& t) { check_draw(t, greedy, kVocabularySize); }},
        {"sample_draw", "201088 tokens, top_p 0.9", [=](Trial& t) { check_draw(t, top_p, kVocabularySize); }},
        {"sample_draw", "201088 tokens, every option", [=](Trial& t) { check_draw(t, every, kVocabularySize); }},
        {"sample_draw", "1003 tokens, a mask, a stop token", [=](Trial& t) { check_draw(t, masked, 1003, true); }},
        {"sample_top_tokens", "201088 tokens, 20 of them", check_top_tokens},
    };
}

} // namespace gptoss::metal
