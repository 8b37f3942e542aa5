#include "control_groups.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace gptoss::cpu {

namespace {

constexpr double kUnlimited = std::numeric_limits<double>::infinity();

enum class Version { v1, v2 };

// A hierarchy of groups that controls processor time.
struct Mount {
    Version version;
    std::string root;  // the group that is visible as the mount point; "/" for the whole hierarchy
    std::string point; // the folder where it is mounted
};

// Whether `list`, words with commas between them, holds `word`.
bool has_word(std::string_view list, std::string_view word) {
    while (!list.empty()) {
        const size_t comma = std::min(list.find(','), list.size());
        if (list.substr(0, comma) == word) {
            return true;
        }
        list.remove_prefix(std::min(comma + 1, list.size()));
    }
    return false;
}

// mountinfo writes a space in a path as \040, a backslash as \134.
std::string unescape(std::string_view text) {
    std::string result;
    const auto is_octal = [](char c) { return c >= '0' && c <= '7'; };
    for (size_t i = 0; i < text.size(); i++) {
        if (text[i] == '\\' && i + 3 < text.size() && is_octal(text[i + 1]) && is_octal(text[i + 2]) &&
            is_octal(text[i + 3])) {
            result += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
            i += 3;
        } else {
            result += text[i];
        }
    }
    return result;
}

// A line of mountinfo (proc_pid_mountinfo(5)): "31 23 0:28 ROOT POINT rw shared:1 - TYPE SOURCE OPTIONS".
std::optional<Mount> parse_mount(const std::string& line) {
    std::istringstream words(line);
    std::string word, root, point;
    for (int i = 0; i < 3; i++) {
        words >> word;
    }
    words >> root >> point;
    while (words >> word && word != "-") {
    }
    std::string type, source, options;
    words >> type >> source >> options;
    if (type == "cgroup2") {
        return Mount{Version::v2, unescape(root), unescape(point)};
    }
    if (type == "cgroup" && has_word(options, "cpu")) {
        return Mount{Version::v1, unescape(root), unescape(point)};
    }
    return std::nullopt;
}

std::vector<Mount> find_mounts(const std::filesystem::path& root) {
    std::vector<Mount> mounts;
    std::ifstream file(root / "proc/self/mountinfo");
    for (std::string line; std::getline(file, line);) {
        if (const std::optional<Mount> mount = parse_mount(line)) {
            mounts.push_back(*mount);
        }
    }
    return mounts;
}

// Of this process in the hierarchy of this version. Lines of /proc/self/cgroup: "ID:CONTROLLERS:PATH", for version 2
// "0::PATH".
std::optional<std::string> group_path(const std::filesystem::path& root, Version version) {
    std::ifstream file(root / "proc/self/cgroup");
    for (std::string line; std::getline(file, line);) {
        const size_t first = line.find(':');
        const size_t second = line.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos) {
            continue;
        }
        const std::string_view controllers = std::string_view(line).substr(first + 1, second - first - 1);
        if (version == Version::v2 ? controllers.empty() : has_word(controllers, "cpu")) {
            return line.substr(second + 1);
        }
    }
    return std::nullopt;
}

// The group's path below the mount point, without a slash at its start.
std::string path_in_mount(const Mount& mount, const std::string& group) {
    // A group outside of what is mounted here: a container that has not its own view of the groups. It sees nothing
    // nearer to its own group than the mount point.
    const bool inside = mount.root == "/" || group == mount.root || group.starts_with(mount.root + "/");
    if (!inside || group.find("/..") != std::string::npos) {
        return "";
    }
    const size_t start = group.find_first_not_of('/', mount.root == "/" ? 0 : mount.root.size());
    return start == std::string::npos ? "" : group.substr(start);
}

double read_number(const std::filesystem::path& path) {
    std::ifstream file(path);
    double value = 0;
    return file >> value ? value : -1;
}

double quota_of(const std::filesystem::path& folder, Version version) {
    double quota = -1; // microseconds in every period; version 1 writes -1 for none, version 2 "max"
    double period = -1;
    if (version == Version::v2) {
        std::ifstream file(folder / "cpu.max");
        if (!(file >> quota >> period)) {
            return kUnlimited;
        }
    } else {
        quota = read_number(folder / "cpu.cfs_quota_us");
        period = read_number(folder / "cpu.cfs_period_us");
    }
    return quota > 0 && period > 0 ? quota / period : kUnlimited;
}

} // namespace

double granted_processors(const std::filesystem::path& root) {
    double lowest = kUnlimited;
    for (const Mount& mount : find_mounts(root)) {
        const std::optional<std::string> group = group_path(root, mount.version);
        if (!group) {
            continue;
        }
        // Every group around this one limits it as well.
        const std::filesystem::path top = root / std::filesystem::path(mount.point).relative_path();
        std::filesystem::path inside = path_in_mount(mount, *group);
        for (;;) {
            lowest = std::min(lowest, quota_of(top / inside, mount.version));
            if (inside.empty()) {
                break;
            }
            inside = inside.parent_path();
        }
    }
    return lowest;
}

} // namespace gptoss::cpu
