#include "trace_shadow.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace metal_host::trace {
namespace {

constexpr std::size_t bytes_per_word = 4;

} // namespace

void access_set::add(const event& added, const timeline& time) {
    if (is_latest(added)) {
        return;
    }
    if (!time.is_known(recent_.moment)) {
        recent_ = added;
        other_ = {};
        of_earlier_threadgroup_ = {};
        return;
    }
    const moment& now = time.at(added.moment);
    const moment& recent = time.at(recent_.moment);
    const event earlier = std::exchange(recent_, added);
    if (now.threadgroup != recent.threadgroup) {
        of_earlier_threadgroup_ = earlier;
        other_ = {};
    } else if (now.threadgroup_epoch != recent.threadgroup_epoch) {
        other_ = {};
    } else if (now.simdgroup != recent.simdgroup) {
        other_ = earlier;
    } else if (time.is_known(other_.moment) && time.at(other_.moment).simdgroup != now.simdgroup) {
        // Two simdgroups are known already, and still are.
    } else if (now.simdgroup_epoch != recent.simdgroup_epoch) {
        other_ = {};
    } else {
        other_ = earlier;
    }
}

const event* access_set::find_unordered(const moment& now, const timeline& time) const {
    for (const event* const candidate : {&recent_, &other_, &of_earlier_threadgroup_}) {
        if (time.is_known(candidate->moment) && !are_ordered(time.at(candidate->moment), now)) {
            return candidate;
        }
    }
    return nullptr;
}

shadow::shadow(std::size_t size)
    : num_words_((size + bytes_per_word - 1) / bytes_per_word),
      states_(num_words_),
      of_words_(num_words_),
      of_bytes_(num_words_ * bytes_per_word),
      atomics_(num_words_) {}

std::optional<conflict> shadow::access(
    std::size_t offset, std::size_t size, access_kind kind, const event& now, const timeline& time) {
    const std::size_t end = offset + size;
    for (std::size_t begin = offset; begin < end;) {
        const std::size_t word = begin / bytes_per_word;
        const std::size_t end_in_word = std::min(end, (word + 1) * bytes_per_word);
        if (is_atomic(kind)) {
            states_[word] |= has_atomics;
        }
        std::optional<conflict> found;
        if ((states_[word] & has_atomics) != 0) {
            found = access_atomics(atomics_[word], kind, now, time);
        }
        if (!found && end_in_word - begin == bytes_per_word && (states_[word] & has_byte_records) == 0) {
            found = access_plain(of_words_[word], kind, now, time);
        } else if (!found) {
            split(word);
            for (; !found && begin < end_in_word; ++begin) {
                found = access_plain(of_bytes_[begin], kind, now, time);
            }
            begin -= found ? 1 : 0;
        }
        if (found) {
            found->offset = begin;
            return found;
        }
        begin = end_in_word;
    }
    return std::nullopt;
}

std::optional<conflict> shadow::access_plain(plain_accesses& record,
                                             access_kind kind,
                                             const event& now,
                                             const timeline& time) {
    // What loops do most: the same thread again, with no barrier since.
    if (kind == access_kind::read && record.reads.is_latest(now) && !time.is_known(record.write.moment)) {
        return std::nullopt;
    }
    const moment& at = time.at(now.moment);
    if (time.is_known(record.write.moment) && !are_ordered(time.at(record.write.moment), at)) {
        return conflict{.earlier = record.write, .earlier_kind = access_kind::write, .offset = 0};
    }
    if (is_write(kind)) {
        if (const event* const read = record.reads.find_unordered(at, time)) {
            return conflict{.earlier = *read, .earlier_kind = access_kind::read, .offset = 0};
        }
    }
    if (kind == access_kind::write) {
        record.write = now;
    } else if (kind == access_kind::read) {
        record.reads.add(now, time);
    }
    return std::nullopt;
}

std::optional<conflict> shadow::access_atomics(atomic_accesses& record,
                                               access_kind kind,
                                               const event& now,
                                               const timeline& time) {
    const moment& at = time.at(now.moment);
    switch (kind) {
        case access_kind::atomic_write:
            record.writes.add(now, time);
            break;
        case access_kind::atomic_read:
            record.reads.add(now, time);
            break;
        case access_kind::write:
            if (const event* const read = record.reads.find_unordered(at, time)) {
                return conflict{.earlier = *read, .earlier_kind = access_kind::atomic_read, .offset = 0};
            }
            [[fallthrough]];
        case access_kind::read:
            if (const event* const write = record.writes.find_unordered(at, time)) {
                return conflict{.earlier = *write, .earlier_kind = access_kind::atomic_write, .offset = 0};
            }
            break;
    }
    return std::nullopt;
}

void shadow::split(std::size_t word) {
    if ((states_[word] & has_byte_records) == 0) {
        states_[word] |= has_byte_records;
        std::fill_n(&of_bytes_[word * bytes_per_word], bytes_per_word, of_words_[word]);
    }
}

void shadow::forget() {
    std::memset(&states_[0], 0, num_words_);
}

} // namespace metal_host::trace
