# SPDX-License-Identifier: Apache-2.0
"""Half precision in training and prediction."""

import pytest
import torch
from torch import nn

from scripts.losses import RegistrationLoss
from scripts.networks import MSFBNet
from scripts.networks.inferers import PaddedInferer, PyramidInferer


@pytest.mark.parametrize(("bf16", "size"), [(True, 20), (False, 20), (True, 16)])
def test_network_computes_in_half_precision_and_the_loss_in_float32(bf16: bool, size: int) -> None:
    network, image = MSFBNet([8, 8, 8]), torch.rand(1, 2, size, 16, 16)
    dtypes = set()
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            module.register_forward_hook(lambda _, __, output: dtypes.add(output.dtype))
    fields = PyramidInferer(bf16)(image, network)
    loss = RegistrationLoss()(fields, image)
    loss.backward()
    assert dtypes == {torch.bfloat16 if bf16 and size == 20 else torch.float32}
    assert {loss.dtype} | {tensor.dtype for tensor in fields} == {torch.float32}
    assert {p.grad.dtype for p in network.parameters() if p.grad is not None} == {torch.float32}


@torch.no_grad()
def test_half_precision_changes_a_field_by_hundredths_of_voxels() -> None:
    torch.manual_seed(1)
    network = MSFBNet([8, 8, 8]).eval()
    for head in network.heads:
        nn.init.normal_(head.weight, std=0.4)  # fields of some voxels
    image = torch.rand(1, 2, 24, 18, 20)
    full, half = (PaddedInferer(bf16)(image, network) for bf16 in (False, True))
    assert half.dtype == torch.float32
    assert full.norm(dim=1).mean() > 1
    assert 0 < (half - full).norm(dim=1).mean() < 0.05
