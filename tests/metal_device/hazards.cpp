#include "hazards.h"

#include <algorithm>
#include <functional>
#include <sstream>

namespace gptoss::metal::host {

namespace {

// Two buffers may be of the same mapped memory, so addresses count.
bool overlap(const UsedSlice& a, const UsedSlice& b) {
    const std::less<const std::byte*> before;
    return a.size != 0 && b.size != 0 && before(a.begin(), b.end()) && before(b.begin(), a.end());
}

struct Conflict {
    const UsedSlice* earlier = nullptr; // null: there is none
    const UsedSlice* later = nullptr;
};

Conflict find_conflict(const Dispatch& earlier, const Dispatch& later) {
    for (const UsedSlice& a : earlier.slices()) {
        for (const UsedSlice& b : later.slices()) {
            if ((a.is_written || b.is_written) && overlap(a, b)) {
                return {&a, &b};
            }
        }
    }
    return {};
}

std::string describe(const Conflict& conflict, const std::string& earlier, const std::string& later) {
    const std::byte* begin = std::max(conflict.earlier->begin(), conflict.later->begin());
    const std::byte* end = std::min(conflict.earlier->end(), conflict.later->end());
    const Memory& memory = *conflict.later->memory;
    std::ostringstream text;
    text << later << (conflict.later->is_written ? " writes" : " reads") << " bytes " << begin - memory.data() << " to "
         << end - memory.data() << " of the buffer '" << memory.label() << "' (its '" << conflict.later->parameter
         << "') that " << earlier << (conflict.earlier->is_written ? " writes" : " reads") << " (its '"
         << conflict.earlier->parameter << "') with no barrier in between";
    return text.str();
}

bool any_conflict(std::span<const Dispatch> earlier, std::span<const Dispatch> later) {
    return std::any_of(earlier.begin(), earlier.end(), [&](const Dispatch& a) {
        return std::any_of(later.begin(), later.end(),
                           [&](const Dispatch& b) { return find_conflict(a, b).earlier != nullptr; });
    });
}

} // namespace

std::string dispatch_name(std::span<const Dispatch> dispatches, size_t index) {
    return "dispatch " + std::to_string(index + 1) + " (" + dispatches[index].kernel_name() + ")";
}

std::string find_hazard(std::span<const Dispatch> dispatches, std::span<const size_t> barriers) {
    auto barrier = barriers.begin();
    size_t first = 0; // of those that may run together with `later`
    for (size_t later = 0; later < dispatches.size(); later++) {
        for (; barrier != barriers.end() && *barrier <= later; ++barrier) {
            first = *barrier;
        }
        for (size_t earlier = first; earlier < later; earlier++) {
            const Conflict conflict = find_conflict(dispatches[earlier], dispatches[later]);
            if (conflict.earlier != nullptr) {
                return describe(conflict, dispatch_name(dispatches, earlier), dispatch_name(dispatches, later));
            }
        }
    }
    return "";
}

std::vector<std::string> find_unneeded_barriers(std::span<const Dispatch> dispatches,
                                                std::span<const size_t> barriers) {
    std::vector<std::string> unneeded;
    for (size_t i = 0; i < barriers.size(); i++) {
        const size_t begin = i == 0 ? 0 : barriers[i - 1];
        const size_t end = i + 1 == barriers.size() ? dispatches.size() : barriers[i + 1];
        if (!any_conflict(dispatches.subspan(begin, barriers[i] - begin),
                          dispatches.subspan(barriers[i], end - barriers[i]))) {
            unneeded.push_back(barriers[i] == dispatches.size() ? "behind the last dispatch"
                                                                : "before " + dispatch_name(dispatches, barriers[i]));
        }
    }
    return unneeded;
}

} // namespace gptoss::metal::host
