// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>

struct BFloat16 {  // the upper half of a float
    uint16_t bits;

    BFloat16() = default;
    BFloat16(float number) {  // rounds to nearest, ties to even
        uint32_t word;
        std::memcpy(&word, &number, sizeof word);
        const bool nan = (word & 0x7fffffff) > 0x7f800000;
        bits = nan ? 0x7fc0 : (word + 0x7fff + ((word >> 16) & 1)) >> 16;
    }
    operator float() const {
        const uint32_t word = uint32_t(bits) << 16;
        float number;
        std::memcpy(&number, &word, sizeof number);
        return number;
    }
};

// The type in which sums and products of a number type are computed.
template <typename Number> struct Exact { using Type = Number; };
template <> struct Exact<BFloat16> { using Type = float; };
