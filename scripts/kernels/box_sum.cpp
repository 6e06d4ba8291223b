// SPDX-License-Identifier: Apache-2.0
// Sums over a box around each voxel, for scripts/losses/lncc.py.

#include "threads.h"

namespace {

template <typename Real> void add(const Real* __restrict numbers, Real* __restrict sums, int64_t count) {
    for (int64_t i = 0; i < count; ++i) sums[i] += numbers[i];
}

// The sum of the lines from center - radius to center + radius that lie inside the volume; a line has `length` numbers.
template <typename Real>
void sum_lines(const Real* lines, Real* sum, int64_t center, int64_t count, int64_t radius, int64_t length) {
    std::fill(sum, sum + length, Real(0));
    for (int64_t i = std::max(center - radius, int64_t(0)); i <= std::min(center + radius, count - 1); ++i)
        add(lines + i * length, sum, length);
}

// The window is cropped at the border; `partial` is a buffer of the size of `volumes`.
template <typename Real>
void box_sum(const Real* volumes, Real* partial, Real* sums, int64_t count, int64_t depth, int64_t height,
             int64_t width, int64_t window, int64_t threads) {
    const int64_t radius = window / 2, planes = count * depth, plane = height * width;
    parallel_parts(planes, planes * plane, threads, [&](int64_t begin, int64_t end, int64_t) {
        std::vector<Real> padded(width + 2 * radius), row_sums(plane);
        for (int64_t z = begin; z < end; ++z) {
            std::fill(row_sums.begin(), row_sums.end(), Real(0));
            for (int64_t y = 0; y < height; ++y) {
                const Real* row = volumes + z * plane + y * width;
                std::copy(row, row + width, padded.begin() + radius);
                for (int64_t i = 0; i < window; ++i) add(padded.data() + i, row_sums.data() + y * width, width);
            }
            for (int64_t y = 0; y < height; ++y)
                sum_lines(row_sums.data(), partial + z * plane + y * width, y, height, radius, width);
        }
    });
    parallel_parts(planes, planes * plane, threads, [&](int64_t begin, int64_t end, int64_t) {
        for (int64_t z = begin; z < end; ++z) {
            const int64_t first = z / depth * depth;
            sum_lines(partial + first * plane, sums + z * plane, z - first, depth, radius, plane);
        }
    });
}

}  // namespace

#define EXPORT(Real)                                                                                                  \
    extern "C" void box_sum_##Real(const Real* volumes, Real* partial, Real* sums, int64_t count, int64_t depth,      \
                                   int64_t height, int64_t width, int64_t window, int64_t threads) {                  \
        box_sum<Real>(volumes, partial, sums, count, depth, height, width, window, threads);                          \
    }

EXPORT(float)
EXPORT(double)
