# SPDX-License-Identifier: Apache-2.0
"""load_network(), and whose device and weights a registration takes."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scripts.api import Result, load_network, register
from scripts.networks import MSFBNet
from tests.api.examples import ON_CPU

pytestmark = pytest.mark.usefixtures("keep_any_deformation", "tiny_config")


def test_the_network_is_that_of_the_file_in_evaluation_mode_on_the_device(
    random_weights: Path, random_network: MSFBNet
) -> None:
    network = load_network(random_weights, "cpu")
    assert not any(module.training for module in network.modules())
    assert {parameter.device.type for parameter in network.parameters()} == {"cpu"}
    image = torch.rand(2, 2, 16, 24, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        field = network(image)
        assert field.shape == (2, 3, 16, 24, 16)
        assert torch.equal(field, random_network(image))


def test_weights_and_their_network_give_the_same(result: Result, pair: SimpleNamespace, random_weights: Path) -> None:
    other = register(*pair.paths, weights=str(random_weights), **ON_CPU)
    np.testing.assert_array_equal(other.warp.displacement, result.warp.displacement)
    assert other.metrics["settings"]["weights"]["path"] == str(random_weights)
    assert result.metrics["settings"]["weights"] is None


def test_the_device_is_that_of_the_network(pair: SimpleNamespace, random_network: MSFBNet) -> None:
    assert register(*pair.paths, network=random_network, init="none").metrics["device"] == "cpu"
