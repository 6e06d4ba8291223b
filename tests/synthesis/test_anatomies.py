# SPDX-License-Identifier: Apache-2.0
"""Anatomies: labels, intensities, orientation, and margin around the brain."""

import sys

import pytest
import torch

from scripts.runtime.errors import InputError
from scripts.synthesis.anatomies import Anatomy, icbm_anatomy
from tests.synthesis.examples import SMALL_SIZE


def test_anatomy_is_a_brain_with_a_margin(anatomy: Anatomy) -> None:
    brain = anatomy.labels > 0
    assert anatomy.labels.shape == anatomy.intensities.shape == SMALL_SIZE
    assert set(anatomy.labels.unique().tolist()) == {0, *anatomy.names}
    assert 8 <= len(anatomy.names) <= 20
    assert len(set(anatomy.names.values())) == len(anatomy.names)
    assert bool((anatomy.intensities[~brain] == 0).all())
    assert float(anatomy.intensities.min()) >= 0.0
    assert 0.5 < float(anatomy.intensities.max()) <= 1.0
    for axis in range(3):
        assert not bool(brain.index_select(axis, torch.tensor([0, SMALL_SIZE[axis] - 1])).any())


def test_axes_of_the_anatomy_are_ras() -> None:
    pytest.importorskip("nilearn")
    anatomy = icbm_anatomy(SMALL_SIZE)
    center = {name: torch.nonzero(anatomy.labels == value).float().mean(dim=0) for value, name in anatomy.names.items()}
    assert center["Left Temporal Cortex"][0] < center["Right Temporal Cortex"][0]
    assert center["Left Frontal Cortex"][1] > center["Left Occipital Cortex"][1]
    assert center["Left Parietal Cortex"][2] > center["Brain Stem"][2]


def test_missing_nilearn_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nilearn", None)
    with pytest.raises(InputError, match="template") as caught:
        icbm_anatomy(SMALL_SIZE)
    assert "\n" not in str(caught.value)
