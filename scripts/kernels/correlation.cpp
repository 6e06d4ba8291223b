// SPDX-License-Identifier: Apache-2.0
// Correlation with the 27 voxels of a 3×3×3 neighborhood, and its gradient, for scripts/networks/correlation.py.
//
// An image is one item of a batch, `(channels, depth, height, width)`; a padded one has one more voxel at each face.

#include "threads.h"

namespace {

struct Size {
    int64_t channels, depth, height, width;

    int64_t voxels() const { return depth * height * width; }
    int64_t padded_voxels() const { return (depth + 2) * (height + 2) * (width + 2); }
    // Index in a padded channel of the first voxel of row (z, y), shifted by one of the 27 offsets.
    int64_t padded_row(int64_t z, int64_t y, int64_t offset) const {
        return ((z + offset / 9) * (height + 2) + y + offset / 3 % 3) * (width + 2) + offset % 3;
    }
};

template <typename Real>
void add_products(const Real* __restrict one, const Real* __restrict other, Real* __restrict sums, int64_t count) {
    for (int64_t i = 0; i < count; ++i) sums[i] += one[i] * other[i];
}

// Sums of products of maps with the 27 shifted copies of a padded image. With over_channels, `maps` has one map per
// channel, and there is one sum over channels per offset; otherwise `maps` has one map per offset, and there is one sum
// over offsets per channel.
template <typename Real>
void sum_products(const Real* maps, const Real* padded, Real* sums, Size size, bool over_channels, int64_t threads) {
    const int64_t results = over_channels ? 27 : size.channels, terms = over_channels ? size.channels : 27;
    parallel_parts(size.depth, 27 * size.voxels(), threads, [&](int64_t begin, int64_t end, int64_t) {
        for (int64_t z = begin; z < end; ++z)
            for (int64_t y = 0; y < size.height; ++y)
                for (int64_t result = 0; result < results; ++result) {
                    const int64_t row = (z * size.height + y) * size.width;
                    Real* sum = sums + result * size.voxels() + row;
                    std::fill(sum, sum + size.width, Real(0));
                    for (int64_t term = 0; term < terms; ++term) {
                        const int64_t channel = over_channels ? term : result, offset = over_channels ? result : term;
                        const Real* shifted = padded + channel * size.padded_voxels() + size.padded_row(z, y, offset);
                        add_products(maps + term * size.voxels() + row, shifted, sum, size.width);
                    }
                }
    });
}

}  // namespace

#define EXPORT(Real)                                                                                                  \
    extern "C" void correlate_##Real(const Real* image, const Real* padded, Real* products, int64_t channels,         \
                                     int64_t depth, int64_t height, int64_t width, int64_t threads) {                 \
        sum_products<Real>(image, padded, products, {channels, depth, height, width}, true, threads);                 \
    }                                                                                                                 \
    extern "C" void correlate_backward_##Real(const Real* gradient, const Real* padded, Real* image_gradient,         \
                                              int64_t channels, int64_t depth, int64_t height, int64_t width,         \
                                              int64_t threads) {                                                      \
        sum_products<Real>(gradient, padded, image_gradient, {channels, depth, height, width}, false, threads);       \
    }

EXPORT(float)
EXPORT(double)
