// Operations among the 32 threads (lanes) of a simdgroup. MSL, 6.9.2 "SIMD-Group Functions".
//
// All live lanes of the simdgroup must reach the same call; a lane that has returned from the kernel takes no part.
// T is a scalar or vector of at most 32-bit elements: Metal has no simdgroup operations on long and ulong, nor on bool.
#pragma once

#include "caller.h"
#include "common.h"

namespace metal {
namespace detail {

template <typename A>
concept shared_by_lanes = (integer<element_t<A>> || floating<element_t<A>>) && sizeof(element_t<A>) <= 4;
template <typename A>
concept bits_shared_by_lanes = integer<element_t<A>> && sizeof(element_t<A>) <= 4;

METAL_HOST_UNTRACED inline uint current_lane() {
    return metal_host::current().lane;
}

// What a lane reads from one that is not there: undefined on the GPU; here all bits are set, a NaN in floating point.
template <typename V>
METAL_HOST_UNTRACED V undefined_value() {
    V value;
    __builtin_memset(static_cast<void*>(&value), 0xFF, sizeof(V));
    return value;
}

template <typename V>
METAL_HOST_UNTRACED V value_of_lane(const metal_host::lanes<V>& lanes, uint lane) {
    return lanes.is_live(lane) ? lanes[lane] : undefined_value<V>();
}

// `lane` if it is one; otherwise an error, for the GPU's result is undefined.
METAL_HOST_UNTRACED inline uint checked_lane(uint lane, const metal_host::site& where) {
    if (lane >= metal_host::simdgroup_width) {
        metal_host::fail_at(where, "reads lane %u; a simdgroup has lanes 0 to 31", lane);
    }
    return lane;
}

// Combines the live lanes' values in pairs, lane i with i + 16, then i + 8 and so on. Apple's order is not documented:
// sums of floats may differ from it in their last bits.
template <typename V, typename Function>
METAL_HOST_UNTRACED V reduce(V value, const metal_host::site& where, Function function) {
    return metal_host::combine(value, where, [&](const metal_host::lanes<V>& lanes) METAL_HOST_UNTRACED {
        V partial[metal_host::simdgroup_width];
        for (uint i = 0; i < metal_host::simdgroup_width; i++) {
            partial[i] = lanes[i];
        }
        uint live = lanes.live_mask();
        for (uint half_width = metal_host::simdgroup_width / 2; half_width > 0; half_width /= 2) {
            for (uint i = 0; i < half_width; i++) {
                const bool here = (live >> i & 1u) != 0;
                const bool there = (live >> (i + half_width) & 1u) != 0;
                if (here && there) {
                    partial[i] = function(partial[i], partial[i + half_width]);
                } else if (there) {
                    partial[i] = partial[i + half_width];
                }
            }
            live |= live >> half_width;
        }
        return partial[0];
    });
}

// Combines the values of live lanes in front of this one, and of this one if `inclusive`, in order.
template <typename V, typename Function>
METAL_HOST_UNTRACED V prefix(V value, V neutral, bool inclusive, const metal_host::site& where, Function function) {
    const uint end = current_lane() + (inclusive ? 1 : 0);
    const metal_host::lanes<V> lanes = metal_host::exchange(value, where);
    V result = neutral;
    for (uint i = 0; i < end; i++) {
        if (lanes.is_live(i)) {
            result = function(result, lanes[i]);
        }
    }
    return result;
}

} // namespace detail

// ---- Reductions: every lane gets the result
// --------------------------------------------------------------------------

#define METAL_HOST_REDUCTION(name, constraint, result)                                                      \
    template <typename A>                                                                                   \
        requires detail::constraint<A>                                                                      \
    inline detail::value_t<A> name(const A& data, metal_host::caller caller = metal_host::caller::here()) { \
        using V = detail::value_t<A>;                                                                       \
        return detail::reduce(static_cast<V>(data), caller.at(#name),                                       \
                              [](V x, V y) METAL_HOST_UNTRACED { return static_cast<V>(result); });         \
    }
METAL_HOST_REDUCTION(simd_sum, shared_by_lanes, x + y)
METAL_HOST_REDUCTION(simd_product, shared_by_lanes, x* y)
METAL_HOST_REDUCTION(simd_max, shared_by_lanes, metal::max(x, y))
METAL_HOST_REDUCTION(simd_min, shared_by_lanes, metal::min(x, y))
METAL_HOST_REDUCTION(simd_and, bits_shared_by_lanes, x& y)
METAL_HOST_REDUCTION(simd_or, bits_shared_by_lanes, x | y)
METAL_HOST_REDUCTION(simd_xor, bits_shared_by_lanes, x ^ y)
#undef METAL_HOST_REDUCTION

// ---- Prefix sums and products
// ----------------------------------------------------------------------------------------

#define METAL_HOST_PREFIX(name, neutral, inclusive, result)                                                 \
    template <typename A>                                                                                   \
        requires detail::shared_by_lanes<A>                                                                 \
    inline detail::value_t<A> name(const A& data, metal_host::caller caller = metal_host::caller::here()) { \
        using V = detail::value_t<A>;                                                                       \
        return detail::prefix(static_cast<V>(data), V(neutral), inclusive, caller.at(#name),                \
                              [](V x, V y) METAL_HOST_UNTRACED { return static_cast<V>(result); });         \
    }
METAL_HOST_PREFIX(simd_prefix_inclusive_sum, 0, true, x + y)
METAL_HOST_PREFIX(simd_prefix_exclusive_sum, 0, false, x + y)
METAL_HOST_PREFIX(simd_prefix_inclusive_product, 1, true, x* y)
METAL_HOST_PREFIX(simd_prefix_exclusive_product, 1, false, x* y)
#undef METAL_HOST_PREFIX

// ---- Another lane's value
// --------------------------------------------------------------------------------------------

template <typename A>
    requires detail::shared_by_lanes<A>
inline detail::value_t<A> simd_shuffle(const A& data,
                                       ushort lane,
                                       metal_host::caller caller = metal_host::caller::here()) {
    const metal_host::site where = caller.at("simd_shuffle");
    return detail::value_of_lane(metal_host::exchange(detail::value_t<A>(data), where),
                                 detail::checked_lane(lane, where));
}

// As simd_shuffle; `lane` must be the same in all lanes.
template <typename A>
    requires detail::shared_by_lanes<A>
inline detail::value_t<A> simd_broadcast(const A& data,
                                         ushort lane,
                                         metal_host::caller caller = metal_host::caller::here()) {
    const metal_host::site where = caller.at("simd_broadcast");
    return detail::value_of_lane(metal_host::exchange(detail::value_t<A>(data), where),
                                 detail::checked_lane(lane, where));
}

// The value of the lowest live lane.
template <typename A>
    requires detail::shared_by_lanes<A>
inline detail::value_t<A> simd_broadcast_first(const A& data, metal_host::caller caller = metal_host::caller::here()) {
    const auto lanes = metal_host::exchange(detail::value_t<A>(data), caller.at("simd_broadcast_first"));
    return lanes[static_cast<uint>(__builtin_ctz(lanes.live_mask()))];
}

template <typename A>
    requires detail::shared_by_lanes<A>
inline detail::value_t<A> simd_shuffle_xor(const A& data,
                                           ushort mask,
                                           metal_host::caller caller = metal_host::caller::here()) {
    const metal_host::site where = caller.at("simd_shuffle_xor");
    const uint lane = detail::current_lane() ^ mask;
    return detail::value_of_lane(metal_host::exchange(detail::value_t<A>(data), where),
                                 detail::checked_lane(lane, where));
}

// The value of lane + delta; beyond the last lane, this lane's own.
template <typename A>
    requires detail::shared_by_lanes<A>
inline detail::value_t<A> simd_shuffle_down(const A& data,
                                            ushort delta,
                                            metal_host::caller caller = metal_host::caller::here()) {
    const uint source = detail::current_lane() + delta;
    const auto lanes = metal_host::exchange(detail::value_t<A>(data), caller.at("simd_shuffle_down"));
    return source < metal_host::simdgroup_width ? detail::value_of_lane(lanes, source) : detail::value_t<A>(data);
}

// The value of lane - delta; before the first lane, this lane's own.
template <typename A>
    requires detail::shared_by_lanes<A>
inline detail::value_t<A> simd_shuffle_up(const A& data,
                                          ushort delta,
                                          metal_host::caller caller = metal_host::caller::here()) {
    const uint lane = detail::current_lane();
    const auto lanes = metal_host::exchange(detail::value_t<A>(data), caller.at("simd_shuffle_up"));
    return lane >= delta ? detail::value_of_lane(lanes, lane - delta) : detail::value_t<A>(data);
}

// The value of lane + delta, or of lane - delta, around the ends.
template <typename A>
    requires detail::shared_by_lanes<A>
inline detail::value_t<A> simd_shuffle_rotate_down(const A& data,
                                                   ushort delta,
                                                   metal_host::caller caller = metal_host::caller::here()) {
    const uint source = (detail::current_lane() + delta) % metal_host::simdgroup_width;
    return detail::value_of_lane(metal_host::exchange(detail::value_t<A>(data), caller.at("simd_shuffle_rotate_down")),
                                 source);
}
template <typename A>
    requires detail::shared_by_lanes<A>
inline detail::value_t<A> simd_shuffle_rotate_up(const A& data,
                                                 ushort delta,
                                                 metal_host::caller caller = metal_host::caller::here()) {
    const uint source = (detail::current_lane() - delta) % metal_host::simdgroup_width;
    return detail::value_of_lane(metal_host::exchange(detail::value_t<A>(data), caller.at("simd_shuffle_rotate_up")),
                                 source);
}

// ---- Votes
// -----------------------------------------------------------------------------------------------------------

// A bit for each lane.
class simd_vote {
public:
    using vote_t = ulong;
    explicit constexpr simd_vote(vote_t votes = 0) : votes_(votes) {}
    explicit constexpr operator vote_t() const { return votes_; }
    constexpr bool all() const { return (votes_ & 0xFFFFFFFFul) == 0xFFFFFFFFul; }
    constexpr bool any() const { return votes_ != 0; }

private:
    vote_t votes_;
};

namespace detail {

// What the live lanes answered, and which they are.
struct ballot {
    uint yes;
    uint live;
};
METAL_HOST_UNTRACED inline ballot hold_ballot(bool answer, const metal_host::site& where) {
    return metal_host::combine(uint{answer}, where, [](const metal_host::lanes<uint>& lanes) METAL_HOST_UNTRACED {
        ballot result{0, lanes.live_mask()};
        for (uint i = 0; i < metal_host::simdgroup_width; i++) {
            if (lanes.is_live(i) && lanes[i] != 0) {
                result.yes |= 1u << i;
            }
        }
        return result;
    });
}

} // namespace detail

inline simd_vote simd_ballot(bool answer, metal_host::caller caller = metal_host::caller::here()) {
    return simd_vote(detail::hold_ballot(answer, caller.at("simd_ballot")).yes);
}

inline simd_vote simd_active_threads_mask(metal_host::caller caller = metal_host::caller::here()) {
    return simd_vote(detail::hold_ballot(true, caller.at("simd_active_threads_mask")).live);
}

inline bool simd_any(bool answer, metal_host::caller caller = metal_host::caller::here()) {
    return detail::hold_ballot(answer, caller.at("simd_any")).yes != 0;
}

inline bool simd_all(bool answer, metal_host::caller caller = metal_host::caller::here()) {
    const detail::ballot ballot = detail::hold_ballot(answer, caller.at("simd_all"));
    return ballot.yes == ballot.live;
}

// Whether this is the lowest live lane.
inline bool simd_is_first(metal_host::caller caller = metal_host::caller::here()) {
    const uint live = detail::hold_ballot(true, caller.at("simd_is_first")).live;
    return static_cast<int>(detail::current_lane()) == __builtin_ctz(live);
}

} // namespace metal
