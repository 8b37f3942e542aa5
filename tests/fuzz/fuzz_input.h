// What a fuzzer mutates instead of a whole model file: its first bytes and how it goes on.
//
//   0  u32  how many bytes follow the header bytes in the file
//   4  u32  what they are: 0 for zeros, anything else for one of three sequences of random bytes
//   8       the header bytes
//
// A valid file is at least 50 KB long, nearly all of it weights whose values the loader never looks at.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace fuzz {

inline constexpr size_t kPrefixSize = 8;
inline constexpr size_t kMaxFileSize = size_t{1} << 18;

// The file that an input stands for; empty if the input is shorter than its prefix.
std::vector<std::byte> file_of(std::span<const uint8_t> input);

// The input of a file with these header bytes.
std::vector<uint8_t> input_of(std::span<const std::byte> header, uint32_t num_following, uint32_t seed);

// Small valid inputs, of several shapes.
std::vector<std::vector<uint8_t>> seed_inputs();

} // namespace fuzz

// libFuzzer's, or the one in standalone_main.cpp.
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
