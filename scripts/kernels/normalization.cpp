// SPDX-License-Identifier: Apache-2.0
// Fused instance normalization and leaky ReLU, with their gradient, for scripts/networks/normalization.py.
//
// A volume is one item of a batch: `voxels` rows of `channels` numbers.

#include "numbers.h"
#include "threads.h"

#include <cmath>

namespace {

constexpr int64_t BLOCK = 256;  // rows that are summed in Real before the sums are added up in double

// Two sums per channel over all rows; add(row, first_sums, second_sums) adds the terms of one row.
template <typename Real, typename Add>
std::vector<double> channel_sums(int64_t voxels, int64_t channels, int64_t threads, const Add& add) {
    std::vector<std::vector<double>> totals(threads, std::vector<double>(2 * channels));
    parallel_parts(voxels, voxels * channels, threads, [&](int64_t begin, int64_t end, int64_t part) {
        std::vector<Real> sums(2 * channels);
        for (int64_t start = begin; start < end; start += BLOCK) {
            std::fill(sums.begin(), sums.end(), Real(0));
            for (int64_t i = start; i < std::min(start + BLOCK, end); ++i) add(i, sums.data(), sums.data() + channels);
            for (int64_t c = 0; c < 2 * channels; ++c) totals[part][c] += sums[c];
        }
    });
    for (int64_t i = 1; i < threads; ++i)
        for (int64_t c = 0; c < 2 * channels; ++c) totals[0][c] += totals[i][c];
    return totals[0];
}

// Operations on one row. __restrict, which promises that nothing overlaps, lets the compiler vectorize over channels.

template <typename Number, typename Real>
void add_row(const Number* __restrict row, const Real* __restrict first, Real* __restrict sums,
             Real* __restrict squares, int64_t channels) {
    for (int64_t c = 0; c < channels; ++c) {
        const Real difference = row[c] - first[c];
        sums[c] += difference, squares[c] += difference * difference;
    }
}

template <typename Number, typename Real>
void set_row(const Number* __restrict row, const Real* __restrict factor, const Real* __restrict offset, Real slope,
             Number* __restrict normalized, int64_t channels) {
    for (int64_t c = 0; c < channels; ++c) {
        const Real value = row[c] * factor[c] + offset[c];
        normalized[c] = value > 0 ? value : slope * value;
    }
}

template <typename Number, typename Real>
void add_gradient(const Number* __restrict row, const Number* __restrict gradient, const Real* __restrict factor,
                  const Real* __restrict offset, const Real* __restrict mean, Real slope, Real* __restrict sums,
                  Real* __restrict products, int64_t channels) {
    for (int64_t c = 0; c < channels; ++c) {
        const Real value = row[c], rectified = gradient[c] * (value * factor[c] + offset[c] > 0 ? 1 : slope);
        sums[c] += rectified, products[c] += rectified * (value - mean[c]);
    }
}

template <typename Number, typename Real>
void set_gradient(const Number* __restrict row, const Number* __restrict gradient, const Real* __restrict factor,
                  const Real* __restrict offset, const Real* __restrict linear, const Real* __restrict constant,
                  Real slope, Number* __restrict row_gradient, int64_t channels) {
    for (int64_t c = 0; c < channels; ++c) {
        const Real value = row[c], rectified = gradient[c] * (value * factor[c] + offset[c] > 0 ? 1 : slope);
        row_gradient[c] = factor[c] * rectified + linear[c] * value + constant[c];
    }
}

// Also sets each channel's mean and the reciprocal of its standard deviation.
template <typename Number, typename Real = typename Exact<Number>::Type>
void normalize(const Number* volume, const Real* weight, const Real* bias, Number* normalized, Real* mean, Real* scale,
               int64_t voxels, int64_t channels, double eps, double slope, int64_t threads) {
    // Differences from the first voxel: sums of squares of large values would lose the digits of a small variance.
    const std::vector<Real> first(volume, volume + channels);
    const auto totals = channel_sums<Real>(voxels, channels, threads, [&](int64_t i, Real* sums, Real* squares) {
        add_row<Number, Real>(volume + i * channels, first.data(), sums, squares, channels);
    });
    std::vector<Real> factor(channels), offset(channels);
    for (int64_t c = 0; c < channels; ++c) {
        const double shift = totals[c] / voxels;
        mean[c] = first[c] + shift;
        scale[c] = 1 / std::sqrt(totals[channels + c] / voxels - shift * shift + eps);
        factor[c] = weight[c] * scale[c];
        offset[c] = bias[c] - mean[c] * factor[c];
    }
    parallel_parts(voxels, voxels * channels, threads, [&](int64_t begin, int64_t end, int64_t) {
        for (int64_t i = begin; i < end; ++i)
            set_row<Number, Real>(volume + i * channels, factor.data(), offset.data(), slope,
                                  normalized + i * channels, channels);
    });
}

template <typename Number, typename Real = typename Exact<Number>::Type>
void normalize_backward(const Number* volume, const Number* gradient, const Real* weight, const Real* bias,
                        const Real* mean, const Real* scale, Number* volume_gradient, Real* weight_gradient,
                        Real* bias_gradient, int64_t voxels, int64_t channels, double slope, int64_t threads) {
    std::vector<Real> factor(channels), offset(channels);
    for (int64_t c = 0; c < channels; ++c) {
        factor[c] = weight[c] * scale[c];
        offset[c] = bias[c] - mean[c] * factor[c];
    }
    const auto totals = channel_sums<Real>(voxels, channels, threads, [&](int64_t i, Real* sums, Real* products) {
        add_gradient<Number, Real>(volume + i * channels, gradient + i * channels, factor.data(), offset.data(), mean,
                                   slope, sums, products, channels);
    });
    std::vector<Real> linear(channels), constant(channels);
    for (int64_t c = 0; c < channels; ++c) {
        bias_gradient[c] = totals[c];
        weight_gradient[c] = totals[channels + c] * scale[c];
        linear[c] = -factor[c] * scale[c] * weight_gradient[c] / voxels;
        constant[c] = -factor[c] * totals[c] / voxels - mean[c] * linear[c];
    }
    parallel_parts(voxels, voxels * channels, threads, [&](int64_t begin, int64_t end, int64_t) {
        for (int64_t i = begin; i < end; ++i)
            set_gradient<Number, Real>(volume + i * channels, gradient + i * channels, factor.data(), offset.data(),
                                       linear.data(), constant.data(), slope, volume_gradient + i * channels, channels);
    });
}

}  // namespace

#define EXPORT(name, Number)                                                                                          \
    extern "C" void normalize_##name(const Number* volume, const Exact<Number>::Type* weight,                         \
                                     const Exact<Number>::Type* bias, Number* normalized, Exact<Number>::Type* mean,  \
                                     Exact<Number>::Type* scale, int64_t voxels, int64_t channels, double eps,        \
                                     double slope, int64_t threads) {                                                 \
        normalize<Number>(volume, weight, bias, normalized, mean, scale, voxels, channels, eps, slope, threads);      \
    }                                                                                                                 \
    extern "C" void normalize_backward_##name(                                                                        \
        const Number* volume, const Number* gradient, const Exact<Number>::Type* weight,                              \
        const Exact<Number>::Type* bias, const Exact<Number>::Type* mean, const Exact<Number>::Type* scale,           \
        Number* volume_gradient, Exact<Number>::Type* weight_gradient, Exact<Number>::Type* bias_gradient,            \
        int64_t voxels, int64_t channels, double slope, int64_t threads) {                                            \
        normalize_backward<Number>(volume, gradient, weight, bias, mean, scale, volume_gradient, weight_gradient,     \
                                   bias_gradient, voxels, channels, slope, threads);                                  \
    }

EXPORT(bfloat16, BFloat16)
EXPORT(float, float)
EXPORT(double, double)
