// bfloat: the upper half of a float, rounded to nearest even. MSL, 2.1 (since Metal 3.1).
//
// A class and not the compilers' __bf16, which g++ 12 lacks. Conversions from it are implicit and exact; conversions to
// it are explicit, because they round.
#pragma once

#include <stdint.h>

struct bfloat {
    bfloat() = default;
    constexpr explicit bfloat(float value) : bits_(rounded(value)) {}
    constexpr operator float() const { return __builtin_bit_cast(float, static_cast<uint32_t>(bits_) << 16); }

    friend constexpr bfloat operator+(bfloat a, bfloat b) { return bfloat(float(a) + float(b)); }
    friend constexpr bfloat operator-(bfloat a, bfloat b) { return bfloat(float(a) - float(b)); }
    friend constexpr bfloat operator*(bfloat a, bfloat b) { return bfloat(float(a) * float(b)); }
    friend constexpr bfloat operator/(bfloat a, bfloat b) { return bfloat(float(a) / float(b)); }
    friend constexpr bfloat operator-(bfloat a) { return bfloat(-float(a)); }
    constexpr bfloat& operator+=(bfloat b) { return *this = *this + b; }
    constexpr bfloat& operator-=(bfloat b) { return *this = *this - b; }
    constexpr bfloat& operator*=(bfloat b) { return *this = *this * b; }
    constexpr bfloat& operator/=(bfloat b) { return *this = *this / b; }

private:
    static constexpr uint16_t rounded(float value) {
        const uint32_t bits = __builtin_bit_cast(uint32_t, value);
        if ((bits & 0x7FFFFFFFu) > 0x7F800000u) { // NaN: made quiet, so that cutting it off cannot leave an infinity
            return static_cast<uint16_t>(bits >> 16 | 0x0040u);
        }
        const uint32_t upper_is_odd = bits >> 16 & 1u;
        return static_cast<uint16_t>((bits + 0x7FFFu + upper_is_odd) >> 16);
    }

    uint16_t bits_;
};
