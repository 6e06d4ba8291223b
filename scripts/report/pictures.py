"""The pictures of a report, one section each: pure functions from 2-D arrays to images, and from images to text.

Arrays are `(rows, columns)` with the top row first, as `Section.cut` gives them.
"""

import base64
import io
from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_gradient_magnitude, gaussian_laplace

from scripts.report.style import ACCENT, DIVERGING, FADED, GREY, LINE, LOUD

SCALE = 3  # pixels per voxel: a head of 180 mm fills a third of a desktop window
MOST_CHANGE = 3.0  # colours end where a place is three times as large, or a third

_TILE = 16  # voxels, the squares of the checkerboard
_BLUR = 1.2  # voxels, the finest detail that counts as an edge
_EDGE = 0.05  # of the brightness range per voxel: tissue borders are steeper, noise is not
_SMOOTHER = 2  # lines are drawn at this many times the size, then reduced
_QUALITY = 85


def grey_picture(image: NDArray) -> Image.Image:
    """A section in shades of grey; `image` is in [0, 1]."""
    return _coloured(GREY(_enlarged(image)))


def checkerboard_picture(fixed: NDArray, moved: NDArray) -> Image.Image:
    """Squares of both images by turns, the upper left one fixed; both are in [0, 1]."""
    rows, columns = np.indices(fixed.shape) // _TILE
    return grey_picture(np.where((rows + columns) % 2 == 0, fixed, moved))


def edges_picture(fixed: NDArray, moved: NDArray) -> Image.Image:
    """The moved image under lines where the fixed one has its edges, dimmed to show them; both are in [0, 1]."""
    pixels = GREY(_enlarged(0.75 * moved))[..., :3]
    pixels[edges(_enlarged(fixed), _BLUR * SCALE, _EDGE / SCALE)] = to_rgb(ACCENT)
    return _coloured(pixels)


def grid_picture(fixed: NDArray, lines: Sequence[NDArray]) -> Image.Image:
    """Lines, as `deformed_grid` gives them, over a faint section of the fixed image, which is in [0, 1]."""
    picture = grey_picture(0.5 * fixed).resize(
        (fixed.shape[1] * SCALE * _SMOOTHER, fixed.shape[0] * SCALE * _SMOOTHER), Image.Resampling.BICUBIC
    )
    draw = ImageDraw.Draw(picture)
    for line in lines:
        if not np.isfinite(line).all():  # the verdict tells of it, and the rest can still be seen
            continue
        points = (line + 0.5) * SCALE * _SMOOTHER
        draw.line([tuple(point) for point in points.tolist()], fill=LINE, width=_SMOOTHER + 1)
    return picture.reduce(_SMOOTHER)


def jacobian_picture(determinant: NDArray, brain: NDArray[np.bool_]) -> Image.Image:
    """Change of volume on a logarithmic scale, faint outside the brain, with folded voxels marked.

    Args:
        determinant: 1 is no change, 0 and below is folded.
        brain: where the colours are full.
    """
    folded = determinant <= 0
    change = _enlarged(np.log(np.where(folded, 1.0, determinant)))
    place = (change / np.log(MOST_CHANGE) + 1) / 2
    inside = _repeated(brain)[..., None]
    pixels = np.where(inside, DIVERGING(place), FADED(place))[..., :3]
    pixels[_repeated(folded)] = to_rgb(LOUD)
    return _coloured(pixels)


def edges(image: NDArray, blur: float, least: float) -> NDArray[np.bool_]:
    """Where an image is steepest: zero crossings of its Laplacian of Gaussian (Marr and Hildreth, 1980).

    Args:
        image: `(rows, columns)`.
        blur: standard deviation of the Gaussian, pixels.
        least: slope that an edge has, at least, per pixel.

    Returns:
        `(rows, columns)`, True on lines one or two pixels wide.
    """
    image = image.astype(np.float32)
    curved_up = gaussian_laplace(image, blur) > 0
    crossing = np.zeros(image.shape, bool)
    crossing[:, 1:] |= curved_up[:, 1:] != curved_up[:, :-1]
    crossing[1:] |= curved_up[1:] != curved_up[:-1]
    return crossing & (gaussian_gradient_magnitude(image, blur) > least)


def data_uri(picture: Image.Image) -> str:
    """A picture as JPEG inside an address, so that a page can hold it."""
    stream = io.BytesIO()
    picture.save(stream, format="JPEG", quality=_QUALITY, subsampling=0, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def _enlarged(values: NDArray) -> NDArray[np.float32]:
    """`SCALE` times the size, smoothly."""
    rows, columns = values.shape
    picture = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(picture.resize((columns * SCALE, rows * SCALE), Image.Resampling.BICUBIC))


def _repeated(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`SCALE` times the size, each voxel a square."""
    return mask.repeat(SCALE, axis=0).repeat(SCALE, axis=1)


def _coloured(pixels: NDArray) -> Image.Image:
    """`(rows, columns, 3 or 4)` in [0, 1] to an RGB image."""
    return Image.fromarray(np.round(255 * pixels[..., :3]).astype(np.uint8))
