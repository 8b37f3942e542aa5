// as_type<To>(x): the same bits as another type of the same size. MSL, 2.20 "Type Conversions and Re-interpreting
// Data".
#pragma once

#include "vector.h"

template <typename To, typename From>
inline To as_type(const From& from) {
    const metal::detail::value_t<From> value(from);
    static_assert(sizeof(To) == sizeof(value), "as_type needs types of the same size");
    To result;
    __builtin_memcpy(static_cast<void*>(&result), static_cast<const void*>(&value), sizeof(To));
    return result;
}
