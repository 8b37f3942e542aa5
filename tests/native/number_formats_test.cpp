// Every value of every 8- and 16-bit format, against the definitions written out.
#include "number_formats.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "check.h"

namespace {

// (-1)^sign * significand * 2^exponent from the fields of a binary format without infinities and NaN.
double decode_finite(uint32_t bits, int exponent_bits, int fraction_bits) {
    const int bias = (1 << (exponent_bits - 1)) - 1;
    const uint32_t exponent = (bits >> fraction_bits) & ((1u << exponent_bits) - 1);
    const uint32_t fraction = bits & ((1u << fraction_bits) - 1);
    const double sign = (bits >> (exponent_bits + fraction_bits)) & 1 ? -1.0 : 1.0;
    if (exponent == 0) {
        return sign * std::ldexp(fraction, 1 - bias - fraction_bits);
    }
    return sign * std::ldexp(fraction + (1u << fraction_bits), static_cast<int>(exponent) - bias - fraction_bits);
}

// The same with the largest exponent reserved, as IEEE 754 has it.
double decode_ieee(uint32_t bits, int exponent_bits, int fraction_bits) {
    const uint32_t largest_exponent = (1u << exponent_bits) - 1;
    if (((bits >> fraction_bits) & largest_exponent) != largest_exponent) {
        return decode_finite(bits, exponent_bits, fraction_bits);
    }
    if ((bits & ((1u << fraction_bits) - 1)) != 0) {
        return std::numeric_limits<double>::quiet_NaN();
    }
    const double infinity = std::numeric_limits<double>::infinity();
    return (bits >> (exponent_bits + fraction_bits)) & 1 ? -infinity : infinity;
}

bool same_value(float actual, double expected) {
    if (std::isnan(expected)) {
        return std::isnan(actual);
    }
    return actual == expected && std::signbit(actual) == std::signbit(expected);
}

// The finite half nearest to `value`, the one with an even fraction on a tie, found by search.
uint16_t nearest_half(double value) {
    const uint16_t sign = std::signbit(value) ? 0x8000u : 0u;
    const double magnitude = std::fabs(value);
    uint16_t low = 0, high = 0x7BFF; // finite halves are ordered like their bits
    while (high - low > 1) {
        const uint16_t middle = static_cast<uint16_t>((low + high) / 2);
        (decode_ieee(middle, 5, 10) <= magnitude ? low : high) = middle;
    }
    const double below = magnitude - decode_ieee(low, 5, 10);
    const double above = decode_ieee(high, 5, 10) - magnitude;
    const bool take_low = below < above || (below == above && low % 2 == 0);
    return static_cast<uint16_t>(sign | (take_low ? low : high));
}

} // namespace

TEST(all_65536_bf16_values_are_exact) {
    for (uint32_t bits = 0; bits <= 0xFFFF; bits++) {
        const float value = gptoss::bf16_to_float(static_cast<uint16_t>(bits));
        if (!same_value(value, decode_ieee(bits, 8, 7))) {
            CHECK_EQUAL(bits, ~0u);
        }
    }
}

TEST(all_65536_half_values_are_exact) {
    for (uint32_t bits = 0; bits <= 0xFFFF; bits++) {
        const float value = gptoss::half_to_float(static_cast<uint16_t>(bits));
        if (!same_value(value, decode_ieee(bits, 5, 10))) {
            CHECK_EQUAL(bits, ~0u);
        }
    }
}

TEST(every_finite_half_survives_the_way_through_fp32) {
    for (uint32_t bits = 0; bits <= 0xFFFF; bits++) {
        const uint16_t half = static_cast<uint16_t>(bits);
        if ((half & 0x7C00) != 0x7C00) {
            CHECK_EQUAL(gptoss::float_to_half(gptoss::half_to_float(half)), half);
        }
    }
}

TEST(fp32_rounds_to_the_nearest_half_and_to_even_on_ties) {
    // All signs and exponents, with fractions at, just below and just above the points where rounding changes.
    const uint32_t tails[] = {0x0, 0x1, 0xFFF, 0x1000, 0x1001, 0x1FFF};
    for (uint32_t sign_and_exponent = 0; sign_and_exponent < 512; sign_and_exponent++) {
        if ((sign_and_exponent & 0xFF) == 0xFF) {
            continue; // infinities and NaN have their own test
        }
        for (uint32_t head = 0; head < 1024; head += 31) {
            for (const uint32_t tail : tails) {
                const float value = std::bit_cast<float>(sign_and_exponent << 23 | head << 13 | tail);
                CHECK_EQUAL(gptoss::float_to_half(value), nearest_half(value));
            }
        }
    }
}

TEST(halfway_between_subnormal_halves_rounds_to_even) {
    for (uint32_t units = 0; units < 2048; units++) {
        const float halfway = std::ldexp(static_cast<float>(units) + 0.5f, -24);
        CHECK_EQUAL(gptoss::float_to_half(halfway), nearest_half(halfway));
        CHECK_EQUAL(gptoss::float_to_half(-halfway), nearest_half(-halfway));
    }
}

TEST(values_beyond_the_range_of_half_saturate) {
    for (const float value : {65504.0f, 65519.0f, 65520.0f, 1e30f, std::numeric_limits<float>::infinity()}) {
        CHECK_EQUAL(gptoss::float_to_half(value), 0x7BFF);
        CHECK_EQUAL(gptoss::float_to_half(-value), 0xFBFF);
    }
}

TEST(nan_stays_nan_as_half) {
    CHECK(std::isnan(gptoss::half_to_float(gptoss::float_to_half(std::numeric_limits<float>::quiet_NaN()))));
}

TEST(mxfp4_values_are_exact_for_all_scales_and_codes) {
    for (int byte = 0; byte < 256; byte++) {
        // The file stores the checkpoint's scale byte plus 14.
        const float scale = gptoss::mxfp4_stored_scale_to_float(static_cast<uint8_t>(byte));
        CHECK_EQUAL(scale, std::ldexp(1.0, byte - 141));
        for (uint32_t code = 0; code < 16; code++) {
            const float value = gptoss::mxfp4_code_to_float(code);
            CHECK(same_value(value, decode_finite(code, 2, 1)));
            CHECK_EQUAL(static_cast<double>(value) * scale, std::ldexp(static_cast<double>(value), byte - 141));
        }
    }
}
