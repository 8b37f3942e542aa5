#include "cpu/thread_count.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

#include <unistd.h>

#include "check.h"
#include "cpu/control_groups.h"

using gptoss::cpu::choose_num_threads;
using gptoss::cpu::default_num_threads;
using gptoss::cpu::granted_processors;
using gptoss::cpu::num_usable_processors;

namespace {

constexpr double kUnlimited = std::numeric_limits<double>::infinity();

// A folder that stands for /, with what a process sees of its control groups.
class FakeRoot {
public:
    FakeRoot() {
        std::string pattern = (std::filesystem::temp_directory_path() / "gptoss-root-XXXXXX").string();
        CHECK(::mkdtemp(pattern.data()) != nullptr);
        path_ = pattern;
    }
    ~FakeRoot() { std::filesystem::remove_all(path_); }
    FakeRoot(const FakeRoot&) = delete;
    FakeRoot& operator=(const FakeRoot&) = delete;

    const std::filesystem::path& path() const { return path_; }

    FakeRoot& file(const std::string& name, const std::string& text) {
        const std::filesystem::path target = path_ / name;
        std::filesystem::create_directories(target.parent_path());
        std::ofstream(target) << text;
        return *this;
    }

    // `mounts`: lines of mountinfo. `groups`: lines of /proc/self/cgroup.
    FakeRoot& process(const std::string& mounts, const std::string& groups) {
        return file("proc/self/mountinfo", "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n" + mounts)
            .file("proc/self/cgroup", groups);
    }

private:
    std::filesystem::path path_;
};

constexpr const char* kMountV2 = "30 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
constexpr const char* kMountV1 =
    "31 30 0:27 / /sys/fs/cgroup/memory rw shared:5 - cgroup cgroup rw,memory\n"
    "32 30 0:28 / /sys/fs/cgroup/cpuset rw shared:6 - cgroup cgroup rw,cpuset\n"
    "33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:7 - cgroup cgroup rw,cpu,cpuacct\n";

class Variable {
public:
    explicit Variable(const char* value) { ::setenv("GPTOSS_THREADS", value, 1); }
    ~Variable() { ::unsetenv("GPTOSS_THREADS"); }
};

} // namespace

TEST(without_control_groups_there_is_no_limit) {
    FakeRoot root; // as on macOS
    CHECK_EQUAL(granted_processors(root.path()), kUnlimited);
    CHECK_EQUAL(default_num_threads(root.path()), num_usable_processors());
}

TEST(quota_of_version_2_in_the_process_s_own_group) {
    FakeRoot root;
    root.process(kMountV2, "0::/system.slice/docker-1.scope\n");
    CHECK_EQUAL(granted_processors(root.path()), kUnlimited); // the controller is not enabled: no file
    root.file("sys/fs/cgroup/system.slice/docker-1.scope/cpu.max", "max 100000\n");
    CHECK_EQUAL(granted_processors(root.path()), kUnlimited);
    root.file("sys/fs/cgroup/system.slice/docker-1.scope/cpu.max", "150000 100000\n");
    CHECK_EQUAL(granted_processors(root.path()), 1.5);
    root.file("sys/fs/cgroup/system.slice/docker-1.scope/cpu.max", "10000 20000\n");
    CHECK_EQUAL(granted_processors(root.path()), 0.5);
}

TEST(quota_of_version_2_at_the_top_of_a_container_s_own_view) {
    FakeRoot root;
    root.process(kMountV2, "0::/\n").file("sys/fs/cgroup/cpu.max", "300000 100000\n");
    CHECK_EQUAL(granted_processors(root.path()), 3.0);
}

TEST(the_lowest_quota_of_all_groups_around_the_process_counts) {
    FakeRoot root;
    root.process(kMountV2, "0::/a/b/c\n")
        .file("sys/fs/cgroup/a/cpu.max", "200000 100000\n")
        .file("sys/fs/cgroup/a/b/cpu.max", "500000 100000\n")
        .file("sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n")
        .file("sys/fs/cgroup/other/cpu.max", "10000 100000\n");
    CHECK_EQUAL(granted_processors(root.path()), 2.0);
    root.file("sys/fs/cgroup/a/b/c/cpu.max", "100000 100000\n");
    CHECK_EQUAL(granted_processors(root.path()), 1.0);
}

TEST(quota_of_version_1) {
    FakeRoot root;
    root.process(kMountV1, "5:memory:/m\n4:cpuset:/s\n3:cpu,cpuacct:/docker/1\n")
        .file("sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_quota_us", "-1\n")
        .file("sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_period_us", "100000\n")
        .file("sys/fs/cgroup/cpuset/s/cpu.cfs_quota_us", "1000\n") // of a hierarchy that does not control time
        .file("sys/fs/cgroup/cpuset/s/cpu.cfs_period_us", "100000\n");
    CHECK_EQUAL(granted_processors(root.path()), kUnlimited);
    root.file("sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_quota_us", "250000\n");
    CHECK_EQUAL(granted_processors(root.path()), 2.5);
    root.file("sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us", "50000\n")
        .file("sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_period_us", "50000\n");
    CHECK_EQUAL(granted_processors(root.path()), 1.0);
}

TEST(both_versions_at_once) {
    FakeRoot root;
    root.process(std::string(kMountV1) + "34 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
                 "3:cpu,cpuacct:/one\n0::/two\n")
        .file("sys/fs/cgroup/cpu,cpuacct/one/cpu.cfs_quota_us", "400000\n")
        .file("sys/fs/cgroup/cpu,cpuacct/one/cpu.cfs_period_us", "100000\n");
    CHECK_EQUAL(granted_processors(root.path()), 4.0);
    root.file("sys/fs/cgroup/unified/two/cpu.max", "300000 100000\n");
    CHECK_EQUAL(granted_processors(root.path()), 3.0);
}

TEST(a_container_that_is_shown_a_part_of_the_hierarchy) {
    // Docker with version 1: the path is the machine's, and the mount shows the container's group as its top.
    FakeRoot root;
    root.process("33 30 0:29 /docker/1 /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n", "3:cpu:/docker/1/inner\n")
        .file("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n")
        .file("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    CHECK_EQUAL(granted_processors(root.path()), 2.0);
    root.file("sys/fs/cgroup/cpu/inner/cpu.cfs_quota_us", "100000\n")
        .file("sys/fs/cgroup/cpu/inner/cpu.cfs_period_us", "100000\n");
    CHECK_EQUAL(granted_processors(root.path()), 1.0);

    // A group that is outside of what is shown: the top is all that is known.
    for (const char* const groups : {"3:cpu:/docker/12\n", "3:cpu:/\n", "3:cpu:/../2\n"}) {
        root.file("proc/self/cgroup", groups);
        CHECK_EQUAL(granted_processors(root.path()), 2.0);
    }
}

TEST(a_mount_point_with_a_space) {
    FakeRoot root;
    root.process("30 22 0:26 / /my\\040groups rw - cgroup2 cgroup2 rw\n", "0::/a b\n")
        .file("my groups/a b/cpu.max", "100000 50000\n");
    CHECK_EQUAL(granted_processors(root.path()), 2.0);
}

TEST(what_cannot_be_understood_is_no_limit) {
    FakeRoot root;
    for (const char* const text : {"", "nonsense", "100000", "0 100000", "100000 0", "-5 100000"}) {
        root.process(kMountV2, "nonsense\n0::/\n").file("sys/fs/cgroup/cpu.max", text);
        CHECK_EQUAL(granted_processors(root.path()), kUnlimited);
    }
    root.process("nonsense\n30 22 0:26\n", "0::/\n");
    CHECK_EQUAL(granted_processors(root.path()), kUnlimited);
}

TEST(the_default_is_the_quota_rounded_up_and_no_more_than_there_are_processors) {
    FakeRoot root;
    const auto with_quota = [&](const std::string& quota) {
        root.process(kMountV2, "0::/\n").file("sys/fs/cgroup/cpu.max", quota + " 100000\n");
        return default_num_threads(root.path());
    };
    CHECK_EQUAL(with_quota("1000"), 1u);
    CHECK_EQUAL(with_quota("100000"), 1u);
    CHECK_EQUAL(with_quota("150000"), std::min(2u, num_usable_processors()));
    CHECK_EQUAL(with_quota("900000000"), num_usable_processors());
    CHECK_EQUAL(with_quota("max"), num_usable_processors());
}

TEST(an_explicit_number_comes_before_the_variable_and_the_variable_before_the_default) {
    CHECK_EQUAL(choose_num_threads(0), default_num_threads());
    CHECK_EQUAL(choose_num_threads(7), 7u);
    {
        const Variable variable("5");
        CHECK_EQUAL(choose_num_threads(0), 5u);
        CHECK_EQUAL(choose_num_threads(7), 7u);
    }
    const Variable variable(""); // set to nothing is not set
    CHECK_EQUAL(choose_num_threads(0), default_num_threads());
}

TEST(a_variable_that_is_not_a_number_of_threads_is_refused_with_its_value) {
    for (const char* const text : {"0", "1025", "-1", "two", "2 ", " 2", "2.5", "+2", "99999999999999999999"}) {
        const Variable variable(text);
        CHECK_FAILS(gptoss_status_invalid_argument,
                    "GPTOSS_THREADS is '" + std::string(text) + "': set it to a number of threads from 1 to 1024",
                    choose_num_threads(0));
        CHECK_EQUAL(choose_num_threads(3), 3u); // which does not look at it
    }
    const Variable variable("1024");
    CHECK_EQUAL(choose_num_threads(0), 1024u);
}

TEST(too_many_threads_are_refused) {
    CHECK_FAILS(gptoss_status_invalid_argument, "from 1 to 1024, found 1025", choose_num_threads(1025));
}
