// A file mapped read-only into memory.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace gptoss {

class MappedFile {
public:
    // Fails with file_not_found, or io_error where the operating system says no, or invalid_model_file where there is
    // nothing to map (a directory, a device, an empty file).
    static std::shared_ptr<const MappedFile> open(const std::string& path);

    ~MappedFile();
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;

    const std::string& path() const { return path_; }
    std::span<const std::byte> bytes() const { return {address_, size_}; }

private:
    MappedFile(std::string path, const std::byte* address, size_t size)
        : path_(std::move(path)), address_(address), size_(size) {}

    std::string path_;
    const std::byte* address_;
    size_t size_;
};

} // namespace gptoss
