"""Random pairs for each epoch."""

from collections.abc import Iterator, Mapping, Sized

import torch
from torch import Tensor
from torch.utils.data import Sampler


class PairSampler(Sampler[int]):
    """Random items of a dataset, anew for every epoch, drawn from torch's global generator.

    Restoring the generator's state (as a resumed training does) draws the same items again. A training that ended
    inside an epoch goes on with what is left of its draw: that is the sampler's own state, if nobody takes items ahead,
    as worker processes do. Several processes hold that generator in one state: all make the same draw, and take turns
    in taking an item of it.

    Args:
        data_source: the dataset to draw from.
        num_samples: items per epoch, of all processes together, rounded up so that each gets as many; none comes twice
            unless more are asked for than there are.
        num_replicas: number of processes.
        rank: of this one.
    """

    def __init__(self, data_source: Sized, num_samples: int, num_replicas: int = 1, rank: int = 0) -> None:
        if num_samples < 1 or len(data_source) == 0:
            raise ValueError(f"cannot draw {num_samples} samples from {len(data_source)} items")
        self.data_source = data_source
        self.num_replicas = num_replicas
        self.rank = rank
        self.length = -(-num_samples // num_replicas)
        self._left = torch.empty(0, dtype=torch.int64)  # items of all processes that are still to come
        self._generator: Tensor | None = None

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        # Not a generator function: the draw happens here, not at some later next().
        if self._generator is None:
            self._left = self._draw()
        return self._take()

    def _draw(self) -> Tensor:
        available, wanted = len(self.data_source), self.length * self.num_replicas
        # The clone holds no more than what was drawn.
        return torch.randint(available, (wanted,)) if wanted > available else torch.randperm(available)[:wanted].clone()

    def _take(self) -> Iterator[int]:
        if self._generator is not None:
            # Only now: whoever began to iterate has drawn from it, as a DataLoader does.
            torch.set_rng_state(self._generator)
            self._generator = None
        while len(self._left) > 0:
            index = int(self._left[self.rank])
            self._left = self._left[self.num_replicas :]
            yield index

    def state_dict(self) -> dict[str, Tensor]:
        """What is left of the draw, and the state of torch's generator."""
        return {"left": self._left.clone(), "generator": torch.get_rng_state()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on with what is left, if anything is."""
        self._left = state["left"]
        self._generator = state["generator"].cpu() if len(self._left) > 0 else None
