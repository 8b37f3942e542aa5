#include "attention.h"

#include <algorithm>

#include "buffers.h"
#include "number_formats.h"

namespace gptoss::cpu {

namespace {

// Rows that go through a tile of keys together: 32 make up for unpacking it, and what they need, 280 KB, still fits a
// second-level cache.
constexpr size_t kMaxRowsPerTile = 32;

// So many tasks for each thread that none waits long for the last one.
constexpr size_t kTasksPerThread = 4;

// Ranges' results that are kept until they are merged: 4 MB.
constexpr size_t kMaxSplitFloats = size_t{1} << 20;

size_t scratch_floats(const ModelConfig& config) {
    return attention_scratch_floats(kMaxRowsPerTile, config.num_heads / config.num_kv_heads);
}

} // namespace

Attention::Attention(const ModelConfig& config, const Kernels& kernels, ThreadPool& pool)
    : config_(config),
      kernels_(kernels),
      pool_(pool),
      rotary_embedding_(config),
      group_(config.num_heads / config.num_kv_heads),
      attention_dim_(size_t{config.num_heads} * kHeadDim),
      qkv_dim_(attention_dim_ + 2 * size_t{config.num_kv_heads} * kHeadDim),
      sinks_(config.num_heads),
      scratch_stride_(scratch_floats(config)),
      scratch_(pool.num_threads() * scratch_stride_) {}

size_t Attention::workspace_bytes() const {
    return (scratch_.capacity() + results_.capacity()) * sizeof(float) + rotations_.capacity() * sizeof(Rotation);
}

size_t Attention::workspace_bytes_for(const ModelConfig& config, size_t num_threads, size_t num_rows) {
    return num_threads * scratch_floats(config) * sizeof(float) + num_rows * sizeof(Rotation);
}

void Attention::begin(const Batch& batch) {
    num_rows_ = batch.tokens.size();
    // As many rows in a tile as leave every thread enough of them.
    const size_t num_head_rows = num_rows_ * config_.num_kv_heads;
    const size_t rows_per_tile =
        std::clamp(num_head_rows / (kTasksPerThread * pool_.num_threads()), size_t{1}, kMaxRowsPerTile);
    blocks_.clear();
    tiles_.clear();
    size_t first_row = 0;
    for (const Span& span : batch.spans) {
        for (size_t i = 0; i < span.num_tokens;) {
            const size_t position = span.first_position + i;
            const size_t count = std::min(span.num_tokens - i, kKeyBlock - position % kKeyBlock);
            blocks_.push_back({span.storage, first_row + i, position, count});
            i += count;
        }
        for (size_t i = 0; i < span.num_tokens; i += rows_per_tile) {
            tiles_.push_back(
                {span.storage, first_row + i, span.first_position + i, std::min(span.num_tokens - i, rows_per_tile)});
        }
        first_row += span.num_tokens;
    }

    fit(rotations_, num_rows_);
    pool_.run(blocks_.size(), kKeyBlock * kHeadDim, [&](size_t index, uint32_t) {
        for (size_t i = 0; i < blocks_[index].num_rows; i++) {
            rotations_[blocks_[index].first_row + i] = rotary_embedding_.rotation(blocks_[index].first_position + i);
        }
    });
}

void Attention::rotate_and_cache(size_t block, float* qkv) {
    const size_t num_kv_heads = config_.num_kv_heads;
    const size_t operations_per_task = num_rows_ * qkv_dim_ / (blocks_.size() * num_kv_heads);
    pool_.run(blocks_.size() * num_kv_heads, operations_per_task, [&](size_t task, uint32_t) {
        const Rows& rows = blocks_[task / num_kv_heads];
        const size_t kv_head = task % num_kv_heads;
        const KvHead cache = static_cast<CpuKvStorage&>(*rows.storage).head(block, kv_head);
        float* const row = qkv + rows.first_row * qkv_dim_;
        const float* const key = row + attention_dim_ + kv_head * kHeadDim;
        kernels_.rotate_and_cache({.queries = row + kv_head * group_ * kHeadDim,
                                   .key = key,
                                   .value = key + num_kv_heads * kHeadDim,
                                   .rotations = rotations_[rows.first_row].cosines,
                                   .row_stride = qkv_dim_,
                                   .num_heads = group_,
                                   .num_rows = rows.num_rows,
                                   .keys = cache.keys,
                                   .values = cache.values,
                                   .slot = rows.first_position % cache.capacity});
    });
}

void Attention::keep_rows(const std::vector<uint32_t>& kept) {
    std::vector<Rows> tiles;
    auto tile = tiles_.begin();
    for (size_t i = 0; i < kept.size(); i++) {
        while (kept[i] >= tile->first_row + tile->num_rows) {
            ++tile;
        }
        const size_t row = kept[i] - tile->first_row;
        if (row > 0 && i > 0 && kept[i - 1] + 1 == kept[i]) {
            tiles.back().num_rows++;
        } else {
            tiles.push_back({tile->storage, i, tile->first_position + row, 1});
        }
    }
    tiles_ = std::move(tiles);
    num_rows_ = kept.size();
}

AttentionArguments Attention::arguments(size_t block, const Rows& rows, size_t kv_head, uint32_t thread) {
    const KvHead cache = static_cast<CpuKvStorage&>(*rows.storage).head(block, kv_head);
    const size_t first_head = kv_head * group_;
    return {.queries = qkv_ + rows.first_row * qkv_dim_ + first_head * kHeadDim,
            .query_stride = qkv_dim_,
            .keys = cache.keys,
            .values = cache.values,
            .capacity = cache.capacity,
            .sinks = sinks_.data() + first_head,
            .num_heads = group_,
            .num_rows = rows.num_rows,
            .first_position = rows.first_position,
            .window = is_sliding_block(block) ? config_.attention_window : SIZE_MAX,
            .output = output_ + rows.first_row * attention_dim_ + first_head * kHeadDim,
            .output_stride = attention_dim_,
            .scratch = scratch_.data() + thread * scratch_stride_};
}

void Attention::attend(size_t block, const uint16_t* sinks, const float* qkv, float* output) {
    for (size_t head = 0; head < config_.num_heads; head++) {
        sinks_[head] = bf16_to_float(sinks[head]);
    }
    qkv_ = qkv;
    output_ = output;

    const bool is_sliding = is_sliding_block(block);
    const size_t window = is_sliding ? config_.attention_window : SIZE_MAX;
    size_t num_keys = 0;
    size_t num_ranges = 0;
    for (const Rows& tile : tiles_) {
        const size_t end = tile.first_position + tile.num_rows;
        num_keys += tile.num_rows * std::min(end, window);
        num_ranges = std::max(num_ranges, (end - 1) / kKeyRange + 1);
    }
    const size_t num_tasks = tiles_.size() * config_.num_kv_heads;
    const size_t num_split_floats = num_ranges * num_rows_ * config_.num_kv_heads * attention_result_floats(group_);
    // A few rows in a long context are cut by ranges of keys: their tasks would be few, and long.
    if (!is_sliding && num_ranges > 1 && num_tasks < 4 * kTasksPerThread * pool_.num_threads() &&
        num_split_floats <= kMaxSplitFloats) {
        attend_in_ranges(block, num_ranges);
    } else {
        attend_whole(block, num_keys * group_ * 2 * kHeadDim / tiles_.size());
    }
}

void Attention::attend_whole(size_t block, size_t operations_per_task) {
    // Tiles of one key/value head are neighbouring tasks: they read the same keys.
    pool_.run(config_.num_kv_heads * tiles_.size(), operations_per_task, [&](size_t task, uint32_t thread) {
        kernels_.attention(arguments(block, tiles_[task % tiles_.size()], task / tiles_.size(), thread));
    });
}

void Attention::attend_in_ranges(size_t block, size_t num_ranges) {
    const size_t num_kv_heads = config_.num_kv_heads;
    const size_t result_floats = attention_result_floats(group_);
    const auto ranges_of = [](const Rows& tile) { return (tile.first_position + tile.num_rows - 1) / kKeyRange + 1; };
    // Where the results of a tile's key/value head begin, for a range of each row.
    const auto results_of = [&](const Rows& tile, size_t kv_head) {
        return results_.data() + (tile.first_row * num_kv_heads + kv_head * tile.num_rows) * num_ranges * result_floats;
    };
    fit(results_, std::max(results_.size(), num_rows_ * num_kv_heads * num_ranges * result_floats));

    const size_t num_tile_tasks = num_kv_heads * num_ranges;
    pool_.run(tiles_.size() * num_tile_tasks, [&](size_t task, uint32_t thread) {
        const Rows& tile = tiles_[task / num_tile_tasks];
        const size_t kv_head = task % num_tile_tasks / num_ranges;
        const size_t range = task % num_ranges;
        if (range < ranges_of(tile)) {
            kernels_.attention_range(arguments(block, tile, kv_head, thread), range,
                                     results_of(tile, kv_head) + range * tile.num_rows * result_floats);
        }
    });
    pool_.run(tiles_.size() * num_kv_heads, num_ranges * result_floats, [&](size_t task, uint32_t thread) {
        const Rows& tile = tiles_[task / num_kv_heads];
        const size_t kv_head = task % num_kv_heads;
        kernels_.attention_merge(arguments(block, tile, kv_head, thread), results_of(tile, kv_head), ranges_of(tile));
    });
}

} // namespace gptoss::cpu
