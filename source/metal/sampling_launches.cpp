#include "sampling_launches.h"

#include <algorithm>

#include "../../metal/arguments.h"

namespace gptoss::metal {

namespace {

using namespace gptoss_metal;

constexpr uint32_t kLanes = 32; // of a simdgroup; also tokens of a group

// Survey and gathering go over the whole vocabulary: 98 threadgroups at V = 201,088 keep 8 to 40 cores busy.
constexpr uint32_t kWideThreads = 256;
constexpr uint32_t kGroupsOfSimdgroup = 8;

// The others are one threadgroup, which goes over the groups: as large as the GPU allows, and as there is work for.
constexpr uint32_t kMaxNarrowThreads = 1024;

constexpr uint32_t ceil_divide(uint32_t value, uint32_t divisor) {
    return (value + divisor - 1) / divisor;
}

Grid wide_grid(uint32_t num_groups) {
    return {{ceil_divide(num_groups, kWideThreads / kLanes * kGroupsOfSimdgroup)}, {kWideThreads}};
}

Grid narrow_grid(Encoder& encoder, const KernelName& kernel, uint32_t num_groups) {
    const uint32_t wanted = std::min(ceil_divide(num_groups, kLanes) * kLanes, kMaxNarrowThreads);
    return {{1}, {std::min(wanted, encoder.max_threads(kernel) / kLanes * kLanes)}};
}

} // namespace

void launch_sampling(Encoder& encoder, const SamplingShape& shape, const SamplingBuffers& buffers) {
    const uint32_t num_groups = ceil_divide(shape.vocabulary_size, kLanes);
    const SamplingArguments arguments = {
        .vocabulary_size = shape.vocabulary_size,
        .max_stop_tokens = static_cast<uint32_t>(buffers.stop_tokens.size / sizeof(uint32_t)),
        .max_top_tokens = 0,
    };
    // There is no mask of allowed tokens here. Its place needs a buffer all the same, which no option makes it read.
    const Slice& allowed = buffers.biased;

    encoder.launch({"sample_survey", "sample_survey"}, arguments,
                   {{1, buffers.options},
                    {2, buffers.state},
                    {3, buffers.logits},
                    {4, allowed},
                    {5, buffers.biased},
                    {6, buffers.biases},
                    {7, buffers.seen},
                    {8, buffers.generated},
                    {9, buffers.counts},
                    {10, buffers.groups},
                    {11, buffers.model_groups}},
                   wide_grid(num_groups));
    encoder.barrier();
    if (shape.filters) {
        const KernelName cut = {"sample_cut", "sample_cut"};
        encoder.launch(cut, arguments,
                       {{1, buffers.options},
                        {2, buffers.state},
                        {10, buffers.groups},
                        {12, buffers.cut},
                        {13, buffers.num_candidates}},
                       narrow_grid(encoder, cut, num_groups));
        encoder.barrier();
        encoder.launch({"sample_gather", "sample_gather"}, arguments,
                       {{1, buffers.options},
                        {2, buffers.state},
                        {3, buffers.logits},
                        {4, allowed},
                        {5, buffers.biased},
                        {6, buffers.biases},
                        {7, buffers.seen},
                        {8, buffers.generated},
                        {9, buffers.counts},
                        {10, buffers.groups},
                        {12, buffers.cut},
                        {13, buffers.num_candidates},
                        {14, buffers.candidates}},
                       wide_grid(num_groups));
        encoder.barrier();
    }
    const KernelName draw = {"sample_draw", "sample_draw"};
    encoder.launch(draw, arguments,
                   {{1, buffers.options},
                    {2, buffers.state},
                    {3, buffers.logits},
                    {4, allowed},
                    {5, buffers.biased},
                    {6, buffers.biases},
                    {7, buffers.seen},
                    {8, buffers.generated},
                    {9, buffers.counts},
                    {10, buffers.groups},
                    {11, buffers.model_groups},
                    {13, buffers.num_candidates},
                    {14, buffers.candidates},
                    {15, buffers.stop_tokens},
                    {16, buffers.next_token},
                    {17, buffers.result}},
                   narrow_grid(encoder, draw, num_groups));
}

} // namespace gptoss::metal
