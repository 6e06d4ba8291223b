# SPDX-License-Identifier: Apache-2.0
"""The methods that are compared: ANTs' SyN, and a network as one of them."""

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch

from scripts.evaluation.baselines import SYN, make_methods, predicted, syn
from scripts.metrics import dice_per_label
from scripts.networks import MSFBNet
from scripts.spatial import warp
from scripts.synthesis.anatomies import phantom_anatomy
from scripts.synthesis.virtual_subjects import virtual_pair


@pytest.fixture(scope="module")
def ants() -> ModuleType:
    return pytest.importorskip("ants")


@pytest.mark.parametrize("kind", SYN)
def test_syn_finds_a_shift(kind: str, ants: ModuleType) -> None:
    fixed = np.pad(phantom_anatomy((28, 32, 30)).intensities.numpy(), 4)
    shift = (3, -2, 1)
    moving = np.roll(fixed, shift, axis=(0, 1, 2))
    field = syn(ants, **SYN[kind])(torch.from_numpy(np.stack([fixed, moving]))[None], np.eye(4))
    found = field[0][:, torch.from_numpy(fixed > 0)].mean(dim=1)
    torch.testing.assert_close(found, torch.tensor(shift).float(), rtol=0, atol=0.75)  # smooth, so a bit less


def test_the_field_of_syn_is_what_ants_warps_by(ants: ModuleType) -> None:
    """On a grid of unequal spacing, mirrored along one axis: a wrong unit or sign would show."""
    people = virtual_pair(phantom_anatomy((28, 32, 30)), seed=3)
    image = torch.cat([people.fixed.image, people.moving.image], dim=1)
    moved = []

    def registration(*arguments: object, **options: object) -> dict:
        found = ants.registration(*arguments, **options)
        moved.append(found["warpedmovout"].numpy())
        return found

    observed = SimpleNamespace(from_numpy=ants.from_numpy, registration=registration)
    field = syn(observed)(image, nib.affines.from_matvec(np.diag([-1.0, 1.3, 0.8]), [20, 7, 30]))
    assert field.dtype == torch.float32 and field.shape == (1, 3, 28, 32, 30)
    assert (field.abs().mean(dim=(0, 2, 3, 4)) > 0.05).all()
    torch.testing.assert_close(warp(image[:, 1:], field)[0, 0], torch.from_numpy(moved[0]), rtol=0, atol=1e-3)


def test_syn_brings_virtual_people_together(ants: ModuleType) -> None:
    anatomy = phantom_anatomy((40, 44, 38))
    pair = virtual_pair(anatomy, seed=3)
    image = torch.cat([pair.fixed.image, pair.moving.image], dim=1)
    field = syn(ants)(image, np.diag([2.0, 2.0, 2.0, 1.0]))
    labels = list(anatomy.names)
    before, after = (
        dice_per_label(pair.fixed.labels[0], warp(pair.moving.labels, u, mode="nearest")[0], labels).nanmean()
        for u in (torch.zeros_like(field), field)
    )
    assert after > before + 0.05


def test_without_antspyx_it_says_how_to_install_it(refused: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ants", None)
    with refused("antspyx", "pip install '.[compare]'"):
        make_methods(["affine", "syn"], MSFBNet([8, 8, 8]))


def test_network_pads_and_keeps_no_gradient(random_network: MSFBNet) -> None:
    field = predicted(random_network)(torch.rand(1, 2, 13, 10, 9), np.eye(4))
    assert field.shape == (1, 3, 13, 10, 9) and not field.requires_grad
