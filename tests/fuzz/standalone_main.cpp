// Drives a fuzz target without libFuzzer: deterministic mutations of the seed inputs, for compilers other than Clang.
//
//     model_file_fuzzer_standalone [-runs=N]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>

#include "fuzz_input.h"

namespace {

constexpr size_t kMaxInputSize = 16384; // a table of tensors takes 8 KB
std::mt19937 random_bits(1);

} // namespace

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size) {
    const size_t num_changes = 1 + random_bits() % 4;
    for (size_t i = 0; i < num_changes; i++) {
        const size_t at = size == 0 ? 0 : random_bits() % size;
        const size_t length = std::min<size_t>(1 + random_bits() % 16, size - at);
        switch (random_bits() % 5) {
            case 0: // flip a bit
                if (size != 0) {
                    data[at] ^= static_cast<uint8_t>(1u << random_bits() % 8);
                }
                break;
            case 1: // overwrite bytes
                std::generate(data + at, data + at + length, [] { return static_cast<uint8_t>(random_bits()); });
                break;
            case 2: // remove bytes
                std::memmove(data + at, data + at + length, size - at - length);
                size -= length;
                break;
            case 3: // repeat bytes
                if (size + length <= max_size) {
                    std::memmove(data + at + length, data + at, size - at);
                    size += length;
                }
                break;
            default: // cut the end
                size = random_bits() % 16 == 0 ? at : size;
        }
    }
    return size;
}

int main(int num_arguments, char** arguments) {
    long num_runs = 20000;
    if (num_arguments == 2 && std::strncmp(arguments[1], "-runs=", 6) == 0) {
        num_runs = std::atol(arguments[1] + 6);
    } else if (num_arguments != 1) {
        std::fprintf(stderr, "usage: %s [-runs=N]\n", arguments[0]);
        return 2;
    }
    std::vector<std::vector<uint8_t>> corpus = fuzz::seed_inputs();
    const size_t num_seeds = corpus.size();
    std::vector<uint8_t> input;
    for (long run = 0; run < num_runs; run++) {
        const std::vector<uint8_t>& parent = corpus[random_bits() % corpus.size()];
        input.assign(kMaxInputSize, 0);
        std::copy(parent.begin(), parent.end(), input.begin());
        input.resize(LLVMFuzzerCustomMutator(input.data(), parent.size(), kMaxInputSize, random_bits()));
        LLVMFuzzerTestOneInput(input.data(), input.size());
        // Mutations of mutations go further: the last few hundred stay, and the seeds.
        if (corpus.size() < num_seeds + 256) {
            corpus.push_back(input);
        } else {
            corpus[num_seeds + random_bits() % 256] = input;
        }
    }
    std::printf("%ld runs without a crash\n", num_runs);
    return 0;
}
