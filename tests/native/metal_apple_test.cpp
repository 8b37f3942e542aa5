// The plain C++ beside device.mm: where compiled kernels are kept, and what the errors say.
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "check.h"
#include "metal/device_errors.h"
#include "metal/pipeline_archive.h"

namespace files = std::filesystem;
using gptoss::metal::DeviceInfo;
using gptoss::metal::KernelSource;
using gptoss::metal::pipeline_archive_path;
using gptoss::metal::PipelineArchiveFile;

namespace {

class TemporaryFolder {
public:
    TemporaryFolder() {
        char name[] = "/tmp/gptoss-archive-XXXXXX";
        path_ = mkdtemp(name);
    }
    ~TemporaryFolder() { files::remove_all(path_); }
    files::path operator/(const char* name) const { return path_ / name; }
    size_t num_files() const {
        return size_t(std::distance(files::recursive_directory_iterator(path_), files::recursive_directory_iterator()));
    }

private:
    files::path path_;
};

bool write_text(const std::string& path, const std::string& text) {
    return bool(std::ofstream(path) << text);
}

std::string read_text(const files::path& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

DeviceInfo small_mac() {
    DeviceInfo info;
    info.name = "Apple M2";
    info.operating_system = "macOS 14.5";
    info.physical_bytes = uint64_t{16} << 30;
    info.recommended_bytes = uint64_t{10} << 30;
    info.max_buffer_bytes = uint64_t{8} << 30;
    return info;
}

} // namespace

TEST(an_archive_is_named_by_all_that_it_depends_on) {
    const KernelSource norm = {"norm", "kernel void norm() {}", {}, true};
    const KernelSource other_text = {"norm", "kernel void norm() { }", {}, true};
    const KernelSource exact = {"norm", "kernel void norm() {}", {}, false};
    const std::byte compiled[] = {std::byte{1}, std::byte{2}};
    const KernelSource library = {"norm", nullptr, compiled, true};
    const std::vector<std::string> paths = {
        pipeline_archive_path("/caches", "Apple M1", "14.5 (23F79)", {&norm, 1}),
        pipeline_archive_path("/caches", "Apple M2", "14.5 (23F79)", {&norm, 1}),
        pipeline_archive_path("/caches", "Apple M1", "14.6 (23G80)", {&norm, 1}),
        pipeline_archive_path("/caches", "Apple M11", "4.5 (23F79)", {&norm, 1}),
        pipeline_archive_path("/caches", "Apple M1", "14.5 (23F79)", {&other_text, 1}),
        pipeline_archive_path("/caches", "Apple M1", "14.5 (23F79)", {&exact, 1}),
        pipeline_archive_path("/caches", "Apple M1", "14.5 (23F79)", {&library, 1}),
    };
    for (size_t i = 0; i < paths.size(); i++) {
        CHECK_EQUAL(paths[i].rfind("/caches/gptoss/pipelines-", 0), size_t{0});
        for (size_t j = 0; j < i; j++) {
            CHECK(paths[i] != paths[j]);
        }
    }
    CHECK_EQUAL(paths[0], pipeline_archive_path("/caches", "Apple M1", "14.5 (23F79)", {&norm, 1}));
}

TEST(an_archive_is_saved_when_pipelines_stop_coming) {
    const TemporaryFolder folder;
    const files::path path = folder / "new/pipelines";
    PipelineArchiveFile archive(path);
    size_t num_writes = 0;
    const auto write = [&](const std::string& draft) {
        num_writes++;
        return write_text(draft, std::to_string(num_writes));
    };
    archive.save_if_due(false, write);
    archive.save_if_due(true, write);
    CHECK_EQUAL(num_writes, size_t{0}); // nothing to save

    archive.mark_changed();
    archive.save_if_due(false, write);
    CHECK_EQUAL(num_writes, size_t{0}); // more may follow
    archive.save_if_due(false, write);
    CHECK_EQUAL(num_writes, size_t{1});
    CHECK_EQUAL(read_text(path), std::string("1"));
    archive.save_if_due(false, write);
    CHECK_EQUAL(num_writes, size_t{1});

    archive.mark_changed();
    archive.save_if_due(true, write); // the device is closed
    CHECK_EQUAL(read_text(path), std::string("2"));
    CHECK_EQUAL(folder.num_files(), size_t{2}); // the folder and the archive: no drafts
}

TEST(an_archive_that_cannot_be_written_is_no_error) {
    const TemporaryFolder folder;
    const files::path path = folder / "pipelines";
    write_text(path, "old");
    PipelineArchiveFile archive(path);
    archive.mark_changed();
    archive.save_if_due(true, [](const std::string& draft) {
        write_text(draft, "half of it");
        return false;
    });
    CHECK_EQUAL(read_text(path), std::string("old"));
    CHECK_EQUAL(folder.num_files(), size_t{1});

    PipelineArchiveFile below_a_file(path / "pipelines"); // "old" is no folder
    below_a_file.mark_changed();
    below_a_file.save_if_due(true, [](const std::string& draft) { return write_text(draft, "new"); });
    CHECK_EQUAL(read_text(path), std::string("old"));
}

TEST(errors_name_the_numbers_and_the_remedy) {
    const DeviceInfo info = small_mac();
    const auto gib = [](uint64_t number) { return number << 30; };
    CHECK_FAILS(gptoss_status_unsupported_system,
                "needs a Mac with Apple Silicon and macOS 14 or later; this is macOS 13.6",
                gptoss::metal::fail_no_gpu("this is macOS 13.6"));
    CHECK_FAILS(gptoss_status_insufficient_resources, "no buffers of 9.00 GiB (weights): at most 8.00 GiB",
                gptoss::metal::fail_allocation(info, 0, gib(9), "weights"));
    CHECK_FAILS(gptoss_status_insufficient_resources, "no room for 2.00 GiB more (keys): 9.00 GiB are in use",
                gptoss::metal::fail_allocation(info, gib(9), gib(2), "keys"));
    CHECK_FAILS(gptoss_status_insufficient_resources, "sudo sysctl iogpu.wired_limit_mb=11264",
                gptoss::metal::fail_allocation(info, gib(9), gib(2), "keys"));
    CHECK_FAILS(gptoss_status_insufficient_resources, "or close other programs.",
                gptoss::metal::fail_allocation(info, gib(15), gib(2), "keys")); // no limit would help
    CHECK_FAILS(gptoss_status_internal_error, "refused the kernel norm_half of metal/norm.metal",
                gptoss::metal::fail_compilation(info, "norm", "norm_half", "norm.metal:3: error"));
    CHECK_FAILS(gptoss_status_internal_error, "The GPU failed in 'decode': Page fault (MTLCommandBufferErrorDomain 3)",
                gptoss::metal::fail_command_buffer({"decode", "Page fault", "MTLCommandBufferErrorDomain 3"}));
    CHECK_FAILS(gptoss_status_internal_error, "a shorter context_length",
                gptoss::metal::fail_command_buffer({"decode", "Out of memory", "MTLCommandBufferErrorDomain 8", true}));
    CHECK_FAILS(gptoss_status_internal_error, "'decode' in time", gptoss::metal::fail_unanswered("decode"));
}
