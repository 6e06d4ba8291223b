# SPDX-License-Identifier: Apache-2.0
"""Random contrasts of label maps."""

import torch

from scripts.synthesis.contrast import random_contrast, t1_contrast
from tests.synthesis.examples import FLUID, GRAY, WHITE, generator


def test_t1_contrasts_have_the_order_of_t1_scans_and_vary() -> None:
    contrasts = torch.stack([t1_contrast(generator(seed)) for seed in range(100)])
    ordered = (contrasts[:, FLUID] < contrasts[:, GRAY]) & (contrasts[:, GRAY] < contrasts[:, WHITE])
    assert ordered.float().mean() > 0.95
    assert contrasts[:, GRAY].std() > 0.04
    assert (contrasts[:, 0] == 0).all() and (contrasts[:, 1:] > 0).all()


def test_random_contrasts_have_no_order_and_are_symmetric() -> None:
    contrasts = torch.stack([random_contrast(generator(seed)) for seed in range(100)])
    assert 0.3 < (contrasts[:, GRAY] < contrasts[:, WHITE]).float().mean() < 0.7
    assert torch.equal(contrasts[:, 2], contrasts[:, 41]) and torch.equal(contrasts[:, 17], contrasts[:, 53])
