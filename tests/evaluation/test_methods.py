# SPDX-License-Identifier: Apache-2.0
"""The methods that are compared: other tools, and a network as one of them."""

import sys
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from scripts.evaluation.methods import make_methods, predicted
from scripts.evaluation.peers import PEERS, syn
from scripts.metrics import dice_per_label
from scripts.networks import MSFBNet, PaddedInferer
from scripts.spatial import warp
from scripts.synthesis.anatomies import phantom_anatomy
from scripts.synthesis.virtual_subjects import virtual_pair


@pytest.fixture(scope="module")
def ants() -> ModuleType:
    return pytest.importorskip("ants")


SLOW = ("syn_cc", "elastix_bspline")


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow) if kind in SLOW else kind for kind in PEERS]
)
def test_a_tool_finds_a_shift(kind: str) -> None:
    """On a grid of unequal spacing, mirrored along one axis: a wrong unit, sign or order of axes would show."""
    peer = PEERS[kind]
    if not peer.load(threads=1):
        pytest.skip(f"it needs pip install {peer.install}")
    size, shift = (44, 48, 40), (2, -1, 1)
    inside = np.zeros(size)
    inside[6:-6, 6:-6, 6:-6] = 1
    noise = gaussian_filter(np.random.default_rng(0).random(size), 3)
    fixed = ((noise - noise.min()) / np.ptp(noise) * gaussian_filter(inside, 2)).astype(np.float32)
    moving = np.roll(fixed, shift, axis=(0, 1, 2))
    affine = nib.affines.from_matvec(np.diag([-1.0, 1.3, 0.8]), [20, 7, 30])
    field = peer.field(torch.from_numpy(np.stack([fixed, moving]))[None], affine, threads=1)
    assert field.dtype == torch.float32 and field.shape == (1, 3, *size)
    found = field[0, :, 12:-12, 12:-12, 12:-12].mean(dim=(1, 2, 3))
    torch.testing.assert_close(found, torch.tensor(shift).float(), rtol=0, atol=0.3)  # smooth, so a bit less


def test_the_field_of_syn_is_what_ants_warps_by(ants: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a grid of unequal spacing, mirrored along one axis: a wrong unit or sign would show."""
    people = virtual_pair(phantom_anatomy((28, 32, 30)), seed=3)
    image = torch.cat([people.fixed.image, people.moving.image], dim=1)
    moved = []

    original = ants.registration

    def registration(*arguments: object, **options: object) -> dict:
        found = original(*arguments, **options)
        moved.append(found["warpedmovout"].numpy())
        return found

    monkeypatch.setattr(ants, "registration", registration)
    field = syn(image, nib.affines.from_matvec(np.diag([-1.0, 1.3, 0.8]), [20, 7, 30]))
    assert field.dtype == torch.float32 and field.shape == (1, 3, 28, 32, 30)
    assert (field.abs().mean(dim=(0, 2, 3, 4)) > 0.05).all()
    torch.testing.assert_close(warp(image[:, 1:], field)[0, 0], torch.from_numpy(moved[0]), rtol=0, atol=1e-3)


def test_syn_brings_virtual_people_together(ants: ModuleType) -> None:
    anatomy = phantom_anatomy((40, 44, 38))
    pair = virtual_pair(anatomy, seed=3)
    image = torch.cat([pair.fixed.image, pair.moving.image], dim=1)
    field = syn(image, np.diag([2.0, 2.0, 2.0, 1.0]))
    labels = list(anatomy.names)
    before, after = (
        dice_per_label(pair.fixed.labels[0], warp(pair.moving.labels, u, mode="nearest")[0], labels).nanmean()
        for u in (torch.zeros_like(field), field)
    )
    assert after > before + 0.05


def test_a_tool_that_is_not_installed_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "ants", None)
    monkeypatch.setitem(sys.modules, "picsl_greedy", None)
    methods = make_methods(["affine", "syn", "greedy"], MSFBNet([8, 8, 8]))
    assert [method.name for method in methods] == ["affine"]
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in printed] == ["syn", "greedy"]
    assert "pip install '.[compare]'" in printed[0]


def test_network_pads_and_keeps_no_gradient(random_network: MSFBNet) -> None:
    field = predicted(random_network, PaddedInferer())(torch.rand(1, 2, 13, 10, 9), np.eye(4))
    assert field.shape == (1, 3, 13, 10, 9) and not field.requires_grad
