#include "mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "errors.h"

namespace gptoss {

namespace {

class FileDescriptor {
public:
    explicit FileDescriptor(int descriptor) : descriptor_(descriptor) {}
    ~FileDescriptor() {
        if (descriptor_ >= 0) {
            ::close(descriptor_);
        }
    }
    FileDescriptor(const FileDescriptor&) = delete;
    FileDescriptor& operator=(const FileDescriptor&) = delete;
    int get() const { return descriptor_; }

private:
    int descriptor_;
};

} // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path) {
    // O_NONBLOCK: opening a FIFO must not wait for its writer.
    const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (file.get() < 0) {
        const int error = errno;
        fail(error == ENOENT || error == ENOTDIR ? gptoss_status_file_not_found : gptoss_status_io_error,
             "The model file '", path, "' cannot be opened: ", std::strerror(error), ".");
    }
    struct stat status = {};
    if (::fstat(file.get(), &status) != 0) {
        fail(gptoss_status_io_error, "The size of '", path, "' cannot be read: ", std::strerror(errno), ".");
    }
    if (S_ISDIR(status.st_mode)) {
        fail(gptoss_status_invalid_model_file, "'", path,
             "' is a directory: expected a model.bin file. Convert a checkpoint directory with 'gptoss convert'.");
    }
    if (!S_ISREG(status.st_mode)) {
        fail(gptoss_status_invalid_model_file, "'", path, "' is not a regular file: expected a model.bin file.");
    }
    if (status.st_size == 0) {
        fail(gptoss_status_invalid_model_file, "'", path,
             "' is empty: at offset 0, expected a header of 16384 bytes or more, found the end of the file.");
    }
    if (static_cast<uintmax_t>(status.st_size) > SIZE_MAX) {
        fail(gptoss_status_io_error, "'", path, "' is too large for the address space of this machine.");
    }
    const size_t size = static_cast<size_t>(status.st_size);
    void* const address = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
    if (address == MAP_FAILED) {
        fail(gptoss_status_io_error, "'", path, "' (", size, " bytes) cannot be mapped: ", std::strerror(errno), ".");
    }
#if defined(MADV_HUGEPAGE)
    // What is read from the disk from here on comes in pages of 2 MB, whatever the disk's read-ahead, where kernel and
    // file system have such; weights are then read up to a fifth faster (docs/performance.md). No is an answer: the
    // call fails on kernels without, and does nothing for what the page cache holds already.
    ::madvise(address, size, MADV_HUGEPAGE);
#endif
    return std::shared_ptr<const MappedFile>(new MappedFile(path, static_cast<const std::byte*>(address), size));
}

MappedFile::~MappedFile() {
    ::munmap(const_cast<std::byte*>(address_), size_);
}

} // namespace gptoss
