# SPDX-License-Identifier: Apache-2.0
"""Random numbers and noise: volumes drawn on the device, numbers on the CPU, so that a GPU is not waited for."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate


class Generators(NamedTuple):
    """Two random generators.

    Attributes:
        volumes: on the device that computes.
        numbers: on the CPU; the same generator if the CPU computes.
    """

    volumes: torch.Generator
    numbers: torch.Generator

    @classmethod
    def on(cls, device: torch.device) -> "Generators":
        """Generators for a device."""
        volumes = torch.Generator(device)
        return cls(volumes, volumes if device.type == "cpu" else torch.Generator())

    def seed(self, random: np.random.RandomState) -> None:
        """Seed both with a number from another generator."""
        seed = int(random.randint(2**31))
        for generator in self:
            generator.manual_seed(seed)


def uniform(generator: torch.Generator, low: float, high: float) -> float:
    """A random number in [low, high), from a generator on the CPU: training would wait for a number from a GPU."""
    return low + (high - low) * float(torch.rand((), generator=generator))


def smooth_noise(size: Sequence[int], width: float, channels: int, generator: torch.Generator) -> Tensor:
    """Smooth noise of mean 0 and a standard deviation of about 1.

    Args:
        size: `(D, H, W)`, voxels.
        width: distance of independent values, voxels, above 0.
        channels: number of channels, from 1.
        generator: random generator of the device that computes.

    Returns:
        `(channels, D, H, W)`.
    """
    coarse = [max(round(n / width), 1) + 1 for n in size]
    noise = torch.randn((1, channels, *coarse), generator=generator, device=generator.device)
    # Linear interpolation between the values about halves the variance along each axis; 1.7 makes up for it.
    return 1.7 * interpolate(noise, size=list(size), mode="trilinear", align_corners=True)[0]
