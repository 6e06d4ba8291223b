"""The rows of pictures of a report: three sections of everything that there is to see, as HTML."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from scripts.report.pictures import (
    checkerboard_picture,
    data_uri,
    edges_picture,
    grey_picture,
    grid_picture,
    jacobian_picture,
)
from scripts.report.sections import Section, best_sections, deformed_grid
from scripts.spatial import jacobian_determinant

FOREGROUND = 0.05  # of the brightness range: what is brighter is brain or head

_NAMES = {
    "fixed": "fixed scan",
    "before": "moving scan after the affine alignment",
    "after": "moving scan after the deformable registration",
    "checkerboard": "checkerboard of the fixed and the moved scan",
    "edges": "edges of the fixed scan on the moved one",
    "grid": "grid deformed by the registration",
    "jacobian": "local change of volume",
}
_FLICKER = ("fixed", "before", "after")


def panels(fixed: NDArray, before: NDArray, moved: NDArray, field: NDArray) -> dict[str, str]:
    """Figures of three planes for each part of the page.

    Args:
        fixed: `(X, Y, Z)` in [0, 1], RAS axes, voxels of 1 mm; so are the next two.
        before: moving image after the affine alignment.
        moved: after the deformable part, too.
        field: `(3, X, Y, Z)`, voxels.

    Returns:
        HTML for `compare`, `checkerboard`, `edges`, `grid` and `jacobian`.
    """
    brain = fixed > FOREGROUND
    sections = best_sections(brain, brain | (before > FOREGROUND))
    drawn = [_draw(section, fixed, before, moved, field) for section in sections]
    rows = {name: [_figure(s, _picture(s, p, name)) for s, p in zip(sections, drawn, strict=True)] for name in drawn[0]}
    for name in _FLICKER:
        del rows[name]
    rows["compare"] = [_figure(s, _flicker(s, p)) for s, p in zip(sections, drawn, strict=True)]
    return {name: "\n".join(figures) for name, figures in rows.items()}


def section_determinant(section: Section, field: NDArray[np.float32]) -> NDArray[np.float32]:
    """Jacobian determinant in a section, `(rows, columns)`.

    Args:
        section: where to cut.
        field: `(3, X, Y, Z)`, voxels; every size at least 3. Its outermost voxels, which have no central differences,
            take their neighbours' determinant.
    """
    across = section.plane.across
    last = field.shape[across + 1] - 2
    inner = min(max(section.index, 1), last)
    slab = field.take(range(inner - 1, inner + 2), axis=across + 1)
    determinant = jacobian_determinant(torch.from_numpy(np.ascontiguousarray(slab))[None])[0].numpy()
    whole = np.pad(determinant, [(0, 0) if axis == across else (1, 1) for axis in range(3)], mode="edge")
    return whole.take(0, axis=across).T[section.rows, section.columns][::-1]


def _draw(section: Section, fixed: NDArray, before: NDArray, moved: NDArray, field: NDArray) -> dict[str, Image.Image]:
    target, start, result = (section.cut(image) for image in (fixed, before, moved))
    return {
        "fixed": grey_picture(target),
        "before": grey_picture(start),
        "after": grey_picture(result),
        "checkerboard": checkerboard_picture(target, result),
        "edges": edges_picture(target, result),
        "grid": grid_picture(target, deformed_grid(section, field)),
        "jacobian": jacobian_picture(section_determinant(section, field), target > FOREGROUND),
    }


def _figure(section: Section, content: str) -> str:
    # The width sets the share of the row, so that all planes have one scale.
    return f'<figure style="--width: {section.size[0]}">{content}<figcaption>{section.plane.name}</figcaption></figure>'


def _picture(section: Section, pictures: dict[str, Image.Image], name: str) -> str:
    return f'<div class="frame">{_image(section, pictures, name)}{_ends(section)}</div>'


def _flicker(section: Section, pictures: dict[str, Image.Image]) -> str:
    images = "".join(_image(section, pictures, name) for name in _FLICKER)
    return (
        f'<button type="button" class="frame" aria-label="Flick the {section.plane.name} section">{images}'
        f'{_ends(section)}<span class="name">after</span></button>'
    )


def _image(section: Section, pictures: dict[str, Image.Image], name: str) -> str:
    picture = pictures[name]
    return (
        f'<img data-image="{name}" alt="{section.plane.name} section: {_NAMES[name]}" width="{picture.width}" '
        f'height="{picture.height}" src="{data_uri(picture)}">'
    )


def _ends(section: Section) -> str:
    return "".join(f'<span class="end" aria-hidden="true">{end}</span>' for end in section.plane.ends)
