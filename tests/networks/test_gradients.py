# SPDX-License-Identifier: Apache-2.0
"""Gradients of the whole network."""

import pytest
import torch
from torch import Tensor

from scripts.spatial import warp
from tests.networks.examples import SIZE, moving_network, network, pair


def gradients(net: torch.nn.Module, image: Tensor) -> dict[str, Tensor]:
    """Gradients of the mean squared difference of the fixed and the warped moving image."""
    net.zero_grad()
    (warp(image[:, 1:], net(image)) - image[:, :1]).square().mean().backward()
    return {name: parameter.grad for name, parameter in net.named_parameters()}


@pytest.mark.parametrize("symmetric", [True, False])
def test_every_parameter_has_a_gradient(symmetric: bool) -> None:
    for name, gradient in gradients(moving_network(symmetric=symmetric), pair(11, *SIZE)).items():
        assert gradient is not None, name
        assert gradient.isfinite().all() and gradient.any(), name


def test_heads_of_an_untrained_network_have_gradients() -> None:
    net = network()
    gradients(net, pair(12, *SIZE))
    # Not the biases: in both orders of a pair they are the same, so their difference is 0.
    assert all(head.weight.grad.any() for head in (*net.heads, net.detail_head))


@pytest.mark.parametrize("symmetric", [True, False])
def test_gradients_equal_those_of_torchscript(symmetric: bool) -> None:
    # TorchScript has none of the custom gradients: autograd differentiates torch's own operations.
    net, image = moving_network(symmetric=symmetric).double(), pair(22, *SIZE).double()
    found = {name: gradient.clone() for name, gradient in gradients(net, image).items()}
    expected = gradients(torch.jit.script(net), image)
    # Relative to the largest: the gradient of a bias before a normalization is only rounding errors.
    largest = max(gradient.abs().max().item() for gradient in expected.values())
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-12 * largest)
