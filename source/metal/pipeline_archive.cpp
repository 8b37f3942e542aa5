#include "pipeline_archive.h"

#include <unistd.h>

#include <atomic>
#include <cinttypes>
#include <cstdio>
#include <filesystem>
#include <string_view>
#include <system_error>

namespace gptoss::metal {

namespace {

// FNV-1a: the same in every process. Names need no more than to differ.
class Hash {
public:
    void add(std::string_view bytes) {
        for (const char byte : bytes) {
            value_ = (value_ ^ uint8_t(byte)) * 0x100000001B3u;
        }
        value_ = (value_ ^ 0x100u) * 0x100000001B3u; // no byte: where one text ends and the next begins
    }
    uint64_t value() const { return value_; }

private:
    uint64_t value_ = 0xCBF29CE484222325u;
};

} // namespace

std::string pipeline_archive_path(const std::string& cache_folder,
                                  const std::string& device,
                                  const std::string& system_build,
                                  std::span<const KernelSource> kernels) {
    Hash hash;
    hash.add(device);
    hash.add(system_build);
    hash.add(GPTOSS_VERSION);
    for (const KernelSource& kernel : kernels) {
        hash.add(kernel.file);
        hash.add(kernel.source != nullptr ? kernel.source : "");
        hash.add({reinterpret_cast<const char*>(kernel.metallib.data()), kernel.metallib.size()});
        hash.add(kernel.fast_math ? "fast" : "exact");
    }
    char name[64];
    std::snprintf(name, sizeof(name), "/gptoss/pipelines-%016" PRIx64 ".metalarchive", hash.value());
    return cache_folder + name;
}

void PipelineArchiveFile::save_if_due(bool at_once, const std::function<bool(const std::string& draft)>& write) {
    const bool more_may_follow = std::exchange(is_changing_, false) && !at_once;
    if (!is_changed_ || more_may_follow) {
        return;
    }
    is_changed_ = false;
    static std::atomic<uint32_t> num_drafts = 0;
    const std::string draft = path_ + "." + std::to_string(getpid()) + "." + std::to_string(num_drafts++);
    std::error_code ignored;
    std::filesystem::create_directories(std::filesystem::path(path_).parent_path(), ignored);
    if (write(draft)) {
        std::filesystem::rename(draft, path_, ignored);
    }
    std::filesystem::remove(draft, ignored);
}

} // namespace gptoss::metal
