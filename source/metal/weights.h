// The model file as the GPU sees it: the mapped file itself, in as few buffers as the device's largest one allows.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "../mapped_file.h"
#include "../model_file.h"
#include "device.h"

namespace gptoss::metal {

// Bytes of the file that kernels bind as one: a tensor, or all experts of a block.
struct FileRegion {
    uint64_t offset;
    uint64_t num_bytes;
};

// The regions of a model file, in the order of the file.
std::vector<FileRegion> weight_regions(const ModelFile& file);

// A stretch of the file that is mapped as one buffer.
struct WeightWindow {
    uint64_t begin; // a multiple of the page size
    uint64_t end;
};

// Windows of at most max_buffer_bytes, counted in whole pages, such that every region lies within one of them. They
// ascend; neighbours may share pages. Fails with insufficient_resources if a region is longer than a window may be.
std::vector<WeightWindow> weight_windows(const std::vector<FileRegion>& regions,
                                         uint64_t page_bytes,
                                         uint64_t max_buffer_bytes);

// Nothing is copied: the buffers are the file's pages, which the mapping keeps.
class Weights {
public:
    Weights(Device& device, std::shared_ptr<const MappedFile> mapping, const ModelFile& file);

    // A region of the file, or a part of one.
    Slice at(uint64_t offset, uint64_t num_bytes) const;
    Slice at(const TensorPlace& place) const { return at(place.offset, place.num_bytes); }

private:
    std::shared_ptr<const MappedFile> mapping_;
    std::vector<WeightWindow> windows_;
    std::vector<std::unique_ptr<Buffer>> buffers_; // [windows]
};

} // namespace gptoss::metal
