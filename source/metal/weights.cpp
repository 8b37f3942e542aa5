#include "weights.h"

#include <unistd.h>

#include <algorithm>
#include <string>

#include "../errors.h"

namespace gptoss::metal {

std::vector<FileRegion> weight_regions(const ModelFile& file) {
    std::vector<FileRegion> regions;
    const auto add = [&regions](const TensorPlace& place) { regions.push_back({place.offset, place.num_bytes}); };
    const auto add_dense = [&add](const DensePlace& place) {
        add(place.weight);
        if (place.is_q8()) {
            add(place.scales);
        }
    };
    add_dense(file.embedding());
    for (size_t index = 0; index < file.config().num_blocks; index++) {
        const BlockPlaces& block = file.block(index);
        add(block.attention_norm);
        add_dense(block.qkv_weight);
        add(block.qkv_bias);
        add(block.attention_sinks);
        add_dense(block.output_weight);
        add(block.output_bias);
        add(block.mlp_norm);
        add(block.router_weight);
        add(block.router_bias);
    }
    add(file.final_norm());
    add_dense(file.unembedding());
    const ExpertPlaces& expert = file.expert();
    for (size_t index = 0; index < file.config().num_blocks; index++) {
        regions.push_back({file.block(index).experts_offset,
                           expert.stride * (file.config().num_experts - uint64_t{1}) + expert.num_bytes});
    }
    // A table of tensors may have another order than version 1.0.
    std::ranges::sort(regions, {}, &FileRegion::offset);
    return regions;
}

std::vector<WeightWindow> weight_windows(const std::vector<FileRegion>& regions,
                                         uint64_t page_bytes,
                                         uint64_t max_buffer_bytes) {
    const auto whole_pages = [page_bytes](uint64_t num_bytes) {
        return (num_bytes + page_bytes - 1) / page_bytes * page_bytes;
    };
    std::vector<WeightWindow> windows;
    for (const FileRegion& region : regions) {
        const uint64_t end = region.offset + region.num_bytes;
        if (!windows.empty() && whole_pages(end - windows.back().begin) <= max_buffer_bytes) {
            windows.back().end = end;
            continue;
        }
        const uint64_t begin = region.offset / page_bytes * page_bytes;
        if (whole_pages(end - begin) > max_buffer_bytes) {
            fail(gptoss_status_insufficient_resources, "The model's ", region.num_bytes, " bytes of weights at offset ",
                 region.offset, " of its file have to be in one buffer of the GPU, which takes ",
                 whole_pages(end - begin), " bytes in whole pages, and this GPU's largest buffer has ",
                 max_buffer_bytes, ": use the backend 'cpu', or a smaller model file.");
        }
        windows.push_back({begin, end});
    }
    return windows;
}

Weights::Weights(Device& device, std::shared_ptr<const MappedFile> mapping, const ModelFile& file)
    : mapping_(std::move(mapping)),
      windows_(weight_windows(
          weight_regions(file), static_cast<uint64_t>(sysconf(_SC_PAGESIZE)), device.info().max_buffer_bytes)) {
    for (const WeightWindow& window : windows_) {
        const std::string label =
            "weights, bytes " + std::to_string(window.begin) + " to " + std::to_string(window.end);
        buffers_.push_back(
            device.map_buffer(mapping_->bytes().subspan(window.begin, window.end - window.begin), label));
    }
}

Slice Weights::at(uint64_t offset, uint64_t num_bytes) const {
    // The last window that begins at or before the region; if the region is not within that, it is in the one before.
    for (size_t i = windows_.size(); i-- > 0;) {
        if (windows_[i].begin <= offset && num_bytes <= windows_[i].end - windows_[i].begin &&
            offset - windows_[i].begin <= windows_[i].end - windows_[i].begin - num_bytes) {
            return {buffers_[i].get(), offset - windows_[i].begin, num_bytes};
        }
    }
    fail(gptoss_status_internal_error, "Bytes ", offset, " to ", offset + num_bytes,
         " of the model file are not mapped for the GPU as one. This is a defect of gptoss: please report it.");
}

} // namespace gptoss::metal
