// The loader on arbitrary bytes: it must reject them with a sentence or describe only what is inside them.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "errors.h"
#include "fuzz_input.h"
#include "model_file.h"

namespace {

void require(bool condition, const char* what) {
    if (!condition) {
        std::fprintf(stderr, "the loader accepted a file where %s\n", what);
        std::abort();
    }
}

void check_inside(const gptoss_tensor& tensor, uint64_t file_size) {
    require(tensor.offset <= file_size && tensor.num_bytes <= file_size - tensor.offset,
            "a tensor is outside the file");
    require(tensor.offset % 2 == 0, "a tensor of 16-bit numbers may be misaligned");
    uint64_t num_elements = 1;
    for (uint32_t dim = 0; dim < tensor.num_dims; dim++) {
        num_elements *= tensor.shape[dim];
    }
    const bool is_wide = tensor.data_type == gptoss_data_type_bf16 || tensor.data_type == gptoss_data_type_q8_scales;
    require(tensor.num_bytes == num_elements * (is_wide ? 2 : 1), "a tensor's shape and size disagree");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    // A heap block of the file's very size, so that a read past its end is caught.
    const std::vector<std::byte> file = fuzz::file_of({data, size});
    try {
        const gptoss::ModelFile model = gptoss::ModelFile::parse(file, "input");
        for (size_t i = 0; i < model.tensors().size(); i++) {
            check_inside(model.tensors()[i], file.size());
        }
        const gptoss::TokenizerPlaces& tokenizer = model.tokenizer();
        require(tokenizer.token_offsets.size() == tokenizer.num_text_tokens, "tokens are missing");
        require(tokenizer.special_tokens.size() == tokenizer.num_special_tokens, "special tokens are missing");
        for (const uint64_t offset : tokenizer.token_offsets) {
            uint16_t length = 0;
            require(offset + sizeof(length) <= file.size(), "a token is outside the file");
            std::memcpy(&length, file.data() + offset, sizeof(length));
            require(offset + sizeof(length) + length <= file.size(), "a token is outside the file");
        }
    } catch (const gptoss::Error& error) {
        require(error.status() == gptoss_status_invalid_model_file, "the failure is not invalid_model_file");
        require(std::strstr(error.what(), "at offset ") != nullptr, "the sentence names no offset");
    }
    return 0;
}
