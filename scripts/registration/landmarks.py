# SPDX-License-Identifier: Apache-2.0
"""Which landmarks of two images are the same: those of one name where both have names, else those of one row."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scripts.geometry import Affine
from scripts.io import Points, Scan, as_positions, load_keypoints, read_points
from scripts.registration.pair import ImageSources, LoadedImage, LoadedPair
from scripts.runtime import InputError


@dataclass(frozen=True)
class Matches:
    """Landmarks of two images that are the same.

    Attributes:
        rows: `(N,)` rows of the first image's landmarks, and the rows of the same ones among the second image's.
        by: whether the names or the rows say which are the same.
        left_out: names of those that the other image lacks, of the first and of the second image.
        warning: why names were not used although both images have some; empty otherwise.
    """

    rows: tuple[NDArray[np.intp], NDArray[np.intp]]
    by: Literal["name", "row"]
    left_out: tuple[Sequence[str], Sequence[str]] = ((), ())
    warning: str = ""


def match_landmarks(first: Points, second: Points, paths: Sequence[str]) -> Matches:
    """Find the landmarks that two images have in common.

    They are matched by name where both have names, and some of these in common. Case and blanks do not count. They are
    matched by row where one has no names (numbers given by row are none), where no name is in common, and where names
    are not unique but stand in the same rows of both.

    Args:
        first, second: landmarks of the images.
        paths: names of their files, for messages.

    Raises:
        InputError: if names in common are not unique and stand in other rows, or if landmarks that can only be matched
            by row are not as many in both.
    """
    one, two = (_keys(points) for points in (first, second))
    common = set(one) & set(two) - {""}
    if not common and any(one) and any(two):
        return _by_row(first, second, paths, "landmarks matched by row, as no name is in both files")
    if not common or (_are_numbers(one) and _are_numbers(two)):
        return _by_row(first, second, paths)
    for keys, points, path in ((one, first, paths[0]), (two, second, paths[1])):
        counts = Counter(keys)
        repeated = [name for name, key in zip(points.names, keys, strict=True) if key in common and counts[key] > 1]
        if repeated and one == two:
            return _by_row(first, second, paths)
        if repeated:
            other = paths[1] if path == paths[0] else paths[0]
            raise InputError(
                f"{path}: several landmarks are named {repeated[0]}, so it is unknown which of them is which in "
                f"{other}; give each a name of its own"
            )
    places = {key: row for row, key in enumerate(two)}
    rows = np.array([(row, places[key]) for row, key in enumerate(one) if key in common], dtype=np.intp)
    left = tuple(
        [name or "(no name)" for name, key in zip(points.names, keys, strict=True) if key not in common]
        for points, keys in ((first, one), (second, two))
    )
    return Matches((rows[:, 0], rows[:, 1]), "name", (left[0], left[1]))


def with_landmarks(pair: LoadedPair) -> LoadedPair:
    """Read the landmarks of both images; where both have some, keep those that they have in common, in one order.

    Args:
        pair: the images, without landmarks.

    Raises:
        InputError: for whatever is wrong with the files, or as `match_landmarks`.
    """
    sources = (pair.job.fixed, pair.job.moving)
    fixed, moving = (_read(files, image.scan) for files, image in zip(sources, pair.images, strict=True))
    if fixed is None or moving is None:
        return replace(pair, fixed=_with(pair.fixed, fixed), moving=_with(pair.moving, moving))
    paths = [_name(files) for files in sources]
    matches = match_landmarks(fixed, moving, paths)
    facts: dict[str, Any] = {
        "matched_by": matches.by,
        "count": len(matches.rows[0]),
        "left_out": {"fixed": list(matches.left_out[0]), "moving": list(matches.left_out[1])},
    }
    warnings = match_warnings(fixed, moving, matches)
    return replace(
        pair,
        fixed=_with(pair.fixed, fixed, matches.rows[0], warnings[0]),
        moving=_with(pair.moving, moving, matches.rows[1], warnings[1]),
        landmarks=facts,
    )


def match_warnings(first: Points, second: Points, matches: Matches) -> tuple[list[str], list[str]]:
    """What is odd about how landmarks were matched, lines about the first and lines about the second image."""
    sides = []
    for points, left_out in zip((first, second), matches.left_out, strict=True):
        some = ", ".join(left_out[:5]) + (" …" if len(left_out) > 5 else "")
        lacking = f"{len(left_out)} of {len(points.names)} landmarks left out, as the other image lacks them: {some}"
        sides.append([line for line in (matches.warning, lacking if left_out else "") if line])
    return sides[0], sides[1]


def _with(
    image: LoadedImage, points: Points | None, rows: NDArray[np.intp] | None = None, warnings: Sequence[str] = ()
) -> LoadedImage:
    if points is None:
        return image
    positions = points.positions if rows is None else points.positions[rows]
    return replace(image, landmarks=positions, warnings=(*image.warnings, *points.warnings, *warnings))


def _by_row(first: Points, second: Points, paths: Sequence[str], warning: str = "") -> Matches:
    if len(first.names) != len(second.names):
        raise InputError(
            f"{paths[1]}: {len(second.names)} landmarks for {len(first.names)} landmarks of {paths[0]}, "
            "and no common names; name them alike, or give the same ones in the same rows"
        )
    rows = np.arange(len(first.names))
    return Matches((rows, rows), "row", warning=warning)


def _keys(points: Points) -> list[str]:
    """The names as they are compared; nothing where there are none."""
    if not points.named:
        return []
    return ["".join(unicodedata.normalize("NFKC", name).casefold().split()) for name in points.names]


def _are_numbers(keys: Sequence[str]) -> bool:
    """Whether these are the numbers of the rows, from 0 or 1."""
    return any(list(keys) == [str(row + start) for row in range(len(keys))] for start in (0, 1))


def _read(files: ImageSources, scan: Scan) -> Points | None:
    if isinstance(files.landmarks, np.ndarray):
        return _unnamed(as_positions(files.landmarks))
    if files.landmarks is not None:
        return read_points(files.landmarks)
    if files.keypoints is not None:
        return _unnamed(Affine(scan.affine)(load_keypoints(files.keypoints).numpy()))
    return None


def _unnamed(positions: NDArray[np.float64]) -> Points:
    return Points([str(row) for row in range(1, len(positions) + 1)], positions, named=False)


def _name(files: ImageSources) -> str:
    if isinstance(files.landmarks, np.ndarray):
        return "landmarks in memory"
    return str(files.landmarks if files.landmarks is not None else files.keypoints)
