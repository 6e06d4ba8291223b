# SPDX-License-Identifier: Apache-2.0
"""The rows of pictures of a report, as HTML: each shows an axial, a coronal and a sagittal section."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from scripts.report.pictures import (
    checkerboard_picture,
    data_uri,
    edges_picture,
    gray_picture,
    grid_picture,
    jacobian_picture,
    outline_picture,
    quality_picture,
)
from scripts.report.sections import Section, best_sections, deformed_grid
from scripts.spatial import jacobian_determinant

FOREGROUND = 0.05  # intensity in [0, 1] above which a voxel is brain or head

_NAMES = {
    "fixed": "fixed scan",
    "before": "moving scan after the affine alignment",
    "after": "moving scan after the deformable registration",
    "checkerboard": "checkerboard of the fixed and the moved scan",
    "edges": "edges of the fixed scan on the moved one",
    "grid": "grid deformed by the registration",
    "jacobian": "local change of volume",
    "quality": "where the result can be trusted",
    "outline": "outline of the brain that was found",
}
_COMPARED = ("fixed", "before", "after")  # images that the reader switches between, in one place


def panels(fixed: NDArray, before: NDArray, moved: NDArray, field: NDArray) -> dict[str, str]:
    """Rows of three pictures for each part of the page.

    Args:
        fixed: fixed image, `(X, Y, Z)` in [0, 1], RAS axes, cubic voxels.
        before: moving image after the affine alignment, the same shape and range.
        moved: moving image after affine alignment and deformation, the same shape and range.
        field: displacement field of the deformable part, `(3, X, Y, Z)`, voxels.

    Returns:
        HTML for `compare`, `checkerboard`, `edges`, `grid` and `jacobian`.
    """
    brain = fixed > FOREGROUND
    sections = best_sections(brain, brain | (before > FOREGROUND))
    drawn = [(section, _draw(section, fixed, before, moved, field)) for section in sections]
    rows = {"compare": [_figure(section, _compared(section, pictures)) for section, pictures in drawn]}
    for name in ("checkerboard", "edges", "grid", "jacobian"):
        rows[name] = [_figure(section, _picture(section, pictures, name)) for section, pictures in drawn]
    return {name: "\n".join(figures) for name, figures in rows.items()}


def outline_panel(head: NDArray, brain: NDArray[np.bool_]) -> str:
    """A row of three pictures: the outline of a brain mask on a whole head.

    Args:
        head: the scan, `(X, Y, Z)` in [0, 1], RAS axes, cubic voxels.
        brain: its brain mask, the same shape.
    """
    sections = best_sections(brain, brain | (head > FOREGROUND))
    drawn = [(section, outline_picture(section.cut(head), section.cut(brain))) for section in sections]
    return "\n".join(_figure(section, _picture(section, {"outline": picture}, "outline")) for section, picture in drawn)


def quality_panel(fixed: NDArray, quality: NDArray) -> str:
    """A row of three pictures: the quality over the fixed image.

    Args:
        fixed: fixed image, `(X, Y, Z)` in [0, 1], RAS axes, cubic voxels.
        quality: the same shape and range.
    """
    brain = fixed > FOREGROUND
    drawn = [
        (section, quality_picture(section.cut(fixed), section.cut(quality), section.cut(brain)))
        for section in best_sections(brain, brain)
    ]
    return "\n".join(_figure(section, _picture(section, {"quality": picture}, "quality")) for section, picture in drawn)


def section_determinant(section: Section, field: NDArray[np.float32]) -> NDArray[np.float32]:
    """Jacobian determinant in a section, `(rows, columns)`.

    Args:
        section: plane and position of the section.
        field: displacement field, `(3, X, Y, Z)`, voxels, every size at least 3. The outermost voxels have no central
            differences and take the determinant of their neighbors.
    """
    across = section.plane.across
    last = field.shape[across + 1] - 2
    inner = min(max(section.index, 1), last)
    slab = field.take(range(inner - 1, inner + 2), axis=across + 1)
    determinant = jacobian_determinant(torch.from_numpy(np.ascontiguousarray(slab))[None])[0].numpy()
    whole = np.pad(determinant, [(0, 0) if axis == across else (1, 1) for axis in range(3)], mode="edge")
    return whole.take(0, axis=across).T[section.rows, section.columns][::-1]


def _draw(section: Section, fixed: NDArray, before: NDArray, moved: NDArray, field: NDArray) -> dict[str, Image.Image]:
    fixed, before, moved = (section.cut(image) for image in (fixed, before, moved))
    return {
        "fixed": gray_picture(fixed),
        "before": gray_picture(before),
        "after": gray_picture(moved),
        "checkerboard": checkerboard_picture(fixed, moved),
        "edges": edges_picture(fixed, moved),
        "grid": grid_picture(fixed, deformed_grid(section, field)),
        "jacobian": jacobian_picture(section_determinant(section, field), fixed > FOREGROUND),
    }


def _figure(section: Section, content: str) -> str:
    # A width in proportion to the columns gives all planes of a row one scale.
    return f'<figure style="--width: {section.size[0]}">{content}<figcaption>{section.plane.name}</figcaption></figure>'


def _picture(section: Section, pictures: dict[str, Image.Image], name: str) -> str:
    return f'<div class="frame">{_image(section, pictures, name)}{_sides(section)}</div>'


def _compared(section: Section, pictures: dict[str, Image.Image]) -> str:
    images = "".join(_image(section, pictures, name) for name in _COMPARED)
    return (
        f'<button type="button" class="frame" aria-label="Switch the image of the {section.plane.name} section">'
        f'{images}{_sides(section)}<span class="name">after</span></button>'
    )


def _image(section: Section, pictures: dict[str, Image.Image], name: str) -> str:
    picture = pictures[name]
    return (
        f'<img data-image="{name}" alt="{section.plane.name} section: {_NAMES[name]}" width="{picture.width}" '
        f'height="{picture.height}" src="{data_uri(picture)}">'
    )


def _sides(section: Section) -> str:
    return "".join(f'<span class="side" aria-hidden="true">{letter}</span>' for letter in section.plane.sides)
