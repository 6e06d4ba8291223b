# SPDX-License-Identifier: Apache-2.0
"""The multi-scale loss: weights, minimum, gradients, and a short training."""

import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn.functional import avg_pool3d

from scripts.losses import FoldingLoss, LNCCLoss, RegistrationLoss, SmoothnessLoss
from scripts.networks import MSFBNet
from scripts.spatial import integrate, resize_field, warp

SIZE = (32, 32, 48)


def smooth(seed: int, *shape: int, sigma: float) -> Tensor:
    """Random values of this width, between 0 and 1."""
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    values = torch.from_numpy(gaussian_filter(noise.numpy(), (0, 0, sigma, sigma, sigma)))
    return (values - values.min()) / (values.max() - values.min())


def pyramid_of(field: Tensor, finest: int, coarsest: int = 4) -> list[Tensor]:
    """The field at the scales from the coarsest to the finest."""
    return [resize_field(field, [n // 2**scale for n in field.shape[2:]]) for scale in range(coarsest, finest - 1, -1)]


def random_pyramid(seed: int, finest: int = 1, batch: int = 1) -> list[Tensor]:
    return pyramid_of(6 * smooth(seed, batch, 3, *SIZE, sigma=3.0) - 3, finest)


@pytest.mark.parametrize(
    ("finest", "weights"),
    [(0, 1 + 1 / 2 + 1 / 4 + 1 / 8), (1, 1 + 1 / 4 + 1 / 8), (2, 1 + 1 / 8), (3, 1)],  # the finest has weight 1
)
def test_identical_images_give_minus_the_sum_of_the_weights(finest: int, weights: float) -> None:
    image = smooth(0, 1, 1, *SIZE, sigma=1.0).expand(1, 2, *SIZE)
    fields = pyramid_of(torch.zeros(1, 3, *SIZE), finest, coarsest=3)
    assert RegistrationLoss()(fields, image).item() == pytest.approx(-weights, abs=2e-3)


def test_loss_is_similarity_and_smoothness_of_every_scale() -> None:
    image = smooth(1, 2, 2, *SIZE, sigma=1.5)
    fields = random_pyramid(2, finest=1, batch=2)
    expected = torch.zeros(())
    for field, scale, weight in zip(fields, (4, 3, 2, 0), (1 / 16, 1 / 8, 1 / 4, 1), strict=True):
        # The finest field is resized to the image.
        field = field if scale else resize_field(field, list(SIZE))
        pooled = avg_pool3d(image, 2**scale)
        similarity = LNCCLoss(5)(warp(pooled[:, 1:], field), pooled[:, :1])
        expected = expected + weight * (similarity + 0.3 * SmoothnessLoss()(field))
    loss = RegistrationLoss(window=5, smoothness_weight=0.3, folding_weight=0)
    torch.testing.assert_close(loss(fields, image), expected)


def test_folding_is_that_of_the_finest_field_as_predicted() -> None:
    image = smooth(12, 1, 2, *SIZE, sigma=1.5)
    fields = random_pyramid(13, finest=1)
    fields[-1] = fields[-1] + torch.randn(fields[-1].shape, generator=torch.Generator().manual_seed(0))
    folding = FoldingLoss()(fields[-1])
    assert folding > 0
    expected = RegistrationLoss(folding_weight=0)(fields, image) + 7 * folding
    torch.testing.assert_close(RegistrationLoss(folding_weight=7)(fields, image), expected)


def test_two_voxels_have_a_loss_without_folding_only() -> None:
    # A determinant needs three voxels along every axis.
    image, fields = smooth(14, 1, 2, 16, 16, 16, sigma=1.5), [torch.zeros(1, 3, 2, 2, 2)]
    assert RegistrationLoss(folding_weight=0)(fields, image).isfinite()
    with pytest.raises(ValueError, match="3 voxels"):
        RegistrationLoss(folding_weight=1)(fields, image)


def test_several_channels_are_pairs_of_fixed_and_moving() -> None:
    # All windows are foreground, so the mean over the windows is that of the means of the pairs.
    pairs = [smooth(seed, 2, 2, *SIZE, sigma=1.5) for seed in (15, 16, 17)]
    fields = random_pyramid(18, batch=2)
    target = torch.cat([pair[:, :1] for pair in pairs] + [pair[:, 1:] for pair in pairs], dim=1)
    loss = RegistrationLoss(smoothness_weight=0.3)
    mean = torch.stack([loss(fields, pair) for pair in pairs]).mean()
    torch.testing.assert_close(loss(fields, target), mean)


def test_odd_number_of_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="not 3 in all"):
        RegistrationLoss()(random_pyramid(19), torch.rand(1, 3, *SIZE))


def test_true_field_has_a_lower_loss_than_zero_and_opposite() -> None:
    velocity = 8 * smooth(3, 1, 3, *SIZE, sigma=5.0) - 4
    moving = smooth(4, 1, 1, *SIZE, sigma=1.5)
    image = torch.cat([warp(moving, integrate(velocity)), moving], dim=1)
    loss = RegistrationLoss()
    true, zero, opposite = (loss(pyramid_of(integrate(s * velocity), finest=1), image) for s in (1, 0, -1))
    assert true < zero - 0.3
    assert zero < opposite + 0.1
    assert true < opposite - 0.3


@pytest.mark.parametrize("finest", [0, 1, 2])
def test_every_field_has_a_gradient(finest: int) -> None:
    image = smooth(5, 1, 2, *SIZE, sigma=1.5)
    fields = [field.requires_grad_() for field in random_pyramid(6, finest)]
    RegistrationLoss()(fields, image).backward()
    for field in fields:
        assert field.grad.isfinite().all()
        assert (field.grad.abs() > 0).double().mean() > 0.5


def test_scale_of_one_voxel_adds_nothing() -> None:
    image = smooth(7, 1, 2, 16, 16, 16, sigma=1.5)
    fields = [field.requires_grad_() for field in pyramid_of(torch.ones(1, 3, 16, 16, 16), finest=1)]
    assert fields[0].shape[2:] == (1, 1, 1)
    loss = RegistrationLoss()(fields, image)
    loss.backward()
    torch.testing.assert_close(loss, RegistrationLoss()(fields[1:], image))
    assert all(field.grad.isfinite().all() for field in fields)


def test_autocast_changes_nothing() -> None:
    image, fields = smooth(8, 1, 2, *SIZE, sigma=1.5), random_pyramid(9)
    expected = RegistrationLoss()(fields, image)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(RegistrationLoss()(fields, image), expected)


@pytest.mark.parametrize("field_scale", [0, 1, 2])
def test_untrained_network_has_the_loss_of_zero_fields(field_scale: int) -> None:
    image = smooth(10, 1, 2, *SIZE, sigma=1.5)
    torch.manual_seed(0)
    fields = MSFBNet(field_scale=field_scale).pyramid(image)
    loss = RegistrationLoss()(fields, image)
    loss.backward()
    expected = RegistrationLoss()([torch.zeros_like(field) for field in fields], image)
    torch.testing.assert_close(loss.detach(), expected, rtol=0, atol=1e-3)


def test_a_few_steps_reduce_the_shift_of_a_phantom() -> None:
    body = torch.zeros(1, 1, 32, 32, 32)
    body[:, :, 8:24, 6:25, 9:23] = smooth(11, 1, 1, 16, 19, 14, sigma=1.5) + 0.3
    image = torch.cat([body, body.roll(2, dims=3)], dim=1) / 1.3

    torch.manual_seed(0)
    network, loss = MSFBNet(), RegistrationLoss()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    losses = []
    for _ in range(12):
        value = loss(network.pyramid(image), image)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())

    with torch.no_grad():
        field = network(image)
    fixed, moving = image[:, :1], image[:, 1:]
    before, after = (moving - fixed).square().mean(), (warp(moving, field) - fixed).square().mean()
    shift = field[0, :, 8:24, 6:25, 9:23].mean(dim=(1, 2, 3))
    assert losses[-1] < losses[0] - 0.2
    assert after < 0.3 * before
    assert shift[1] > 1.2
