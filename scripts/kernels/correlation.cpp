// Correlation with the 27 voxels around, and its gradient, for scripts/networks/correlation.py.
//
// Images are one item of a batch, `(channels, depth, height, width)`; one that is padded has a voxel more at each face.

#include "threads.h"

namespace {

struct Size {
    int64_t channels, depth, height, width;

    int64_t voxels() const { return depth * height * width; }
    int64_t padded_voxels() const { return (depth + 2) * (height + 2) * (width + 2); }
    // Where the row that an offset, one of 27, leads to begins in a padded channel.
    int64_t padded_row(int64_t z, int64_t y, int64_t offset) const {
        return ((z + offset / 9) * (height + 2) + y + offset / 3 % 3) * (width + 2) + offset % 3;
    }
};

template <typename Real>
void add_products(const Real* __restrict one, const Real* __restrict other, Real* __restrict sums, int64_t count) {
    for (int64_t i = 0; i < count; ++i) sums[i] += one[i] * other[i];
}

// Products of maps with the 27 voxels around each voxel of a padded image, summed. For each offset the sum over
// channels, of which `maps` has one each; or for each channel the sum over offsets, of which `maps` has one each.
template <typename Real>
void sum_products(const Real* maps, const Real* padded, Real* sums, Size size, bool over_channels, int64_t threads) {
    const int64_t results = over_channels ? 27 : size.channels, terms = over_channels ? size.channels : 27;
    in_parts(size.depth, 27 * size.voxels(), threads, [&](int64_t begin, int64_t end, int64_t) {
        for (int64_t z = begin; z < end; ++z)
            for (int64_t y = 0; y < size.height; ++y)
                for (int64_t result = 0; result < results; ++result) {
                    const int64_t row = (z * size.height + y) * size.width;
                    Real* sum = sums + result * size.voxels() + row;
                    std::fill(sum, sum + size.width, Real(0));
                    for (int64_t term = 0; term < terms; ++term) {
                        const int64_t channel = over_channels ? term : result, offset = over_channels ? result : term;
                        const Real* around = padded + channel * size.padded_voxels() + size.padded_row(z, y, offset);
                        add_products(maps + term * size.voxels() + row, around, sum, size.width);
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
    extern "C" void weigh_##Real(const Real* weights, const Real* padded, Real* image, int64_t channels,              \
                                 int64_t depth, int64_t height, int64_t width, int64_t threads) {                     \
        sum_products<Real>(weights, padded, image, {channels, depth, height, width}, false, threads);                 \
    }

EXPORT(float)
EXPORT(double)
