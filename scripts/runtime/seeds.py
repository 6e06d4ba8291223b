# SPDX-License-Identifier: Apache-2.0
"""Random transforms that follow torch's global generator."""

from collections.abc import Callable
from typing import Any

import torch
from monai.transforms import Randomizable

from scripts.runtime.processes import rank


def seed_from_torch(transform: Callable[..., Any]) -> None:
    """Seed a random transform of MONAI, which draws from NumPy, by torch's global generator.

    A resumed training restores that generator, and so gets the same items again. Processes whose generators have the
    same state get different items.

    Args:
        transform: any transform; one that is not random is left as it is.
    """
    if isinstance(transform, Randomizable):
        transform.set_random_state(seed=int(torch.randint(2**31, ())) + rank())
