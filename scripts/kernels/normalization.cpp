// Instance normalization and leaky ReLU in one, with their gradient, for scripts/networks/normalization.py.
//
// A volume is one item of a batch: `voxels` rows of `channels` numbers.

#include "numbers.h"
#include "threads.h"

#include <cmath>

namespace {

constexpr int64_t BLOCK = 256;  // rows that are summed up in Real before double takes over

// Sums of add(row, sums, more), which adds a row's terms to two sums for each channel.
template <typename Real, typename Add>
std::vector<double> sums_of(int64_t voxels, int64_t channels, int64_t threads, const Add& add) {
    std::vector<std::vector<double>> totals(threads, std::vector<double>(2 * channels));
    in_parts(voxels, voxels * channels, threads, [&](int64_t begin, int64_t end, int64_t number) {
        std::vector<Real> sums(2 * channels);
        for (int64_t start = begin; start < end; start += BLOCK) {
            std::fill(sums.begin(), sums.end(), Real(0));
            for (int64_t i = start; i < std::min(start + BLOCK, end); ++i) add(i, sums.data(), sums.data() + channels);
            for (int64_t c = 0; c < 2 * channels; ++c) totals[number][c] += sums[c];
        }
    });
    for (int64_t i = 1; i < threads; ++i)
        for (int64_t c = 0; c < 2 * channels; ++c) totals[0][c] += totals[i][c];
    return totals[0];
}

// What is done with a row. __restrict, that nothing overlaps, lets the compiler work on many channels at a time.

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
                  const Real* __restrict offset, const Real* __restrict of_row, const Real* __restrict constant,
                  Real slope, Number* __restrict to_row, int64_t channels) {
    for (int64_t c = 0; c < channels; ++c) {
        const Real value = row[c], rectified = gradient[c] * (value * factor[c] + offset[c] > 0 ? 1 : slope);
        to_row[c] = factor[c] * rectified + of_row[c] * value + constant[c];
    }
}

// Also gives each channel's mean, and one over its standard deviation.
template <typename Number, typename Real = typename Exact<Number>::Type>
void normalize(const Number* volume, const Real* weight, const Real* bias, Number* normalized, Real* mean, Real* scale,
               int64_t voxels, int64_t channels, double eps, double slope, int64_t threads) {
    // Differences from the first voxel: squares of the values themselves could drown their variance.
    const std::vector<Real> first(volume, volume + channels);
    const auto totals = sums_of<Real>(voxels, channels, threads, [&](int64_t i, Real* sums, Real* squares) {
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
    in_parts(voxels, voxels * channels, threads, [&](int64_t begin, int64_t end, int64_t) {
        for (int64_t i = begin; i < end; ++i)
            set_row<Number, Real>(volume + i * channels, factor.data(), offset.data(), slope,
                                  normalized + i * channels, channels);
    });
}

template <typename Number, typename Real = typename Exact<Number>::Type>
void normalize_backward(const Number* volume, const Number* gradient, const Real* weight, const Real* bias,
                        const Real* mean, const Real* scale, Number* to_volume, Real* to_weight, Real* to_bias,
                        int64_t voxels, int64_t channels, double slope, int64_t threads) {
    std::vector<Real> factor(channels), offset(channels);
    for (int64_t c = 0; c < channels; ++c) {
        factor[c] = weight[c] * scale[c];
        offset[c] = bias[c] - mean[c] * factor[c];
    }
    const auto totals = sums_of<Real>(voxels, channels, threads, [&](int64_t i, Real* sums, Real* products) {
        add_gradient<Number, Real>(volume + i * channels, gradient + i * channels, factor.data(), offset.data(), mean,
                                   slope, sums, products, channels);
    });
    std::vector<Real> of_row(channels), constant(channels);
    for (int64_t c = 0; c < channels; ++c) {
        to_bias[c] = totals[c];
        to_weight[c] = totals[channels + c] * scale[c];
        of_row[c] = -factor[c] * scale[c] * to_weight[c] / voxels;
        constant[c] = -factor[c] * totals[c] / voxels - mean[c] * of_row[c];
    }
    in_parts(voxels, voxels * channels, threads, [&](int64_t begin, int64_t end, int64_t) {
        for (int64_t i = begin; i < end; ++i)
            set_gradient<Number, Real>(volume + i * channels, gradient + i * channels, factor.data(), offset.data(),
                                       of_row.data(), constant.data(), slope, to_volume + i * channels, channels);
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
        Number* to_volume, Exact<Number>::Type* to_weight, Exact<Number>::Type* to_bias, int64_t voxels,              \
        int64_t channels, double slope, int64_t threads) {                                                            \
        normalize_backward<Number>(volume, gradient, weight, bias, mean, scale, to_volume, to_weight, to_bias,        \
                                   voxels, channels, slope, threads);                                                 \
    }

EXPORT(bfloat16, BFloat16)
EXPORT(float, float)
EXPORT(double, double)
