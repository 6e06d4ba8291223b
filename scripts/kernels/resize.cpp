// Linear resampling to another grid over the same extent, and its gradient, for scripts/spatial/resize.py.
//
// A volume is `outer` times depth × height × width voxels of `inner` numbers: channels are the one or the other.

#include "numbers.h"
#include "threads.h"

#include <cmath>

namespace {

struct Share {
    int64_t voxel;
    double weight;
};
using Shares = std::vector<std::vector<Share>>;  // for each voxel of a result what it takes

// As torch's interpolate has them, without align_corners.
Shares shares_of(int64_t length, int64_t resized) {
    Shares shares(resized);
    for (int64_t i = 0; i < resized; ++i) {
        const double position = std::max((i + 0.5) * length / resized - 0.5, 0.0);
        const int64_t lower = std::min(int64_t(position), length - 1);
        const double upper = lower < length - 1 ? position - lower : 0;
        shares[i].push_back({lower, 1 - upper});
        if (upper > 0) shares[i].push_back({lower + 1, upper});
    }
    return shares;
}

Shares transposed(const Shares& shares, int64_t length) {
    Shares result(length);
    for (int64_t i = 0; i < int64_t(shares.size()); ++i)
        for (const Share& share : shares[i]) result[share.voxel].push_back({i, share.weight});
    return result;
}

template <typename Real, typename From>
void add(const From* __restrict line, Real weight, Real* __restrict sum, int64_t length) {
    for (int64_t i = 0; i < length; ++i) sum[i] += weight * line[i];
}

// Along one axis; `inner` is all that lies behind it.
template <typename Real, typename From, typename To>
void combine(const From* volume, To* result, const Shares& shares, int64_t outer, int64_t length, int64_t inner,
             int64_t threads) {
    constexpr int64_t piece = 2048;  // stays in the nearest cache
    const int64_t lines = shares.size();
    in_parts(outer * lines, outer * lines * inner, threads, [&](int64_t begin, int64_t end, int64_t) {
        Real sum[piece];
        for (int64_t line = begin; line < end; ++line) {
            if (inner == 1) {
                Real total = 0;
                for (const Share& share : shares[line % lines])
                    total += Real(share.weight) * volume[line / lines * length + share.voxel];
                result[line] = total;
                continue;
            }
            for (int64_t start = 0; start < inner; start += piece) {
                const int64_t count = std::min(piece, inner - start);
                std::fill(sum, sum + count, Real(0));
                for (const Share& share : shares[line % lines]) {
                    const From* from = volume + (line / lines * length + share.voxel) * inner + start;
                    add<Real, From>(from, share.weight, sum, count);
                }
                std::copy(sum, sum + count, result + line * inner + start);
            }
        }
    });
}

template <typename Number, typename Real = typename Exact<Number>::Type>
void resize(const Number* volume, Number* resized, int64_t outer, int64_t depth, int64_t height, int64_t width,
            int64_t inner, int64_t new_depth, int64_t new_height, int64_t new_width, int64_t threads) {
    // Small volumes first.
    std::vector<Real> wide(outer * depth * height * new_width * inner);
    std::vector<Real> high(outer * depth * new_height * new_width * inner);
    combine<Real>(volume, wide.data(), shares_of(width, new_width), outer * depth * height, width, inner, threads);
    combine<Real>(wide.data(), high.data(), shares_of(height, new_height), outer * depth, height, new_width * inner,
                  threads);
    combine<Real>(high.data(), resized, shares_of(depth, new_depth), outer, depth, new_height * new_width * inner,
                  threads);
}

template <typename Number, typename Real = typename Exact<Number>::Type>
void resize_backward(const Number* gradient, Number* to_volume, int64_t outer, int64_t depth, int64_t height,
                     int64_t width, int64_t inner, int64_t new_depth, int64_t new_height, int64_t new_width,
                     int64_t threads) {
    std::vector<Real> high(outer * depth * new_height * new_width * inner);
    std::vector<Real> wide(outer * depth * height * new_width * inner);
    combine<Real>(gradient, high.data(), transposed(shares_of(depth, new_depth), depth), outer, new_depth,
                  new_height * new_width * inner, threads);
    combine<Real>(high.data(), wide.data(), transposed(shares_of(height, new_height), height), outer * depth,
                  new_height, new_width * inner, threads);
    combine<Real>(wide.data(), to_volume, transposed(shares_of(width, new_width), width), outer * depth * height,
                  new_width, inner, threads);
}

}  // namespace

#define EXPORT(name, Number)                                                                                          \
    extern "C" void resize_##name(const Number* volume, Number* resized, int64_t outer, int64_t depth,                \
                                  int64_t height, int64_t width, int64_t inner, int64_t new_depth,                    \
                                  int64_t new_height, int64_t new_width, int64_t threads) {                           \
        resize<Number>(volume, resized, outer, depth, height, width, inner, new_depth, new_height, new_width,         \
                       threads);                                                                                      \
    }                                                                                                                 \
    extern "C" void resize_backward_##name(const Number* gradient, Number* to_volume, int64_t outer, int64_t depth,   \
                                           int64_t height, int64_t width, int64_t inner, int64_t new_depth,           \
                                           int64_t new_height, int64_t new_width, int64_t threads) {                  \
        resize_backward<Number>(gradient, to_volume, outer, depth, height, width, inner, new_depth, new_height,       \
                                new_width, threads);                                                                  \
    }

EXPORT(bfloat16, BFloat16)
EXPORT(float, float)
EXPORT(double, double)
