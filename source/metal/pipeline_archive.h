// Where the compiled kernels of a GPU are kept between processes.
//
// A cache: whatever goes wrong with the file costs time and nothing else, so nothing here reports an error.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <utility>

#include "kernel_source.h"

namespace gptoss::metal {

// A file in `cache_folder` whose name depends on everything that its contents depend on: the device, the operating
// system's build, this version of gptoss and the kernels.
std::string pipeline_archive_path(const std::string& cache_folder,
                                  const std::string& device,
                                  const std::string& system_build,
                                  std::span<const KernelSource> kernels);

// When that file is written, and how. Used by one thread at a time.
class PipelineArchiveFile {
public:
    explicit PipelineArchiveFile(std::string path) : path_(std::move(path)) {}

    // Something has been added that the file does not have.
    void mark_changed() { is_changed_ = is_changing_ = true; }

    // Replaces the file by what `write` writes to the path that it is given, at once: other processes see the old file
    // or the new one. Does nothing if nothing has changed, or if something has since the last call, unless `at_once`:
    // where pipelines are made, more will follow. If `write` returns false, the file stays as it is.
    void save_if_due(bool at_once, const std::function<bool(const std::string& draft)>& write);

private:
    std::string path_;
    bool is_changed_ = false;  // since the file was written
    bool is_changing_ = false; // since save_if_due() was last called
};

} // namespace gptoss::metal
