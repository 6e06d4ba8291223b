"""The last correction of the field, at the image's own size."""

import pytest
import torch

from scripts.losses import RegistrationLoss
from scripts.networks import MSFBNet
from scripts.spatial import compose, resize_field, warp
from tests.networks.examples import SIZE, pair


@torch.no_grad()
def lively(**options) -> MSFBNet:
    """A network whose heads are random."""
    torch.manual_seed(0)
    net = MSFBNet(**options).eval()
    for head in (*net.heads, net.detail_head):
        torch.nn.init.normal_(head.weight, std=0.1)
    return net


@pytest.mark.parametrize("field_scale", [0, 1, 2])
@torch.no_grad()
def test_the_pyramid_ends_at_the_size_of_the_image(field_scale: int) -> None:
    net, image = lively(field_scale=field_scale), pair(0, *SIZE)
    fields = net.pyramid(image)
    assert [field.shape[2] for field in fields] == [*[2, 4, 8, 16, 32][: 5 - field_scale], 32]
    assert torch.equal(net(image), fields[-1])


@pytest.mark.parametrize("diffeomorphic", [True, False])
@pytest.mark.parametrize("field_scale", [0, 1, 2])
@torch.no_grad()
def test_it_moves_by_less_than_a_voxel_of_the_image(field_scale: int, diffeomorphic: bool) -> None:
    net = lively(field_scale=field_scale, diffeomorphic=diffeomorphic)
    for head in net.heads:
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    torch.nn.init.normal_(net.detail_head.weight, std=1e6)
    *pyramid, field = net.pyramid(pair(1, *SIZE))
    assert not any(coarse.any() for coarse in pyramid)
    assert 0.3 < field.abs().max() <= 0.85 + 1e-5


@torch.no_grad()
def test_it_compares_the_fixed_image_with_the_warped_moving_one_and_composes() -> None:
    net, image = lively(), pair(2, *SIZE)
    seen = []
    net.detail_block.register_forward_hook(lambda module, inputs, output: seen.append(inputs))
    *_, coarse, field = net.pyramid(image)
    large = resize_field(coarse, list(SIZE))
    (fixed, moving, so_far), *more = seen
    assert not more
    torch.testing.assert_close(fixed, net.encoder(image[:, :1])[1])
    torch.testing.assert_close(moving, net.encoder(warp(image[:, 1:], large))[1])
    assert torch.equal(so_far, coarse)

    net.detail_head.register_forward_hook(lambda module, inputs, output: torch.full_like(output, 50.0))
    torch.testing.assert_close(net(image), compose(large, torch.full_like(large, 0.85)))
    assert (net(image) - field).abs().max() > 0.1


@torch.no_grad()
def test_each_voxel_has_an_answer_of_its_own() -> None:
    net, image = lively(), pair(3, *SIZE)
    answers = torch.zeros(1, 24, 16, 24, 8)
    answers[0, 8 + 3, 5, 7, 2] = 50.0  # along the second axis, of the voxel at (0, 1, 1) of its box
    for head in net.heads:
        head.register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
    net.detail_head.register_forward_hook(lambda module, inputs, output: answers)
    field = net(image)
    assert field[0, [0, 2]].abs().max() == 0
    assert tuple(int(i) for i in torch.unravel_index(field[0, 1].argmax(), SIZE)) == (10, 15, 5)


def test_it_learns_a_shift_below_the_voxels_of_its_grid() -> None:
    size = (32, 32, 32)
    large = pair(4, 64, 64, 64, sigma=3.0)[:, :1]
    fixed = large[:, :, ::2, ::2, ::2]
    moving = large.roll(1, dims=3)[:, :, ::2, ::2, ::2]  # by half a voxel
    image = torch.cat([fixed, moving], dim=1)
    torch.manual_seed(0)
    net, loss = MSFBNet([8, 16]), RegistrationLoss()
    optimiser = torch.optim.Adam([*net.detail_block.parameters(), *net.detail_head.parameters()], lr=5e-3)
    for _ in range(30):
        optimiser.zero_grad()
        loss(net.pyramid(image), image).backward()
        optimiser.step()
    with torch.no_grad():
        shift = net(image)[0, :, 4:-4, 4:-4, 4:-4].mean(dim=(1, 2, 3))
    assert net(image).shape[2:] == size
    torch.testing.assert_close(shift, torch.tensor([0.0, 0.5, 0.0]), rtol=0, atol=0.1)
