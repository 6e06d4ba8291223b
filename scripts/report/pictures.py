# SPDX-License-Identifier: Apache-2.0
"""The pictures of a report, one section each: functions from 2-D arrays to images.

Arrays are `(rows, columns)` with the top row first, as `Section.cut` gives them.
"""

import base64
import io
from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import binary_erosion, gaussian_gradient_magnitude, gaussian_laplace

from scripts.report.style import AMBER, BLUE, DIM_DIVERGING, DIVERGING, GRAY, MAGENTA, QUALITY

SCALE = 3  # pixels per voxel: a head of 180 mm fills a third of a desktop window
LARGEST_CHANGE = 3.0  # the color scale ends at three times the volume, and at a third of it

_SQUARE = 16  # voxels along the edge of a checkerboard square
_BLUR = 1.2  # voxels: standard deviation of the Gaussian before edges are found
_SLOPE = 0.05  # intensity per voxel that an edge has at least: tissue borders are steeper, noise is not
_OUTLINE = 2  # pixels: width of the outline of a mask
_SUPERSAMPLING = 2  # lines are drawn at this many times the size, then reduced
_QUALITY = 85  # of the JPEG images, 1 to 95


def gray_picture(image: NDArray) -> Image.Image:
    """A section in shades of gray; `image` is in [0, 1]."""
    return _rgb_image(GRAY(_enlarged(image)))


def checkerboard_picture(fixed: NDArray, moved: NDArray) -> Image.Image:
    """Alternating squares of both images, the upper left one fixed; both are in [0, 1]."""
    rows, columns = np.indices(fixed.shape) // _SQUARE
    return gray_picture(np.where((rows + columns) % 2 == 0, fixed, moved))


def edges_picture(fixed: NDArray, moved: NDArray) -> Image.Image:
    """Edges of the fixed image drawn over the moved one, which is darkened; both are in [0, 1]."""
    pixels = GRAY(_enlarged(0.75 * moved))[..., :3]
    pixels[edges(_enlarged(fixed), _BLUR * SCALE, _SLOPE / SCALE)] = to_rgb(AMBER)
    return _rgb_image(pixels)


def outline_picture(image: NDArray, mask: NDArray[np.bool_]) -> Image.Image:
    """The outline of a mask drawn on an image in [0, 1]."""
    pixels = GRAY(_enlarged(image))[..., :3]
    inside = _enlarged(mask) > 0.5
    pixels[inside & ~binary_erosion(inside, iterations=_OUTLINE)] = to_rgb(AMBER)
    return _rgb_image(pixels)


def grid_picture(fixed: NDArray, lines: Sequence[NDArray]) -> Image.Image:
    """Lines, as `deformed_grid` gives them, over a darkened section of the fixed image, which is in [0, 1]."""
    picture = gray_picture(0.5 * fixed).resize(
        (fixed.shape[1] * SCALE * _SUPERSAMPLING, fixed.shape[0] * SCALE * _SUPERSAMPLING), Image.Resampling.BICUBIC
    )
    draw = ImageDraw.Draw(picture)
    for line in lines:
        if not np.isfinite(line).all():  # the verdict reports it; the other lines are still drawn
            continue
        points = (line + 0.5) * SCALE * _SUPERSAMPLING
        draw.line([tuple(point) for point in points.tolist()], fill=BLUE, width=_SUPERSAMPLING + 1)
    return picture.reduce(_SUPERSAMPLING)


def jacobian_picture(determinant: NDArray, brain: NDArray[np.bool_]) -> Image.Image:
    """Change of volume on a logarithmic color scale, dim outside the brain, with folded voxels marked.

    Args:
        determinant: Jacobian determinant, `(rows, columns)`; 1 is no change, 0 and below is folded.
        brain: mask of the brain, the same shape.
    """
    folded = determinant <= 0
    change = _enlarged(np.log(np.where(folded, 1.0, determinant)))
    position = (change / np.log(LARGEST_CHANGE) + 1) / 2
    inside = _repeated(brain)[..., None]
    pixels = np.where(inside, DIVERGING(position), DIM_DIVERGING(position))[..., :3]
    pixels[_repeated(folded)] = to_rgb(MAGENTA)
    return _rgb_image(pixels)


def quality_picture(fixed: NDArray, quality: NDArray, brain: NDArray[np.bool_]) -> Image.Image:
    """Quality in colors over the fixed image where the brain is; both are in [0, 1]."""
    pixels, colors = (
        GRAY(_enlarged(fixed))[..., :3],
        QUALITY(quality.repeat(SCALE, axis=0).repeat(SCALE, axis=1))[..., :3],
    )
    inside = _repeated(brain)
    pixels[inside] = 0.4 * pixels[inside] + 0.6 * colors[inside]
    return _rgb_image(pixels)


def edges(image: NDArray, blur: float, slope: float) -> NDArray[np.bool_]:
    """Edges of an image: zero crossings of its Laplacian of Gaussian (Marr and Hildreth, 1980).

    Args:
        image: intensities, `(rows, columns)`.
        blur: standard deviation of the Gaussian, pixels.
        slope: gradient magnitude that an edge exceeds, intensity per pixel.

    Returns:
        `(rows, columns)`, True on lines one or two pixels wide.
    """
    image = image.astype(np.float32)
    curved_up = gaussian_laplace(image, blur) > 0
    crossing = np.zeros(image.shape, bool)
    crossing[:, 1:] |= curved_up[:, 1:] != curved_up[:, :-1]
    crossing[1:] |= curved_up[1:] != curved_up[:-1]
    return crossing & (gaussian_gradient_magnitude(image, blur) > slope)


def data_uri(picture: Image.Image) -> str:
    """A picture as a `data:` URI of a JPEG, which a page can contain."""
    stream = io.BytesIO()
    picture.save(stream, format="JPEG", quality=_QUALITY, subsampling=0, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def _enlarged(values: NDArray) -> NDArray[np.float32]:
    """Values at `SCALE` times the size, interpolated by cubic convolution."""
    rows, columns = values.shape
    picture = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(picture.resize((columns * SCALE, rows * SCALE), Image.Resampling.BICUBIC))


def _repeated(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask at `SCALE` times the size, each voxel a square."""
    return mask.repeat(SCALE, axis=0).repeat(SCALE, axis=1)


def _rgb_image(pixels: NDArray) -> Image.Image:
    """RGB image of pixels `(rows, columns, 3 or 4)` in [0, 1]; a fourth channel is left out."""
    return Image.fromarray(np.round(255 * pixels[..., :3]).astype(np.uint8))
