// Linear interpolation in a volume, and its gradient, for scripts/spatial/compiled.py.
//
// A row holds the channels of a voxel in vectors of four. A field has one vector a voxel: the displacement along the
// three axes, in voxels, and 0. Positions beyond the border have its value and no slope, as in grid_sample.

#include "threads.h"

namespace {

template <typename Real> struct Of;
template <> struct Of<float> {
    typedef float Vector __attribute__((vector_size(16)));
    typedef int32_t Whole __attribute__((vector_size(16)));
};
template <> struct Of<double> {
    typedef double Vector __attribute__((vector_size(32)));
    typedef int64_t Whole __attribute__((vector_size(32)));
};

struct Size {
    int64_t depth, height, width, vectors;

    int64_t plane() const { return height * width * vectors; }
    // From a row to the next one along each axis; an axis of one voxel has no next one.
    int64_t z() const { return depth > 1 ? plane() : 0; }
    int64_t y() const { return height > 1 ? width * vectors : 0; }
    int64_t x() const { return width > 1 ? vectors : 0; }
};

// Where a voxel's displacement points to, between eight rows.
template <typename Real> struct Position {
    using Vector = typename Of<Real>::Vector;
    using Whole = typename Of<Real>::Whole;

    int64_t first;  // of the eight
    Vector upper;   // along each axis, the share of the rows on its upper side
    Whole inside;   // along each axis, whether it lies between the borders

    Position(Vector displacement, int64_t z, int64_t y, int64_t x, const Size& size) {
        const Vector zero = {}, last = {Real(size.depth - 1), Real(size.height - 1), Real(size.width - 1), 0};
        const Vector position = displacement + Vector{Real(z), Real(y), Real(x), 0};
        inside = (position > zero) & (position < last);
        // NaN stays NaN, but is no row beyond all.
        Vector clamped = position < zero ? zero : position;
        clamped = clamped > last ? last : clamped;
        const Vector limit = last > 1 ? last - 1 : zero;
        const Whole lower = __builtin_convertvector(clamped < limit ? clamped : limit, Whole);
        upper = clamped - __builtin_convertvector(lower, Vector);
        first = ((lower[0] * size.height + lower[1]) * size.width + lower[2]) * size.vectors;
    }
};

// Exact at both ends.
template <typename Vector, typename Real> Vector between(Vector low, Vector high, Real share) {
    return (1 - share) * low + share * high;
}

template <typename Vector> auto sum(Vector v) { return (v[0] + v[1]) + (v[2] + v[3]); }

template <typename Real, typename Vector = typename Of<Real>::Vector>
void sample(const Vector* image, const Vector* field, Vector* sampled, const Size& size, int64_t begin, int64_t end) {
    const int64_t dz = size.z(), dy = size.y(), dx = size.x();
    field += begin * size.height * size.width;
    sampled += begin * size.plane();
    for (int64_t z = begin; z < end; ++z)
        for (int64_t y = 0; y < size.height; ++y)
            for (int64_t x = 0; x < size.width; ++x) {
                const Position<Real> position(*field++, z, y, x, size);
                const Real uz = position.upper[0], uy = position.upper[1], ux = position.upper[2];
                const Vector* row = image + position.first;
                for (const Vector* const end_of_row = row + size.vectors; row < end_of_row; ++row) {
                    const Vector a = between(row[0], row[dx], ux), b = between(row[dy], row[dy + dx], ux);
                    const Vector c = between(row[dz], row[dz + dx], ux);
                    const Vector d = between(row[dz + dy], row[dz + dy + dx], ux);
                    *sampled++ = between(between(a, b, uy), between(c, d, uy), uz);
                }
            }
}

// Adds to to_image, unless it is null, and sets to_field.
template <typename Real, typename Vector = typename Of<Real>::Vector>
void spread(const Vector* image, const Vector* field, const Vector* gradient, Vector* to_image, Vector* to_field,
            const Size& size, int64_t begin, int64_t end) {
    const int64_t dz = size.z(), dy = size.y(), dx = size.x();
    field += begin * size.height * size.width;
    to_field += begin * size.height * size.width;
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
                    const Vector a = between(row[0], row[dx], ux), b = between(row[dy], row[dy + dx], ux);
                    const Vector c = between(row[dz], row[dz + dx], ux);
                    const Vector d = between(row[dz + dy], row[dz + dy + dx], ux);
                    slope_z += g * (between(c, d, uy) - between(a, b, uy));
                    slope_y += g * between(b - a, d - c, uz);
                    slope_x += g * between(between(row[dx] - row[0], row[dy + dx] - row[dy], uy),
                                           between(row[dz + dx] - row[dz], row[dz + dy + dx] - row[dz + dy], uy), uz);
                    if (!to_image) continue;
                    Vector* to = to_image + i;
                    const Vector high = g * uz, low = g - high;
                    const Vector high_high = high * uy, high_low = high - high_high;
                    const Vector low_high = low * uy, low_low = low - low_high;
                    const Vector ta = low_low * ux, tb = low_high * ux, tc = high_low * ux, td = high_high * ux;
                    to[0] += low_low - ta, to[dy] += low_high - tb;
                    to[dz] += high_low - tc, to[dz + dy] += high_high - td;
                    to[dx] += ta, to[dy + dx] += tb, to[dz + dx] += tc, to[dz + dy + dx] += td;
                }
                const Vector slopes = {sum(slope_z), sum(slope_y), sum(slope_x), 0};
                *to_field++ = position.inside ? slopes : Vector{};
            }
}

template <typename Real, typename Vector = typename Of<Real>::Vector>
void sample_all(const Vector* image, const Vector* field, Vector* sampled, const Size& size, int64_t threads) {
    in_parts(size.depth, 4 * size.depth * size.plane(), threads, [&](int64_t begin, int64_t end, int64_t) {
        sample<Real>(image, field, sampled, size, begin, end);
    });
}

template <typename Real, typename Vector = typename Of<Real>::Vector>
void spread_all(const Vector* image, const Vector* field, const Vector* gradient, Vector* to_image, Vector* to_field,
                const Size& size, int64_t threads) {
    // Slabs reach into each other's planes: all but the first add up what they give in a volume of their own.
    std::vector<std::vector<Vector>> sums(threads);
    std::vector<int64_t> starts(threads);
    in_parts(size.depth, 4 * size.depth * size.plane(), threads, [&](int64_t begin, int64_t end, int64_t number) {
        Vector* to = to_image;
        if (to_image && number > 0) {
            int64_t lowest = size.depth - 1, highest = 0;
            for (int64_t voxel = begin * size.height * size.width; voxel < end * size.height * size.width; ++voxel) {
                const int64_t z = voxel / (size.height * size.width);
                const int64_t plane = Position<Real>(field[voxel], z, 0, 0, size).first / size.plane();
                lowest = std::min(lowest, plane), highest = std::max(highest, plane);
            }
            starts[number] = lowest * size.plane();
            sums[number].resize((std::min(highest + 2, size.depth) - lowest) * size.plane());
            to = sums[number].data() - starts[number];
        }
        spread<Real>(image, field, gradient, to, to_field, size, begin, end);
    });
    for (int64_t i = 1; i < threads; ++i)
        for (size_t j = 0; j < sums[i].size(); ++j) to_image[starts[i] + j] += sums[i][j];
}

}  // namespace

#define EXPORT(Real)                                                                                                  \
    extern "C" void sample_##Real(const Of<Real>::Vector* image, const Of<Real>::Vector* field,                       \
                                  Of<Real>::Vector* sampled, int64_t depth, int64_t height, int64_t width,            \
                                  int64_t vectors, int64_t threads) {                                                 \
        sample_all<Real>(image, field, sampled, {depth, height, width, vectors}, threads);                            \
    }                                                                                                                 \
    extern "C" void spread_##Real(const Of<Real>::Vector* image, const Of<Real>::Vector* field,                       \
                                  const Of<Real>::Vector* gradient, Of<Real>::Vector* to_image,                       \
                                  Of<Real>::Vector* to_field, int64_t depth, int64_t height, int64_t width,           \
                                  int64_t vectors, int64_t threads) {                                                 \
        spread_all<Real>(image, field, gradient, to_image, to_field, {depth, height, width, vectors}, threads);       \
    }

EXPORT(float)
EXPORT(double)
