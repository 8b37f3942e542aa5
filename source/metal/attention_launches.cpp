#include "attention_launches.h"

#include <algorithm>
#include <vector>

#include "../../metal/arguments.h"
#include "../../metal/attention_geometry.h"

namespace gptoss::metal {

namespace {

using namespace gptoss_metal;

// The threads of rope_and_cache, where any number does: each has 16 bytes, and 16 of them a head. The 20b has 5 times
// as many in a row, and the smallest models' 4 heads a row are a quarter.
constexpr uint32_t kRopeThreads = 256;

// Vectors of the threadgroups of attention_decode_8, _32 and _64.
constexpr uint32_t kMaxDecodeVectors = 64;
static_assert(kMaxDecodeVectors * kAttentionThreadsPerVector == kAttentionDecodeMaxThreads);

// How decoded spans are split; num_attention_splits() says why.
constexpr uint32_t kWantedThreadgroups = 128;
constexpr uint32_t kMostThreadgroups = 512;
constexpr uint32_t kKeysPerSplit = 256;

constexpr uint32_t ceil_divide(uint32_t value, uint32_t divisor) {
    return (value + divisor - 1) / divisor;
}

// The decode kernel for a number of vectors: the smallest that takes them in one threadgroup, or else the largest.
struct DecodeForm {
    const char* kernel;
    uint32_t vectors;
};

DecodeForm decode_form(uint32_t num_vectors) {
    if (num_vectors <= 8) {
        return {"attention_decode_8", 8};
    }
    if (num_vectors <= 32) {
        return {"attention_decode_32", 32};
    }
    return {"attention_decode_64", kMaxDecodeVectors};
}

uint32_t heads_per_group(const ModelConfig& config) {
    return config.num_heads / config.num_kv_heads;
}

// Positions that at least one row of the span sees.
uint32_t visible_keys(const AttentionSpan& span) {
    const uint32_t end = span.first_position + span.num_rows;
    return span.window == 0 ? end : std::min(end, span.num_rows - 1 + span.window);
}

// The slots that the positions of a span and those before it occupy: from the first slot on, until a ring is whole.
Slice used_slots(const Slice& cache, const ModelConfig& config, const AttentionSpan& span) {
    const size_t num_slots = std::min(span.capacity, span.first_position + span.num_rows);
    return cache.part(0, num_slots * config.num_kv_heads * kHeadDim * sizeof(uint16_t));
}

// Rows [first_row, first_row + num_rows) of fp32 [rows, H, 64].
Slice rows_of(const Slice& whole, const ModelConfig& config, uint32_t first_row, uint32_t num_rows) {
    const size_t row_bytes = size_t{config.num_heads} * kHeadDim * sizeof(float);
    return whole.part(first_row * row_bytes, num_rows * row_bytes);
}

AttentionArguments attention_arguments(const ModelConfig& config, const AttentionSpan& span) {
    return {
        .num_heads = config.num_heads,
        .num_kv_heads = config.num_kv_heads,
        .num_rows = span.num_rows,
        .first_position = span.first_position,
        .window = span.window,
        .capacity = span.capacity,
    };
}

} // namespace

void launch_rope(Encoder& encoder,
                 const ModelConfig& config,
                 std::span<const AttentionSpan> spans,
                 const Slice& qkv,
                 const Slice& inverse_frequencies,
                 const Slice& queries) {
    const uint32_t num_all_heads = config.num_heads + 2 * config.num_kv_heads;
    const size_t row_bytes = size_t{num_all_heads} * kHeadDim * sizeof(float);
    uint32_t first_row = 0;
    for (const AttentionSpan& span : spans) {
        const RopeArguments arguments = {
            .num_heads = config.num_heads,
            .num_kv_heads = config.num_kv_heads,
            .num_rows = span.num_rows,
            .first_position = span.first_position,
            .capacity = span.capacity,
            .concentration = config.yarn_multiplier,
        };
        encoder.launch({"rope", "rope_and_cache"}, arguments,
                       {{1, qkv.part(first_row * row_bytes, span.num_rows * row_bytes)},
                        {2, inverse_frequencies},
                        {3, rows_of(queries, config, first_row, span.num_rows)},
                        {4, used_slots(span.keys, config, span)},
                        {5, used_slots(span.values, config, span)}},
                       {{ceil_divide(num_all_heads * kHeadDim / 4, kRopeThreads), span.num_rows}, {kRopeThreads}});
        first_row += span.num_rows;
    }
}

// What a split costs: it reads its queries and writes its sums, 4 KB for 8 heads, which the merge reads again; a key
// with its value is 256 bytes. What too few splits cost: a simdgroup multiplies a tile of 32 keys with 8 queries in
// about 1,000 cycles, one tile after the other, and cores without a threadgroup stand still. (docs/performance.md,
// "Attention of one row", has the bytes.)
//
// - Up to 128 threadgroups, splits are as short as one tile: a window of 128 keys is 4 splits of a tile, 32
//   threadgroups with 8 key/value heads, and 1,024 keys are 16 of two tiles. That is 4 threadgroups for each of the 32
//   cores of an M1 Max, for 39 % more bytes, of 2 MB.
// - Beyond that, splits have 256 keys, which costs 6 % for the splits and 4 % for the merge: 32 splits and 256
//   threadgroups at 8,192 keys.
// - From 512 threadgroups on (16,384 keys), splits grow. A core holds 5 of the smallest threadgroups at a time, so the
//   80 cores of an M3 Ultra hold 400.
//
// Spans that are decoded side by side divide these numbers among them.
uint32_t num_attention_splits(const ModelConfig& config, const AttentionSpan& span, size_t num_decoded) {
    const uint32_t num_vectors = span.num_rows * heads_per_group(config);
    const size_t groups =
        num_decoded * config.num_kv_heads * ceil_divide(num_vectors, decode_form(num_vectors).vectors);
    const size_t num_keys = visible_keys(span);
    const size_t wanted = (kWantedThreadgroups + groups - 1) / groups;
    const size_t most = std::max<size_t>(1, kMostThreadgroups / groups);
    const size_t splits = std::max(wanted, std::min(most, num_keys / kKeysPerSplit));
    return static_cast<uint32_t>(std::min(splits, (num_keys + kAttentionKeysPerTile - 1) / kAttentionKeysPerTile));
}

// A span has at most max(1, 512 / (spans G z)) splits, z being its ceil(vectors / form). Vectors, rows times H / G, are
// at most z times the form's, so that the sum over spans of rows times H times splits is at most rows times H, plus
// 512 times the vectors of the largest form in the batch.
AttentionWorkspaceBytes attention_workspace_bytes(const ModelConfig& config, size_t max_rows) {
    const uint32_t longest = static_cast<uint32_t>(std::min<size_t>(max_rows, kMaxFewRows));
    const size_t most_vectors = decode_form(longest * heads_per_group(config)).vectors;
    const size_t num_sums = max_rows * config.num_heads + kMostThreadgroups * most_vectors;
    return {.split_values = num_sums * kHeadDim * sizeof(float), .split_sums = num_sums * 2 * sizeof(float)};
}

void launch_attention(Encoder& encoder,
                      const ModelConfig& config,
                      std::span<const AttentionSpan> spans,
                      const AttentionBuffers& buffers,
                      const AttentionWorkspace& workspace) {
    const auto num_decoded = static_cast<size_t>(
        std::ranges::count_if(spans, [](const AttentionSpan& span) { return !is_prefilled(span.num_rows); }));

    // What is left to merge.
    struct Splits {
        uint32_t first_row;
        uint32_t num_rows;
        uint32_t num_splits;
        Slice values; // fp32 [num_rows, H, num_splits, 64]
        Slice sums;   // fp32 [num_rows, H, num_splits, 2]
    };
    std::vector<Splits> decoded;
    decoded.reserve(num_decoded);
    size_t num_sums = 0; // in the workspace so far

    uint32_t num_rows = 0;
    for (const AttentionSpan& span : spans) {
        const uint32_t first_row = num_rows;
        num_rows += span.num_rows;
        const AttentionArguments arguments = attention_arguments(config, span);
        const Slice queries = rows_of(buffers.queries, config, first_row, span.num_rows);
        const Slice keys = used_slots(span.keys, config, span);
        const Slice values = used_slots(span.values, config, span);
        const uint32_t num_vectors = span.num_rows * heads_per_group(config);
        if (is_prefilled(span.num_rows)) {
            encoder.launch({"attention_prefill", "attention_prefill"}, arguments,
                           {{1, queries},
                            {2, keys},
                            {3, values},
                            {4, buffers.sinks},
                            {5, rows_of(buffers.output, config, first_row, span.num_rows)}},
                           {{ceil_divide(num_vectors, kAttentionPrefillVectors), config.num_kv_heads},
                            {kAttentionPrefillThreads}});
            continue;
        }
        const DecodeForm form = decode_form(num_vectors);
        const uint32_t num_splits = num_attention_splits(config, span, num_decoded);
        const size_t own_sums = size_t{span.num_rows} * config.num_heads * num_splits;
        constexpr size_t kValueBytes = kHeadDim * sizeof(float);
        constexpr size_t kSumBytes = 2 * sizeof(float);
        const Splits& splits = decoded.emplace_back(
            Splits{.first_row = first_row,
                   .num_rows = span.num_rows,
                   .num_splits = num_splits,
                   .values = workspace.split_values.part(num_sums * kValueBytes, own_sums * kValueBytes),
                   .sums = workspace.split_sums.part(num_sums * kSumBytes, own_sums * kSumBytes)});
        num_sums += own_sums;
        encoder.launch({"attention_decode", form.kernel}, arguments,
                       {{1, queries}, {2, keys}, {3, values}, {4, splits.values}, {5, splits.sums}},
                       {{num_splits, config.num_kv_heads, ceil_divide(num_vectors, form.vectors)},
                        {form.vectors * kAttentionThreadsPerVector}});
    }
    if (decoded.empty()) {
        return;
    }

    encoder.barrier();
    for (const Splits& splits : decoded) {
        const AttentionCombineArguments arguments = {config.num_heads, splits.num_splits};
        encoder.launch({"attention_decode", "attention_combine"}, arguments,
                       {{1, splits.values},
                        {2, splits.sums},
                        {3, buffers.sinks},
                        {4, rows_of(buffers.output, config, splits.first_row, splits.num_rows)}},
                       {{config.num_heads, splits.num_rows}, {kAttentionCombineThreads}});
    }
}

} // namespace gptoss::metal
