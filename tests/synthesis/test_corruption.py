# SPDX-License-Identifier: Apache-2.0
"""Random artifacts of scans."""

import pytest
import torch

from scripts.synthesis.corruption import corrupt
from scripts.synthesis.randomness import smooth_noise
from tests.synthesis.examples import WHITE, generator, head


@pytest.mark.parametrize("seed", range(8))
def test_corrupted_scan_keeps_background_range_and_size(seed: int) -> None:
    scan = (head() > 0).float() * (0.3 + 0.1 * (head() == WHITE))
    made = corrupt(scan, *2 * [generator(seed)])
    assert made.shape == scan.shape and made.isfinite().all()
    assert made.min() == 0 and made.max() == 1
    assert (made[scan == 0] == 0).float().mean() > 0.8
    assert not torch.equal(made, corrupt(scan, *2 * [generator(seed + 100)]))
    assert torch.equal(made, corrupt(scan, *2 * [generator(seed)]))


def test_empty_scan_stays_empty() -> None:
    assert not corrupt(torch.zeros(1, 16, 16, 16), generator(0), generator(1)).any()


@pytest.mark.parametrize("width", [1.0, 4.0, 100.0])
def test_smooth_noise_has_unit_deviation_and_the_given_width(width: float) -> None:
    noise = torch.cat([smooth_noise((24, 24, 24), width, 3, generator(seed)) for seed in range(40)])
    assert noise.mean().abs() < 0.3
    assert 0.6 < noise.std() < 1.8
    neighbors = (noise[:, 1:] * noise[:, :-1]).mean() / noise.square().mean()
    assert neighbors > 1 - 1.5 / min(width, 24)
