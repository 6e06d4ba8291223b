# SPDX-License-Identifier: Apache-2.0
"""One step of a training: weights, losses and events, without a GPU and captured on one."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from torch import Tensor, nn

from scripts.losses import RegistrationLoss
from scripts.networks import MSFBNet
from scripts.networks.inferers import PyramidInferer
from scripts.training.batches import prepare_training_batch
from scripts.training.step import TrainingStep

SIZE = (16, 16, 32)


def batches(count: int, *size: int) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [{"image": torch.rand(1, 2, *size, generator=generator)} for _ in range(count)]


def small_network(device: str = "cpu") -> MSFBNet:
    torch.manual_seed(0)
    return MSFBNet([8, 8, 8]).to(device)


def trainer_of(network: nn.Module, step: TrainingStep, data: list, **options: Any) -> SupervisedTrainer:
    """A trainer of the network as the configs make it, but for these options."""
    return SupervisedTrainer(
        **{
            "device": torch.device("cpu"),
            "max_epochs": 1,
            "train_data_loader": data,
            "prepare_batch": prepare_training_batch,
            "iteration_update": step,
            "decollate": False,
            "network": network,
            "inferer": PyramidInferer(),
            "loss_function": RegistrationLoss(folding_weight=100),
            "optimizer": torch.optim.Adam(network.parameters(), lr=0.01),
            **options,
        }
    )


def test_steps_are_those_of_a_plain_loop_to_the_bit() -> None:
    network, losses = small_network(), []
    trainer = trainer_of(network, TrainingStep(), batches(3, *SIZE))
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: losses.append(trainer.state.output[0]["loss"]))
    trainer.run()

    other, loss_function = small_network(), RegistrationLoss(folding_weight=100)
    optimizer = torch.optim.Adam(other.parameters(), lr=0.01)
    for batch, found in zip(batches(3, *SIZE), losses, strict=True):
        optimizer.zero_grad()
        loss = loss_function(other.pyramid(batch["image"]), batch["image"])
        loss.backward()
        optimizer.step()
        assert torch.equal(found, loss.detach())
    assert len(set(map(float, losses))) == 3
    for one, another in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, another)


def test_output_is_the_detached_loss() -> None:
    trainer = trainer_of(small_network(), TrainingStep(), batches(1, *SIZE))
    trainer.run()
    (output,) = trainer.state.output
    assert list(output) == ["loss"]
    assert isinstance(output["loss"], Tensor) and output["loss"].shape == () and output["loss"].grad_fn is None


def test_events_are_fired_after_what_they_are_named_for() -> None:
    network, seen = small_network(), []
    trainer = trainer_of(network, TrainingStep(), batches(2, *SIZE))
    weights = next(network.parameters())
    before = []

    def note(event: Any) -> None:
        seen.append((event, weights.grad is not None, not torch.equal(weights, before[-1])))

    trainer.add_event_handler(Events.ITERATION_STARTED, lambda: before.append(weights.detach().clone()))
    for event in (
        IterationEvents.FORWARD_COMPLETED,
        IterationEvents.LOSS_COMPLETED,
        IterationEvents.BACKWARD_COMPLETED,
        IterationEvents.MODEL_COMPLETED,
        Events.ITERATION_COMPLETED,
    ):
        trainer.add_event_handler(event, note, event)
    trainer.run()
    one_step = [  # event, whether there is a gradient, whether the weights have changed
        (IterationEvents.FORWARD_COMPLETED, False, False),
        (IterationEvents.LOSS_COMPLETED, False, False),
        (IterationEvents.BACKWARD_COMPLETED, True, False),
        (IterationEvents.MODEL_COMPLETED, True, True),
        (Events.ITERATION_COMPLETED, True, True),
    ]
    assert seen == one_step * 2


def test_network_is_in_training_mode_after_a_validation() -> None:
    network, modes = small_network().eval(), []
    trainer = trainer_of(network, TrainingStep(), batches(2, *SIZE))
    trainer.add_event_handler(IterationEvents.FORWARD_COMPLETED, lambda: modes.append(network.training))
    trainer.add_event_handler(Events.ITERATION_COMPLETED, network.eval)
    trainer.run()
    assert modes == [True, True]


def test_target_of_several_tensors_reaches_the_loss_unchanged() -> None:
    target, compared = (torch.rand(2), torch.ones(3, dtype=torch.int32), torch.arange(4)), []

    def loss_function(fields: list[Tensor], target: Any) -> Tensor:
        compared.append(target)
        return fields[-1].square().mean()

    options = {"prepare_batch": lambda batch, *_: (batch["image"], target), "loss_function": loss_function}
    trainer_of(small_network(), TrainingStep(), batches(1, *SIZE), **options).run()
    assert compared == [target]


# --- on a GPU ---------------------------------------------------------------------------------------------------------

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture
def train_on_gpu() -> Callable:
    """Train on batches of two sizes, 6 of each in a row; the step, and losses, weights and captures after each step."""

    def train(
        captures: bool, last_rate: float = 0.01, **options: Any
    ) -> tuple[TrainingStep, list[float], list[Tensor], list[bool]]:
        network, step = small_network("cuda"), TrainingStep()
        step.captures = captures
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01, fused=True, capturable=True)
        data = [*batches(6, *SIZE), *batches(6, 16, 32, 32)]
        options = {"device": torch.device("cuda"), "optimizer": optimizer, **options}
        trainer = trainer_of(network, step, data, **options)
        losses, weights, captured = [], [], []

        @trainer.on(Events.ITERATION_COMPLETED)
        def note() -> None:
            losses.append(trainer.state.output[0]["loss"].item())
            weights.append(torch.nn.utils.parameters_to_vector(network.parameters()).detach().clone())
            captured.append(step.graph is not None)
            if trainer.state.iteration == 11:
                optimizer.param_groups[0]["lr"] = last_rate

        trainer.run()
        return step, losses, weights, captured

    return train


@gpu
def test_captured_steps_of_each_size_equal_other_steps(train_on_gpu: Callable) -> None:
    step, losses, weights, captured = train_on_gpu(captures=True)
    assert step.captures
    assert captured == ([False] * 3 + [True] * 3) * 2
    assert all((later != earlier).any() for earlier, later in pairwise(weights))
    # Sums on a GPU have no order, and Adam's first steps have the same length for the smallest gradient.
    assert losses == pytest.approx(train_on_gpu(captures=False)[1], rel=1e-2, abs=1e-3)


@gpu
def test_target_of_several_tensors_is_captured(train_on_gpu: Callable) -> None:
    loss = RegistrationLoss(folding_weight=100)

    def prepare(batch: Any, device: torch.device, *_: Any) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        image, target = prepare_training_batch(batch, device)
        return image, (target, torch.tensor(2.0, device=device))

    options = {"prepare_batch": prepare, "loss_function": lambda fields, target: target[1] * loss(fields, target[0])}
    step, losses, *_ = train_on_gpu(captures=True, **options)
    assert step.captures
    assert losses == pytest.approx(train_on_gpu(captures=False, **options)[1], rel=1e-2, abs=1e-3)


@gpu
def test_learning_rate_of_captured_steps_changes(train_on_gpu: Callable) -> None:
    _, _, weights, captured = train_on_gpu(captures=True, last_rate=0.0)
    assert captured[-2:] == [True, True]
    assert torch.equal(weights[-1], weights[-2]) and not torch.equal(weights[-2], weights[-3])
