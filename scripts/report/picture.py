"""One picture that tells whether a registration worked: images, differences and field in three planes."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.colors import ListedColormap
from numpy.typing import NDArray
from torch import Tensor

from scripts.report.page import Page
from scripts.report.sections import best_sections, deformed_grid
from scripts.report.style import DIVERGING, FADED, GREY, LINE, LOUD
from scripts.spatial import jacobian_determinant

_BRAIN = 0.05  # part of an image's brightness range that is brighter than the background


def registration_picture(
    path: str | os.PathLike[str],
    fixed: Tensor | NDArray,
    moving: Tensor | NDArray,
    moved: Tensor | NDArray,
    field: Tensor | NDArray,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    title: str = "",
) -> None:
    """Draw fixed, moving and moved image, the differences before and after, the deformed grid and the log-Jacobian.

    Rows are the axial, coronal and sagittal section with most brain. Each image is scaled to its own brightness range
    (the moved one to the moving one's), and differences are parts of that range. The deformed grid shows the
    pull-back: regular lines `x` of the fixed grid, drawn where the moving image is read, at `x + u(x)`. A positive
    log-Jacobian is a place that is larger in the moving image than in the fixed one; folded voxels (determinant of 0
    or less) are marked. Brain is what is brighter in the fixed image than 5 % of its range.

    Args:
        path: the PNG to write, 1600 pixels wide.
        fixed: `(X, Y, Z)` on RAS axes, skull-stripped, the background darkest.
        moving: the same shape, on the same grid.
        moved: the moving image, warped.
        field: `(3, X, Y, Z)`, voxels; every size at least 3.
        spacing: of the voxels, mm.
        title: what was registered, in a few words.

    Raises:
        ValueError: for shapes that do not fit each other.
    """
    fixed, moving, moved, field = (_array(volume) for volume in (fixed, moving, moved, field))
    if fixed.ndim != 3 or not fixed.shape == moving.shape == moved.shape or field.shape != (3, *fixed.shape):
        raise ValueError(
            "expected three images (X, Y, Z) and a field (3, X, Y, Z), got "
            f"{fixed.shape}, {moving.shape}, {moved.shape} and {field.shape}"
        )
    result = _judge(fixed, moving, moved, field)
    page = Page(
        best_sections(result.brain, result.brain | (result.moving > _BRAIN), spacing),
        columns=7,
        title=title,
        note="Neurological view: the patient's left is on the left.\n"
        "Grid: where the moving image is read, x + u(x).  Numbers: inside the fixed brain.",
    )
    _write_heads(page, result, spacing)
    _draw_columns(page, result)
    page.save(path)


@dataclass(frozen=True)
class _Result:
    """What there is to see, each `(X, Y, Z)` but the field: images scaled to their range, differences of those."""

    fixed: NDArray
    moving: NDArray
    moved: NDArray
    field: NDArray
    before: NDArray
    after: NDArray
    brain: NDArray[np.bool_]
    folded: NDArray[np.bool_]
    log_jacobian: NDArray  # 0 where folded


def _judge(fixed: NDArray, moving: NDArray, moved: NDArray, field: NDArray) -> _Result:
    moving_range = _brightness(moving)
    fixed = _scaled(fixed, _brightness(fixed))
    moving = _scaled(moving, moving_range)
    moved = _scaled(moved, moving_range)
    determinant = _determinant(field)
    folded = determinant <= 0
    return _Result(
        fixed=fixed,
        moving=moving,
        moved=moved,
        field=field,
        before=moving - fixed,
        after=moved - fixed,
        brain=fixed > _BRAIN,
        folded=folded,
        log_jacobian=np.log(np.where(folded, 1.0, determinant)),
    )


def _write_heads(page: Page, result: _Result, spacing: Sequence[float]) -> None:
    brain = result.brain
    lengths = np.linalg.norm(result.field * np.reshape(spacing, (3, 1, 1, 1)), axis=0)
    folded = _mean(result.folded, brain)
    page.head(0, "fixed")
    page.head(1, "moving")
    page.head(2, "moved")
    page.head(3, "difference before", f"mean |moving − fixed|  {_mean(np.abs(result.before), brain):.3f}")
    page.head(4, "difference after", f"mean |moved − fixed|  {_mean(np.abs(result.after), brain):.3f}")
    page.head(5, "deformed grid", f"mean |u|  {_mean(lengths, brain):.1f} mm")
    page.head(6, "log-Jacobian", f"folded  {100 * folded:.2g} % of the brain", alarm=folded > 0)


def _draw_columns(page: Page, result: _Result) -> None:
    grey = {"cmap": GREY, "vmin": 0.0, "vmax": 1.0}
    difference = _symmetric(result.before, result.brain, at_least=0.05)
    change = _symmetric(result.log_jacobian, result.brain, at_least=0.1)
    for row, section in enumerate(page.sections):
        page.image(row, 0, result.fixed, **grey)
        page.image(row, 1, result.moving, **grey)
        page.image(row, 2, result.moved, **grey)
        page.image(row, 3, result.before, cmap=DIVERGING, **difference)
        after = page.image(row, 4, result.after, cmap=DIVERGING, **difference)
        page.image(row, 5, result.fixed, alpha=0.5, **grey)
        page.lines(row, 5, deformed_grid(section, result.field), LINE)
        page.image(row, 6, result.log_jacobian, cmap=FADED, **change)
        jacobian = page.image(row, 6, np.ma.masked_array(result.log_jacobian, ~result.brain), cmap=DIVERGING, **change)
        marks = np.ma.masked_equal(result.folded, False)
        page.image(row, 6, marks, cmap=ListedColormap([LOUD]), interpolation="nearest")
    page.scale(after, 3, 2, "darker  ←  than fixed, as part of the brightness range  →  brighter")
    page.scale(jacobian, 6, 1, "smaller  ←  in moving  →  larger")


def _array(volume: Tensor | NDArray) -> NDArray[np.float32]:
    values = volume.detach().cpu().numpy() if isinstance(volume, Tensor) else volume
    return np.ascontiguousarray(values, dtype=np.float32)


def _brightness(image: NDArray) -> tuple[float, float]:
    """Background and bright end of an image; the few brightest voxels are vessels or noise."""
    dark = float(image.min())
    inside = image[image > dark]
    return dark, float(np.percentile(inside, 99.5)) if inside.size else dark + 1.0


def _scaled(image: NDArray, brightness: tuple[float, float]) -> NDArray:
    dark, bright = brightness
    return (image - dark) / (bright - dark)


def _determinant(field: NDArray[np.float32]) -> NDArray:
    """`(X, Y, Z)`; the border has no central differences and takes its neighbours' determinant."""
    interior = jacobian_determinant(torch.from_numpy(field)[None])[0].numpy()
    return np.pad(interior, 1, mode="edge")


def _mean(values: NDArray, mask: NDArray[np.bool_]) -> float:
    return float(values[mask].mean()) if mask.any() else 0.0


def _symmetric(values: NDArray, mask: NDArray[np.bool_], at_least: float) -> dict[str, float]:
    """Limits around 0, for a scale that holds nearly all of the masked values."""
    limit = max(float(np.percentile(np.abs(values[mask]), 98)) if mask.any() else 0.0, at_least)
    return {"vmin": -limit, "vmax": limit}
