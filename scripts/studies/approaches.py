# SPDX-License-Identifier: Apache-2.0
"""Ways to register a pair of scans as they lie in the world, affine stage included."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from scripts.datasets import scale_intensity
from scripts.evaluation.methods import OURS, Method, make_methods
from scripts.geometry import LPS, Affine, Chain, Transform, voxel_sizes
from scripts.io import read_configs, read_transform
from scripts.metrics import BEFORE
from scripts.networks import MSFBNet
from scripts.registration import (
    Job,
    PredictedPair,
    PreparedPair,
    align_pair,
    compare_contrasts,
    fuse,
    measure,
    read_init,
    read_pair,
    reject_worse,
    to_network_grid,
)
from scripts.runtime import InputError, supports_bf16

CONFIG = "configs/inference.json"
REFINE = 30
KINDS = (*OURS, "syn")
# What is noted of each of our registrations, beside `content`: what its verdict goes by.
FIGURES = (
    *(f"{name}{when}" for name in ("lncc", "mutual_information", "foreground_dice") for when in (BEFORE, "")),
    "foreground_ndv_percent",
    "sdlogj",
)


class Found(NamedTuple):
    """What an approach found; both transforms map points of the fixed to points of the moving scan, RAS mm.

    Attributes:
        transform: the whole transform.
        affine: its affine part.
        figures: of ours `content`, whether `register` would say that the result can be used, and `FIGURES`.
    """

    transform: Transform
    affine: Transform
    figures: dict[str, float]


class Approach(NamedTuple):
    """A way to register a pair.

    Attributes:
        method: the key of its rows.
        register: function of a pair.
    """

    method: Method
    register: Callable[[Job], Found]


def make_approaches(kinds: Sequence[str], weights: str, threads: int | None) -> Iterator[Approach]:
    """The approaches of a study: `register` with and without refinement, without its affine stage, and SyN.

    Args:
        kinds: kinds of methods, from `KINDS`.
        weights: weights files of the network, see `make_methods`.
        threads: number of CPU threads of ANTs, from 1; None leaves it to ANTs.

    Raises:
        InputError: if a kind is unknown, or as `make_methods`.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise InputError(f"--methods {unknown[0]}: choose of {','.join(KINDS)}")
    config, bf16 = read_configs(CONFIG), supports_bf16("cpu")
    definition = json.dumps({**config["network_def"], "bf16": bf16})
    network: MSFBNet = config.get_parsed_content("network_def")
    spacing, least_size = config["network_spacing"], config["network_size"]

    def ours(init: str, predict: Callable[[PreparedPair], PredictedPair]) -> Callable[[Job], Found]:
        def register(job: Job) -> Found:
            aligned = align_pair(read_pair(job), read_init(init), seed=0)
            prepared = compare_contrasts(to_network_grid(aligned, network.multiple, spacing, least_size))
            found = measure(reject_worse(fuse(predict(prepared))), {})
            content = float(found.metrics["verdict"] != "fail")
            figures = {"content": content} | {name: found.metrics[name] for name in FIGURES}
            return Found(found.transform, Affine(found.affine), figures)

        return register

    methods = make_methods(kinds, network, definition, weights, None, REFINE, threads, bf16)
    for method in methods:
        yield Approach(method, ours("affine", method.predict) if method.predict else _syn(threads))
    for method in methods:
        if method.kind == "msfbnet" and method.predict:
            yield Approach(method._replace(name=f"{method.name}, no affine"), ours("none", method.predict))


def _syn(threads: int | None) -> Callable[[Job], Found]:
    """ANTs' SyN after its own affine stage."""
    if threads is not None:
        os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(threads)  # before ants is imported

    def register(job: Job) -> Found:
        import ants

        def image(scan: Any) -> Any:
            lps, spacing = LPS @ scan.affine, voxel_sizes(scan.affine)
            array = scale_intensity(np.asarray(scan.dataobj, np.float32))
            return ants.from_numpy(array, tuple(lps[:3, 3]), tuple(spacing), direction=lps[:3, :3] / spacing)

        fixed, moving = image(job.fixed.image), image(job.moving.image)
        with TemporaryDirectory() as folder:
            try:
                found = ants.registration(fixed, moving, "SyN", outprefix=f"{folder}/", random_seed=1)
            except RuntimeError as error:  # such as of images that do not overlap
                raise InputError(f"ANTs: {str(error).splitlines()[0]}") from error
            # As for antsApplyTransforms: the first one is applied first to the points of the fixed scan.
            affine, warp = (read_transform(path) for path in found["fwdtransforms"][::-1])
            return Found(Chain([affine, warp]), affine, {})

    return register
