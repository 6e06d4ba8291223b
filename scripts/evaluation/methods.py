# SPDX-License-Identifier: Apache-2.0
"""The methods of the comparison: each is a function from a pair of images to a displacement field."""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scripts.evaluation.peers import PEERS
from scripts.io import file_sha256, load_weights, scan_name
from scripts.networks import CascadeInferer, PaddedInferer
from scripts.networks.baselines import LocalNetBaseline, RegUNetBaseline, VoxelMorphBaseline
from scripts.registration import PredictedPair, PreparedPair, predict, refine, refine_pair
from scripts.runtime import InputError

BASELINES: dict[str, Callable[[], nn.Module]] = {
    "voxelmorph": VoxelMorphBaseline,
    "localnet": LocalNetBaseline,
    "regunet": RegUNetBaseline,
}
OURS = ("msfbnet", "refined")
METHODS = ("affine", *PEERS, *BASELINES, *OURS)
CPU = torch.device("cpu")


class Method(NamedTuple):
    """A method that registers a pair.

    Attributes:
        kind: one of `METHODS`.
        name: name of its row in the tables: the kind, and what distinguishes several methods of one kind.
        weights: SHA-256 of its weights file; empty for a method without weights.
        network: definition of the network in the config, as JSON, since the same weights fit several networks.
        field: function of fixed and moving image, `(1, 2, D, H, W)` in [0, 1], and the affine matrix of their grid,
            `(4, 4)`, voxels to RAS mm. Returns the displacement field `(1, 3, D, H, W)`, voxels.
        predict: the same of a raw pair, as `register` does it; None for a method that knows nothing but the two images.
    """

    kind: str
    name: str
    weights: str
    network: str
    field: Callable[[Tensor, NDArray[np.floating]], Tensor]
    predict: Callable[[PreparedPair], PredictedPair] | None = None


def make_methods(
    kinds: Sequence[str],
    network: nn.Module,
    definition: str = "",
    weights: str | None = None,
    baseline_weights: str | None = None,
    refine_steps: int = 50,
    threads: int | None = None,
    bf16: bool = False,
) -> list[Method]:
    """The methods of a comparison, in the order of the rows.

    A tool that is not installed, and a baseline without weights, is left out with a note.

    Args:
        kinds: names of the methods, from `METHODS`.
        network: network that the weights are loaded into.
        definition: definition of the network in the config, as JSON.
        weights: weights file, or several with commas between, each with an optional name, `NAME=FILE`.
        baseline_weights: weights files of `BASELINES`, `NAME=FILE`, with commas between.
        refine_steps: number of steps of `refined`, from 0.
        threads: number of CPU threads of the other tools, from 1; None leaves it to them.
        bf16: whether the network computes in bfloat16; the baselines always compute in float32.

    Raises:
        InputError: if a method is unknown, weights are missing, do not fit or have the same name.
    """
    unknown = [kind for kind in kinds if kind not in METHODS]
    if unknown:
        raise InputError(f"--methods {unknown[0]}: choose of {','.join(METHODS)}")
    trained = _trained(network, weights) if set(OURS) & set(kinds) else []
    baselines = _baseline_files(baseline_weights)
    methods: list[Method] = []
    infer = CascadeInferer(bf16)
    for kind in kinds:
        if kind == "affine":
            methods.append(Method(kind, kind, "", "", affine_only))
        elif kind in PEERS and not PEERS[kind].load(threads):
            print(f"{kind}: left out, as it is not installed; pip install {PEERS[kind].install}", flush=True)
        elif kind in PEERS:
            methods.append(Method(kind, kind, "", "", partial(PEERS[kind].field, threads=threads)))
        elif kind in BASELINES and kind not in baselines:
            print(f"{kind}: left out, as there is no --baseline_weights {kind}=FILE", flush=True)
        elif kind in BASELINES:
            loaded = load_weights(BASELINES[kind](), baselines[kind])
            methods.append(Method(kind, kind, file_sha256(baselines[kind]), "", predicted(loaded, PaddedInferer())))
        else:
            steps = refine_steps if kind == "refined" else 0
            methods += [
                Method(
                    kind,
                    f"refined {name}, {steps} steps" if kind == "refined" else f"msfbnet {name}",
                    digest,
                    definition,
                    predicted(loaded, infer, steps),
                    predicted_pair(loaded, infer, steps),
                )
                for name, digest, loaded in trained
            ]
    return methods


def affine_only(image: Tensor, affine: NDArray[np.floating]) -> Tensor:
    """A field of zeros: the result of the affine alignment alone."""
    return torch.zeros_like(image[:, :1]).repeat(1, 3, 1, 1, 1)


def predicted(
    network: nn.Module, infer: PaddedInferer, steps: int = 0
) -> Callable[[Tensor, NDArray[np.floating]], Tensor]:
    """A network with `steps` of refinement, as a method's function of images."""
    network.eval()

    def field(image: Tensor, affine: NDArray[np.floating]) -> Tensor:
        with torch.no_grad():
            found = infer(image, network)
        return refine(image, found, steps).field if steps else found

    return field


def predicted_pair(network: nn.Module, infer: PaddedInferer, steps: int = 0) -> Callable[[PreparedPair], PredictedPair]:
    """The same as `predicted`, as a function of a raw pair: images of different contrasts are seen in either."""
    return lambda pair: refine_pair(predict(pair, network, infer, CPU), steps, CPU)


def _trained(network: nn.Module, weights: str | None) -> list[tuple[str, str, nn.Module]]:
    """Name, SHA-256 and network of each weights file."""
    if weights is None:
        raise InputError("--methods msfbnet, refined: want --weights FILE, or NAME=FILE,NAME=FILE for several sets")
    trained = []
    for entry in weights.split(","):
        name, _, path = entry.rpartition("=")
        loaded = load_weights(copy.deepcopy(network), path)
        trained.append((name or scan_name(path), file_sha256(path), loaded))
    names = [name for name, _, _ in trained]
    if len(set(names)) < len(names):
        raise InputError(f"--weights {weights}: two sets of one name; name them NAME=FILE,NAME=FILE")
    return trained


def _baseline_files(weights: str | None) -> dict[str, str]:
    """Path of the weights of each baseline."""
    entries = [entry.partition("=")[::2] for entry in weights.split(",")] if weights else []
    for name, path in entries:
        if name not in BASELINES or not path:
            raise InputError(
                f"--baseline_weights {weights}: want NAME=FILE,NAME=FILE with names of {', '.join(BASELINES)}"
            )
    return dict(entries)
