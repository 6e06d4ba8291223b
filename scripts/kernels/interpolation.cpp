// SPDX-License-Identifier: Apache-2.0
// Linear interpolation in a volume, and its gradient, for scripts/spatial/compiled.py.
//
// A row holds the channels of a voxel in vectors of four. A field has one vector per voxel: the displacement along the
// three axes, in voxels, and 0. Positions outside the volume take the value at its border and have no gradient, as in
// grid_sample.

#include "threads.h"

namespace {

template <typename Real> struct Types;
template <> struct Types<float> {
    typedef float Vector __attribute__((vector_size(16)));
    typedef int32_t Integers __attribute__((vector_size(16)));
};
template <> struct Types<double> {
    typedef double Vector __attribute__((vector_size(32)));
    typedef int64_t Integers __attribute__((vector_size(32)));
};

struct Size {
    int64_t depth, height, width, vectors;

    int64_t plane() const { return height * width * vectors; }
    // Distance from a row to the next one along each axis; 0 along an axis of one voxel.
    int64_t z() const { return depth > 1 ? plane() : 0; }
    int64_t y() const { return height > 1 ? width * vectors : 0; }
    int64_t x() const { return width > 1 ? vectors : 0; }
};

// The sampled position of a voxel, and the eight rows around it.
template <typename Real> struct Position {
    using Vector = typename Types<Real>::Vector;
    using Integers = typename Types<Real>::Integers;

    int64_t first;    // index of the row with the lowest coordinates
    Vector upper;     // weight of the upper neighbor along each axis
    Integers inside;  // along each axis, whether the position lies strictly between the borders

    Position(Vector displacement, int64_t z, int64_t y, int64_t x, const Size& size) {
        const Vector zero = {}, last = {Real(size.depth - 1), Real(size.height - 1), Real(size.width - 1), 0};
        const Vector position = displacement + Vector{Real(z), Real(y), Real(x), 0};
        inside = (position > zero) & (position < last);
        // NaN stays NaN in `upper`, and its index stays inside the volume.
        Vector clamped = position < zero ? zero : position;
        clamped = clamped > last ? last : clamped;
        const Vector limit = last > 1 ? last - 1 : zero;
        const Integers lower = __builtin_convertvector(clamped < limit ? clamped : limit, Integers);
        upper = clamped - __builtin_convertvector(lower, Vector);
        first = ((lower[0] * size.height + lower[1]) * size.width + lower[2]) * size.vectors;
    }
};

// Linear interpolation, exact at both ends.
template <typename Vector, typename Real> Vector lerp(Vector low, Vector high, Real weight) {
    return (1 - weight) * low + weight * high;
}

template <typename Vector> auto sum(Vector v) { return (v[0] + v[1]) + (v[2] + v[3]); }

template <typename Real, typename Vector = typename Types<Real>::Vector>
void sample_slab(const Vector* image, const Vector* field, Vector* sampled, const Size& size, int64_t begin,
                 int64_t end) {
    const int64_t dz = size.z(), dy = size.y(), dx = size.x();
    field += begin * size.height * size.width;
    sampled += begin * size.plane();
    for (int64_t z = begin; z < end; ++z)
        for (int64_t y = 0; y < size.height; ++y)
            for (int64_t x = 0; x < size.width; ++x) {
                const Position<Real> position(*field++, z, y, x, size);
                const Real uz = position.upper[0], uy = position.upper[1], ux = position.upper[2];
                const Vector* row = image + position.first;
                for (const Vector* const row_end = row + size.vectors; row < row_end; ++row) {
                    const Vector a = lerp(row[0], row[dx], ux), b = lerp(row[dy], row[dy + dx], ux);
                    const Vector c = lerp(row[dz], row[dz + dx], ux);
                    const Vector d = lerp(row[dz + dy], row[dz + dy + dx], ux);
                    *sampled++ = lerp(lerp(a, b, uy), lerp(c, d, uy), uz);
                }
            }
}

// Sets the field's gradient, and adds the image's to image_gradient unless that is null.
template <typename Real, typename Vector = typename Types<Real>::Vector>
void sample_backward_slab(const Vector* image, const Vector* field, const Vector* gradient, Vector* image_gradient,
                          Vector* field_gradient, const Size& size, int64_t begin, int64_t end) {
    const int64_t dz = size.z(), dy = size.y(), dx = size.x();
    field += begin * size.height * size.width;
    field_gradient += begin * size.height * size.width;
    gradient += begin * size.plane();
    for (int64_t z = begin; z < end; ++z)
        for (int64_t y = 0; y < size.height; ++y)
            for (int64_t x = 0; x < size.width; ++x) {
                const Position<Real> position(*field++, z, y, x, size);
                const Real uz = position.upper[0], uy = position.upper[1], ux = position.upper[2];
                Vector slope_z = {}, slope_y = {}, slope_x = {};
                for (int64_t i = position.first; i < position.first + size.vectors; ++i) {
                    const Vector* row = image + i;
                    const Vector g = *gradient++;
                    const Vector a = lerp(row[0], row[dx], ux), b = lerp(row[dy], row[dy + dx], ux);
                    const Vector c = lerp(row[dz], row[dz + dx], ux);
                    const Vector d = lerp(row[dz + dy], row[dz + dy + dx], ux);
                    slope_z += g * (lerp(c, d, uy) - lerp(a, b, uy));
                    slope_y += g * lerp(b - a, d - c, uz);
                    slope_x += g * lerp(lerp(row[dx] - row[0], row[dy + dx] - row[dy], uy),
                                        lerp(row[dz + dx] - row[dz], row[dz + dy + dx] - row[dz + dy], uy), uz);
                    if (!image_gradient) continue;
                    Vector* target = image_gradient + i;
                    const Vector high = g * uz, low = g - high;
                    const Vector high_high = high * uy, high_low = high - high_high;
                    const Vector low_high = low * uy, low_low = low - low_high;
                    const Vector ta = low_low * ux, tb = low_high * ux, tc = high_low * ux, td = high_high * ux;
                    target[0] += low_low - ta, target[dy] += low_high - tb;
                    target[dz] += high_low - tc, target[dz + dy] += high_high - td;
                    target[dx] += ta, target[dy + dx] += tb, target[dz + dx] += tc, target[dz + dy + dx] += td;
                }
                const Vector slopes = {sum(slope_z), sum(slope_y), sum(slope_x), 0};
                *field_gradient++ = position.inside ? slopes : Vector{};
            }
}

template <typename Real, typename Vector = typename Types<Real>::Vector>
void sample(const Vector* image, const Vector* field, Vector* sampled, const Size& size, int64_t threads) {
    parallel_parts(size.depth, 4 * size.depth * size.plane(), threads, [&](int64_t begin, int64_t end, int64_t) {
        sample_slab<Real>(image, field, sampled, size, begin, end);
    });
}

template <typename Real, typename Vector = typename Types<Real>::Vector>
void sample_backward(const Vector* image, const Vector* field, const Vector* gradient, Vector* image_gradient,
                     Vector* field_gradient, const Size& size, int64_t threads) {
    // Slabs may write to the same planes of the image's gradient: all but the first add to a buffer of their own.
    std::vector<std::vector<Vector>> sums(threads);
    std::vector<int64_t> starts(threads);
    parallel_parts(size.depth, 4 * size.depth * size.plane(), threads, [&](int64_t begin, int64_t end, int64_t part) {
        Vector* sum = image_gradient;
        if (image_gradient && part > 0) {
            int64_t lowest = size.depth - 1, highest = 0;
            for (int64_t voxel = begin * size.height * size.width; voxel < end * size.height * size.width; ++voxel) {
                const int64_t z = voxel / (size.height * size.width);
                const int64_t plane = Position<Real>(field[voxel], z, 0, 0, size).first / size.plane();
                lowest = std::min(lowest, plane), highest = std::max(highest, plane);
            }
            starts[part] = lowest * size.plane();
            sums[part].resize((std::min(highest + 2, size.depth) - lowest) * size.plane());
            sum = sums[part].data() - starts[part];
        }
        sample_backward_slab<Real>(image, field, gradient, sum, field_gradient, size, begin, end);
    });
    for (int64_t i = 1; i < threads; ++i)
        for (size_t j = 0; j < sums[i].size(); ++j) image_gradient[starts[i] + j] += sums[i][j];
}

}  // namespace

#define EXPORT(Real)                                                                                                  \
    extern "C" void sample_##Real(const Types<Real>::Vector* image, const Types<Real>::Vector* field,                 \
                                  Types<Real>::Vector* sampled, int64_t depth, int64_t height, int64_t width,         \
                                  int64_t vectors, int64_t threads) {                                                 \
        sample<Real>(image, field, sampled, {depth, height, width, vectors}, threads);                                \
    }                                                                                                                 \
    extern "C" void sample_backward_##Real(                                                                           \
        const Types<Real>::Vector* image, const Types<Real>::Vector* field, const Types<Real>::Vector* gradient,      \
        Types<Real>::Vector* image_gradient, Types<Real>::Vector* field_gradient, int64_t depth, int64_t height,      \
        int64_t width, int64_t vectors, int64_t threads) {                                                            \
        sample_backward<Real>(image, field, gradient, image_gradient, field_gradient,                                 \
                              {depth, height, width, vectors}, threads);                                              \
    }

EXPORT(float)
EXPORT(double)
