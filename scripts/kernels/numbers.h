#pragma once

#include <cstdint>
#include <cstring>

struct BFloat16 {  // the upper half of a float
    uint16_t bits;

    BFloat16() = default;
    BFloat16(float number) {  // to the nearest, to even if there are two
        uint32_t whole;
        std::memcpy(&whole, &number, sizeof whole);
        const bool nan = (whole & 0x7fffffff) > 0x7f800000;
        bits = nan ? 0x7fc0 : (whole + 0x7fff + ((whole >> 16) & 1)) >> 16;
    }
    operator float() const {
        const uint32_t whole = uint32_t(bits) << 16;
        float number;
        std::memcpy(&number, &whole, sizeof number);
        return number;
    }
};

// What numbers of a type are computed in.
template <typename Number> struct Exact { using Type = Number; };
template <> struct Exact<BFloat16> { using Type = float; };
