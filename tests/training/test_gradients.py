# SPDX-License-Identifier: Apache-2.0
"""Clipped gradients, and steps that are skipped because their gradient is not finite."""

import math
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from torch import Tensor, nn

from scripts.losses import RegistrationLoss
from scripts.networks import MSFBNet
from scripts.networks.inferers import PyramidInferer
from scripts.runtime.errors import InputError
from scripts.training.gradients import ClipGradients
from scripts.training.step import TrainingStep


def train(factors: list[float], max_norm: float | None = None) -> list[Tensor]:
    """Train a network with losses that are multiplied by these factors; all its weights after each step."""
    torch.manual_seed(0)
    network, loss, image = MSFBNet([8, 8, 8]), RegistrationLoss(), torch.rand(1, 2, 16, 16, 16)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    weights: list[Tensor] = []
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=factors,
        prepare_batch=lambda factor, *_: (image, factor),
        network=network,
        inferer=PyramidInferer(),
        optimizer=optimizer,
        loss_function=lambda fields, factor: factor * loss(fields, image),
        train_handlers=[ClipGradients(network, optimizer, max_norm)],
        iteration_update=TrainingStep(),
        decollate=False,
    )

    @trainer.on(Events.ITERATION_COMPLETED)
    def note() -> None:
        weights.append(nn.utils.parameters_to_vector(network.parameters()).detach().clone())

    trainer.run()
    return weights


def gradients_after(max_norm: float | None, *gradients: list[float]) -> list[Tensor]:
    network = nn.ParameterList([nn.Parameter(torch.zeros(len(gradient))) for gradient in gradients])
    for parameter, gradient in zip(network, gradients, strict=True):
        parameter.grad = torch.tensor(gradient)
    optimizer = torch.optim.SGD(network.parameters())
    ClipGradients(network, optimizer, max_norm)(SimpleNamespace(state=SimpleNamespace(iteration=1)))
    return [parameter.grad for parameter in network]


def test_large_gradient_keeps_its_direction_and_gets_the_norm() -> None:
    clipped = gradients_after(0.5, [3.0, 0.0], [-4.0])
    # The norm of (3, 0, -4) is 5.
    torch.testing.assert_close(torch.cat(clipped), torch.tensor([0.3, 0.0, -0.4]))


@pytest.mark.parametrize("max_norm", [5.5, None])
def test_small_gradient_does_not_change(max_norm: float | None) -> None:
    kept = gradients_after(max_norm, [3.1, 0.0], [-4.1])
    # The norm is 5.14.
    assert torch.equal(torch.cat(kept), torch.tensor([3.1, 0.0, -4.1]))


@pytest.mark.parametrize("max_norm", [0.1, None])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_skipped_step_changes_neither_weights_nor_optimizer(max_norm: float | None, bad: float) -> None:
    first, skipped, last = train([1, bad, 2], max_norm)
    assert torch.equal(first, skipped)
    assert torch.equal(last, train([1, 2], max_norm)[-1])
    assert not torch.equal(last, skipped)


def test_skipped_steps_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    train([1, math.nan, 1, math.inf])
    assert caplog.messages == [f"step {step} is skipped: its gradient is not finite" for step in (2, 4)]


def test_ten_skipped_steps_in_a_row_end_the_training() -> None:
    nine = [math.nan] * 9
    assert len(train([*nine, 1, *nine])) == 19
    with pytest.raises(InputError, match="no finite gradient in 10 steps"):
        train([1, *nine, math.nan])
