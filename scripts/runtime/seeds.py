"""Random transforms that follow torch's global generator."""

from collections.abc import Callable
from typing import Any

import torch
from monai.transforms import Randomizable

from scripts.runtime.processes import rank


def seed_from_torch(transform: Callable[..., Any]) -> None:
    """Seed a random transform of MONAI's, which draws in NumPy, from torch's global generator.

    What restores that generator, as a resumed training does, then makes the same items again. Processes whose
    generators are in one state make different ones.
    """
    if isinstance(transform, Randomizable):
        transform.set_random_state(seed=int(torch.randint(2**31, ())) + rank())
