// How the attention kernels divide their work: what the kernels are written for and the launcher must dispatch.
#pragma once

namespace gptoss_metal {

// A vector is one query head in one row; a threadgroup's vectors share a key/value head (why: attention_tile.h).
enum AttentionGeometry {
    kAttentionKeysPerTile = 32,
    kAttentionThreadsPerVector = 4, // decode: attention_decode_8, _32 and _64 are for so many vectors
    kAttentionDecodeMaxThreads = 256,
    kAttentionCombineThreads = 128,
    kAttentionPrefillVectors = 64,
    kAttentionPrefillThreads = 128,
};

} // namespace gptoss_metal
