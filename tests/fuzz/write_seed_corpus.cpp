// Writes the seed inputs as files, for libFuzzer:  write_seed_corpus DIRECTORY
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "fuzz_input.h"

int main(int num_arguments, char** arguments) {
    if (num_arguments != 2) {
        std::fprintf(stderr, "usage: %s DIRECTORY\n", arguments[0]);
        return 2;
    }
    const std::filesystem::path directory = arguments[1];
    std::filesystem::create_directories(directory);
    int index = 0;
    for (const std::vector<uint8_t>& input : fuzz::seed_inputs()) {
        std::ofstream file(directory / ("seed-" + std::to_string(index++)), std::ios::binary);
        file.write(reinterpret_cast<const char*>(input.data()), static_cast<std::streamsize>(input.size()));
        if (!file) {
            std::fprintf(stderr, "could not write the seeds to %s\n", directory.c_str());
            return 1;
        }
    }
    return 0;
}
