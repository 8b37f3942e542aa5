// Whatever the loader accepts must run: hostile hyperparameters and weights may give nonsense or an error, never a
// crash. The file goes through the whole C API.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "fuzz_input.h"
#include "gptoss.h"

namespace {

// A file in memory that has a path.
class MemoryFile {
public:
    explicit MemoryFile(const std::vector<std::byte>& bytes) : descriptor_(memfd_create("model", MFD_CLOEXEC)) {
        if (descriptor_ < 0 || write(descriptor_, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
            std::perror("memfd_create or write");
            std::exit(1);
        }
    }
    ~MemoryFile() { close(descriptor_); }
    MemoryFile(const MemoryFile&) = delete;
    MemoryFile& operator=(const MemoryFile&) = delete;
    std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

private:
    int descriptor_;
};

void run(gptoss_model_t model) {
    uint32_t num_tokens = 0;
    gptoss_tokenizer_t tokenizer = nullptr;
    if (gptoss_model_get_tokenizer(model, &tokenizer) == gptoss_status_success) {
        gptoss_tokenizer_get_num_tokens(tokenizer, &num_tokens);
        for (uint32_t token = 0; token < num_tokens && token < 64; token++) {
            const void* bytes = nullptr;
            size_t num_bytes = 0;
            gptoss_tokenizer_decode(tokenizer, token, &bytes, &num_bytes);
        }
        gptoss_tokenizer_release(tokenizer);
    }
    gptoss_context_t context = nullptr;
    if (gptoss_context_create(model, 0, 3, &context) == gptoss_status_success) {
        const uint32_t prompt[] = {0, num_tokens - 1, num_tokens / 2, 0, 0};
        gptoss_context_append_tokens(context, std::size(prompt), prompt);
        uint32_t sampled[3];
        size_t num_sampled = 0;
        gptoss_context_sample(context, 1.0f, 1, std::size(sampled), sampled, &num_sampled);
        gptoss_context_truncate(context, 2);
        gptoss_context_sample(context, 0.0f, 1, 1, sampled, &num_sampled);
        gptoss_context_release(context);
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::vector<std::byte> bytes = fuzz::file_of({data, size});
    const MemoryFile file(bytes);
    gptoss_model_options options = {};
    options.size = sizeof(options);
    options.num_threads = 1;
    gptoss_model_t model = nullptr;
    const gptoss_status status = gptoss_model_create(file.path().c_str(), &options, &model);
    if (status == gptoss_status_success) {
        run(model);
        gptoss_model_release(model);
    } else if (status != gptoss_status_invalid_model_file) {
        std::fprintf(stderr, "%s: %s\n", gptoss_status_name(status), gptoss_last_error());
        std::abort();
    }
    return 0;
}
