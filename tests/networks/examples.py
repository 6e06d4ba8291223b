# SPDX-License-Identifier: Apache-2.0
"""Images to register, and small networks with the shipped configuration."""

from typing import Any

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from scripts.networks import MSFBNet

SIZE = (32, 48, 16)
CHANNELS = (4, 8, 8, 16, 16)  # as many scales as the shipped network


def pair(seed: int, *size: int, sigma: float = 2.0, batch: int = 1) -> Tensor:
    """Smooth random images in [0, 1]."""
    noise = torch.randn(batch, 2, *size, generator=torch.Generator().manual_seed(seed))
    image = torch.from_numpy(gaussian_filter(noise.numpy(), (0, 0, sigma, sigma, sigma)))
    return (image - image.min()) / (image.max() - image.min())


def network(seed: int = 0, **options: Any) -> MSFBNet:
    """An untrained network, by default with all parts of the shipped one."""
    torch.manual_seed(seed)
    return MSFBNet(**{"channels": CHANNELS} | options).eval()


@torch.no_grad()
def moving_network(seed: int = 0, least: float = 2.0, **options: Any) -> MSFBNet:
    """A network with random heads, scaled to fields of `least` to 4 voxels on average."""
    net = network(seed, **options)
    for head in net.heads:
        torch.nn.init.normal_(head.weight, std=0.01)
    if net.detail_head is not None:
        torch.nn.init.normal_(net.detail_head.weight, std=0.1)
    image = pair(0, *SIZE)
    for _ in range(30):
        if least < (displacement := net(image).norm(dim=1).mean()) < 4:
            return net
        for head in net.heads:
            head.weight.mul_((least + 1) / displacement)
    raise AssertionError(f"no scale of the heads gives fields of {least} to 4 voxels")
