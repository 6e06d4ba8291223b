// SPDX-License-Identifier: Apache-2.0
// Linear resampling to another grid over the same extent, and its gradient, for scripts/spatial/resize.py.
//
// A volume is an array of outer × depth × height × width × inner numbers; channels are part of `outer` or `inner`.

#include "numbers.h"
#include "threads.h"

#include <cmath>

namespace {

struct Term {
    int64_t voxel;
    double weight;
};
using Terms = std::vector<std::vector<Term>>;  // for each voxel of the result the weighted voxels that it sums

// Linear interpolation as torch's interpolate computes it without align_corners.
Terms interpolation(int64_t length, int64_t resized) {
    Terms terms(resized);
    for (int64_t i = 0; i < resized; ++i) {
        const double position = std::max((i + 0.5) * length / resized - 0.5, 0.0);
        const int64_t lower = std::min(int64_t(position), length - 1);
        const double upper = lower < length - 1 ? position - lower : 0;
        terms[i].push_back({lower, 1 - upper});
        if (upper > 0) terms[i].push_back({lower + 1, upper});
    }
    return terms;
}

Terms transposed(const Terms& terms, int64_t length) {
    Terms result(length);
    for (int64_t i = 0; i < int64_t(terms.size()); ++i)
        for (const Term& term : terms[i]) result[term.voxel].push_back({i, term.weight});
    return result;
}

template <typename Real, typename From>
void add(const From* __restrict line, Real weight, Real* __restrict sum, int64_t length) {
    for (int64_t i = 0; i < length; ++i) sum[i] += weight * line[i];
}

// Sums the terms along one axis; `inner` is the product of the sizes of all later axes.
template <typename Real, typename From, typename To>
void combine(const From* volume, To* result, const Terms& terms, int64_t outer, int64_t length, int64_t inner,
             int64_t threads) {
    constexpr int64_t piece = 2048;  // numbers that fit the L1 cache
    const int64_t lines = terms.size();
    parallel_parts(outer * lines, outer * lines * inner, threads, [&](int64_t begin, int64_t end, int64_t) {
        Real sum[piece];
        for (int64_t line = begin; line < end; ++line) {
            if (inner == 1) {
                Real total = 0;
                for (const Term& term : terms[line % lines])
                    total += Real(term.weight) * volume[line / lines * length + term.voxel];
                result[line] = total;
                continue;
            }
            for (int64_t start = 0; start < inner; start += piece) {
                const int64_t count = std::min(piece, inner - start);
                std::fill(sum, sum + count, Real(0));
                for (const Term& term : terms[line % lines]) {
                    const From* from = volume + (line / lines * length + term.voxel) * inner + start;
                    add<Real, From>(from, term.weight, sum, count);
                }
                std::copy(sum, sum + count, result + line * inner + start);
            }
        }
    });
}

template <typename Number, typename Real = typename Exact<Number>::Type>
void resize(const Number* volume, Number* resized, int64_t outer, int64_t depth, int64_t height, int64_t width,
            int64_t inner, int64_t new_depth, int64_t new_height, int64_t new_width, int64_t threads) {
    // The innermost axis first: the smallest buffers.
    std::vector<Real> wide(outer * depth * height * new_width * inner);
    std::vector<Real> high(outer * depth * new_height * new_width * inner);
    combine<Real>(volume, wide.data(), interpolation(width, new_width), outer * depth * height, width, inner, threads);
    combine<Real>(wide.data(), high.data(), interpolation(height, new_height), outer * depth, height, new_width * inner,
                  threads);
    combine<Real>(high.data(), resized, interpolation(depth, new_depth), outer, depth, new_height * new_width * inner,
                  threads);
}

template <typename Number, typename Real = typename Exact<Number>::Type>
void resize_backward(const Number* gradient, Number* volume_gradient, int64_t outer, int64_t depth, int64_t height,
                     int64_t width, int64_t inner, int64_t new_depth, int64_t new_height, int64_t new_width,
                     int64_t threads) {
    std::vector<Real> high(outer * depth * new_height * new_width * inner);
    std::vector<Real> wide(outer * depth * height * new_width * inner);
    combine<Real>(gradient, high.data(), transposed(interpolation(depth, new_depth), depth), outer, new_depth,
                  new_height * new_width * inner, threads);
    combine<Real>(high.data(), wide.data(), transposed(interpolation(height, new_height), height), outer * depth,
                  new_height, new_width * inner, threads);
    combine<Real>(wide.data(), volume_gradient, transposed(interpolation(width, new_width), width),
                  outer * depth * height, new_width, inner, threads);
}

}  // namespace

#define EXPORT(name, Number)                                                                                          \
    extern "C" void resize_##name(const Number* volume, Number* resized, int64_t outer, int64_t depth,                \
                                  int64_t height, int64_t width, int64_t inner, int64_t new_depth,                    \
                                  int64_t new_height, int64_t new_width, int64_t threads) {                           \
        resize<Number>(volume, resized, outer, depth, height, width, inner, new_depth, new_height, new_width,         \
                       threads);                                                                                      \
    }                                                                                                                 \
    extern "C" void resize_backward_##name(const Number* gradient, Number* volume_gradient, int64_t outer,            \
                                           int64_t depth, int64_t height, int64_t width, int64_t inner,               \
                                           int64_t new_depth, int64_t new_height, int64_t new_width,                  \
                                           int64_t threads) {                                                         \
        resize_backward<Number>(gradient, volume_gradient, outer, depth, height, width, inner, new_depth, new_height, \
                                new_width, threads);                                                                  \
    }

EXPORT(bfloat16, BFloat16)
EXPORT(float, float)
EXPORT(double, double)
