// Operations among the 4 threads of a quadgroup: lanes 4n to 4n + 3 of a simdgroup. MSL, 6.9.3 "Quad-Group Functions".
//
// Stricter than Metal: all live lanes of the simdgroup must reach the call, not only the quadgroup's.
#pragma once

#include "simdgroup.h"

namespace metal {
namespace detail {

template <typename V, typename Function>
METAL_HOST_UNTRACED V reduce_quad(V value, const metal_host::site& where, Function function) {
    const uint first = current_lane() & ~3u;
    const metal_host::lanes<V> lanes = metal_host::exchange(value, where);
    V result = value;
    bool empty = true;
    for (uint i = first; i < first + 4; i++) {
        if (lanes.is_live(i)) {
            result = empty ? lanes[i] : function(result, lanes[i]);
            empty = false;
        }
    }
    return result;
}

METAL_HOST_UNTRACED inline uint checked_quad_lane(uint lane, const metal_host::site& where) {
    if (lane >= 4) {
        metal_host::fail_at(where, "reads lane %u; a quadgroup has lanes 0 to 3", lane);
    }
    return (current_lane() & ~3u) + lane;
}

} // namespace detail

#define METAL_HOST_REDUCTION(name, result)                                                                  \
    template <typename A>                                                                                   \
        requires detail::shared_by_lanes<A>                                                                 \
    inline detail::value_t<A> name(const A& data, metal_host::caller caller = metal_host::caller::here()) { \
        using V = detail::value_t<A>;                                                                       \
        return detail::reduce_quad(static_cast<V>(data), caller.at(#name),                                  \
                                   [](V x, V y) METAL_HOST_UNTRACED { return static_cast<V>(result); });    \
    }
METAL_HOST_REDUCTION(quad_sum, x + y)
METAL_HOST_REDUCTION(quad_product, x* y)
METAL_HOST_REDUCTION(quad_max, metal::max(x, y))
METAL_HOST_REDUCTION(quad_min, metal::min(x, y))
#undef METAL_HOST_REDUCTION

template <typename A>
    requires detail::shared_by_lanes<A>
inline detail::value_t<A> quad_shuffle(const A& data,
                                       ushort lane,
                                       metal_host::caller caller = metal_host::caller::here()) {
    const metal_host::site where = caller.at("quad_shuffle");
    return detail::value_of_lane(metal_host::exchange(detail::value_t<A>(data), where),
                                 detail::checked_quad_lane(lane, where));
}

template <typename A>
    requires detail::shared_by_lanes<A>
inline detail::value_t<A> quad_broadcast(const A& data,
                                         ushort lane,
                                         metal_host::caller caller = metal_host::caller::here()) {
    const metal_host::site where = caller.at("quad_broadcast");
    return detail::value_of_lane(metal_host::exchange(detail::value_t<A>(data), where),
                                 detail::checked_quad_lane(lane, where));
}

template <typename A>
    requires detail::shared_by_lanes<A>
inline detail::value_t<A> quad_shuffle_xor(const A& data,
                                           ushort mask,
                                           metal_host::caller caller = metal_host::caller::here()) {
    const metal_host::site where = caller.at("quad_shuffle_xor");
    return detail::value_of_lane(metal_host::exchange(detail::value_t<A>(data), where),
                                 detail::checked_quad_lane((detail::current_lane() & 3u) ^ mask, where));
}

} // namespace metal
