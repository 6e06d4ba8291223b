# SPDX-License-Identifier: Apache-2.0
"""Random choice of the pairs of each epoch."""

from collections.abc import Iterator, Mapping, Sized

import torch
from torch import Tensor
from torch.utils.data import Sampler


class PairSampler(Sampler[int]):
    """Random indices of a dataset, drawn anew for every epoch from torch's global generator.

    Restoring the state of that generator, as a resumed training does, draws the same indices again. The sampler's own
    state holds the rest of an epoch that was not finished; it is correct only without worker processes, since these
    take indices ahead.

    Processes that train together have the same generator state. All of them draw the same indices, and process `rank`
    takes every `num_replicas`-th one.

    Args:
        data_source: dataset to draw from.
        num_samples: indices per epoch in all processes together, from 1, rounded up to a multiple of `num_replicas`;
            none is drawn twice unless this exceeds the size of the dataset.
        num_replicas: number of processes that train together, from 1.
        rank: number of this process, from 0.

    Raises:
        ValueError: if `num_samples` is below 1 or the dataset is empty.
    """

    def __init__(self, data_source: Sized, num_samples: int, num_replicas: int = 1, rank: int = 0) -> None:
        if num_samples < 1 or len(data_source) == 0:
            raise ValueError(f"cannot draw {num_samples} samples from {len(data_source)} items")
        self.data_source = data_source
        self.num_replicas = num_replicas
        self.rank = rank
        self.length = -(-num_samples // num_replicas)
        self._left = torch.empty(0, dtype=torch.int64)  # indices of all processes that are not taken yet
        self._generator: Tensor | None = None

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        # Not a generator function: the indices are drawn here, not at the first next().
        if self._generator is None:
            self._left = self._draw()
        return self._take()

    def _draw(self) -> Tensor:
        available, wanted = len(self.data_source), self.length * self.num_replicas
        # The clone keeps only the drawn part of the permutation in memory.
        return torch.randint(available, (wanted,)) if wanted > available else torch.randperm(available)[:wanted].clone()

    def _take(self) -> Iterator[int]:
        if self._generator is not None:
            # Not before the first index: a DataLoader draws from the generator when it starts to iterate.
            torch.set_rng_state(self._generator)
            self._generator = None
        while len(self._left) > 0:
            index = int(self._left[self.rank])
            self._left = self._left[self.num_replicas :]
            yield index

    def state_dict(self) -> dict[str, Tensor]:
        """Indices of this epoch that are not taken yet, and the state of torch's generator."""
        return {"left": self._left.clone(), "generator": torch.get_rng_state()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue with the indices that are left, if any, instead of drawing new ones."""
        self._left = state["left"]
        self._generator = state["generator"].cpu() if len(self._left) > 0 else None
