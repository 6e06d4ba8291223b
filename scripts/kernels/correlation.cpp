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

// For each offset the products of both images' voxels, summed over channels.
template <typename Real> void correlate(const Real* image, const Real* padded, Real* products, Size size, int64_t threads) {
    in_parts(size.depth, 27 * size.voxels(), threads, [&](int64_t begin, int64_t end, int64_t) {
        std::vector<Real> sums(size.width);
        for (int64_t z = begin; z < end; ++z)
            for (int64_t y = 0; y < size.height; ++y)
                for (int64_t offset = 0; offset < 27; ++offset) {
                    Real* sum = sums.data();
                    std::fill(sum, sum + size.width, Real(0));
                    const int64_t row = (z * size.height + y) * size.width;
                    for (int64_t c = 0; c < size.channels; ++c) {
                        const Real* here = image + c * size.voxels() + row;
                        const Real* there = padded + c * size.padded_voxels() + size.padded_row(z, y, offset);
                        add_products(here, there, sum, size.width);
                    }
                    std::copy(sum, sum + size.width, products + offset * size.voxels() + row);
                }
    });
}

// The 27 voxels around, summed with a weight each.
template <typename Real> void weigh(const Real* weights, const Real* padded, Real* image, Size size, int64_t threads) {
    in_parts(size.depth, 27 * size.voxels(), threads, [&](int64_t begin, int64_t end, int64_t) {
        std::vector<Real> sums(size.width);
        for (int64_t z = begin; z < end; ++z)
            for (int64_t y = 0; y < size.height; ++y)
                for (int64_t c = 0; c < size.channels; ++c) {
                    Real* sum = sums.data();
                    std::fill(sum, sum + size.width, Real(0));
                    const int64_t row = (z * size.height + y) * size.width;
                    for (int64_t offset = 0; offset < 27; ++offset) {
                        const Real* weight = weights + offset * size.voxels() + row;
                        const Real* there = padded + c * size.padded_voxels() + size.padded_row(z, y, offset);
                        add_products(weight, there, sum, size.width);
                    }
                    std::copy(sum, sum + size.width, image + c * size.voxels() + row);
                }
    });
}

}  // namespace

#define EXPORT(Real)                                                                                                  \
    extern "C" void correlate_##Real(const Real* image, const Real* padded, Real* products, int64_t channels,         \
                                     int64_t depth, int64_t height, int64_t width, int64_t threads) {                 \
        correlate<Real>(image, padded, products, {channels, depth, height, width}, threads);                          \
    }                                                                                                                 \
    extern "C" void weigh_##Real(const Real* weights, const Real* padded, Real* image, int64_t channels,              \
                                 int64_t depth, int64_t height, int64_t width, int64_t threads) {                     \
        weigh<Real>(weights, padded, image, {channels, depth, height, width}, threads);                               \
    }

EXPORT(float)
EXPORT(double)
