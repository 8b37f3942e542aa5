// The race detector's memory: for every byte of a region, the accesses with which a later one may be in a race.
//
// A race: two accesses to the same byte by different threads that no barrier orders (trace_order.h), at least one of
// them a write, not both atomic. It is found from what the kernel did, whatever order the threads ran in.
//
// What is kept for each byte, and why that misses nothing before the first race, which ends the launch:
// - The last plain write. An earlier one that was not ordered before it would have been a race, and what is not ordered
//   after the earlier one is not ordered after the last one either: the two writers are one thread, or two lanes of a
//   simdgroup with a simdgroup barrier between them, which the later access has passed as well if it is of their
//   simdgroup.
// - Plain reads, atomic reads and atomic writes, which need no order among themselves, as three sets of which at most
//   three members each are kept (access_set says which and why these suffice).
// Words of four bytes share one record until a part of the word is accessed.
//
// What may be missed: accesses that the compiler optimised away (a second load of the same address without a barrier in
// between, a store that is overwritten at once), races on paths that these inputs do not take, and races behind a race:
// whose threads follow another path only because of a value that is itself read in a race (which is reported first).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "trace_lazy_array.h"
#include "trace_order.h"

namespace metal_host::trace {

enum class access_kind : uint8_t { read, write, atomic_read, atomic_write };

inline bool is_write(access_kind kind) {
    return kind == access_kind::write || kind == access_kind::atomic_write;
}

inline bool is_atomic(access_kind kind) {
    return kind == access_kind::atomic_read || kind == access_kind::atomic_write;
}

// One access, as it is remembered.
struct event {
    uint32_t moment;  // a timeline's number; timeline::none: no event
    int32_t location; // where in the kernels' code, see trace_location.h
};

// Accesses of one kind, which are in no race with each other. Of all that were added it keeps so many that it can
// always name one that is not ordered before a new access, if there is one:
// - one of an earlier threadgroup (device memory): not ordered before anything in the running one;
// - of the running threadgroup's latest interval between threadgroup barriers, two of different simdgroups, one of
// which
//   is of another simdgroup than the new access; or else, all being of one simdgroup, two different lanes of its latest
//   interval between simdgroup barriers, one of which is another lane than the new access's; or else the only one.
class access_set {
public:
    void add(const event& added, const timeline& time);
    bool is_latest(const event& access) const { return recent_.moment == access.moment; }
    const event* find_unordered(const moment& now, const timeline& time) const;

private:
    event recent_;
    event other_; // of the running threadgroup as well
    event of_earlier_threadgroup_;
};

// An earlier access that is in a race with the one at hand.
struct conflict {
    event earlier;
    access_kind earlier_kind;
    std::size_t offset; // of the byte that both access
};

class shadow {
public:
    explicit shadow(std::size_t size);

    // Records an access, unless it is in a race.
    std::optional<conflict> access(
        std::size_t offset, std::size_t size, access_kind kind, const event& now, const timeline& time);

    // The memory is somebody else's from here on. For memory whose timeline forgets its moments as well.
    void forget();

private:
    struct plain_accesses {
        event write;
        access_set reads;
    };
    struct atomic_accesses {
        access_set writes;
        access_set reads;
    };
    enum word_state : uint8_t { has_byte_records = 1, has_atomics = 2 };

    std::optional<conflict> access_plain(plain_accesses& record,
                                         access_kind kind,
                                         const event& now,
                                         const timeline& time);
    std::optional<conflict> access_atomics(atomic_accesses& record,
                                           access_kind kind,
                                           const event& now,
                                           const timeline& time);
    void split(std::size_t word);

    std::size_t num_words_;
    lazy_array<uint8_t> states_;          // [words] of word_state bits
    lazy_array<plain_accesses> of_words_; // [words]
    lazy_array<plain_accesses> of_bytes_; // [words * 4], used where has_byte_records
    lazy_array<atomic_accesses> atomics_; // [words], used where has_atomics
};

} // namespace metal_host::trace
