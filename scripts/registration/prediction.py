# SPDX-License-Identifier: Apache-2.0
"""What the network predicts of a pair."""

from collections.abc import Callable

import numpy as np
import torch
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents
from monai.networks.utils import eval_mode
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from scripts.registration.filling import predict_around
from scripts.registration.outcomes import Attempt
from scripts.registration.pair import Failure, PredictedPair, PreparedPair, advanced
from scripts.runtime import timed

# From images `(1, 2, D, H, W)` and a network to the field `(1, 3, D, H, W)`, such as `networks.CascadeInferer`.
Inferer = Callable[[Tensor, nn.Module], Tensor]


def predict(pair: PreparedPair, network: nn.Module, inferer: Inferer, device: torch.device) -> PredictedPair:
    """Predict the displacement field.

    Of images of different contrasts, it is the mean of two, one in either contrast.

    Args:
        pair: what the network sees.
        network: the network, on the device.
        inferer: computes it.
        device: the device that computes.
    """
    timings = dict(pair.timings)

    def predicted(image: NDArray[np.float32]) -> Tensor:
        return _field(image, network, inferer, device)

    with timed(timings, "network"):
        inputs, fields = [], []
        for image in pair.in_one_contrast or (pair.image,):
            if pair.unknown is None:
                inputs.append(image)
                fields.append(predicted(image))
            else:
                filled, field = predict_around(image, pair.unknown, predicted)
                inputs.append(filled)
                fields.append(field)
        field = torch.stack(fields).mean(dim=0)
    return advanced(PredictedPair, pair, inputs=tuple(inputs), field=field, device=str(device), timings=timings)


def backward_field(pair: PredictedPair, network: nn.Module, inferer: Inferer, device: torch.device) -> Tensor:
    """The field of the other order of a pair, at half the size, which takes an eighth of the time.

    It tells more than the one at full size: symmetric networks make that an inverse of the field, right or wrong.

    Args:
        pair: the pair as the network saw it.
        network: the network, on the device.
        inferer: computes it.
        device: the device that computes.

    Returns:
        `(3, X / 2, Y / 2, Z / 2)`, voxels of that size.
    """
    half = [-(-n // 2) for n in pair.image.shape[1:]]
    swapped = [torch.from_numpy(image[::-1].copy())[None] for image in pair.inputs]
    small = [interpolate(image, size=half, mode="area")[0].numpy() for image in swapped]
    return torch.stack([_field(image, network, inferer, device) for image in small]).mean(dim=0)


def as_it_is(pair: PreparedPair | Failure) -> PreparedPair | Failure:
    """Collate nothing: a loader without batches hands single pairs on."""
    return pair


def predict_pair(engine: SupervisedEvaluator, pair: PreparedPair | Failure) -> PredictedPair | Failure:
    """Iteration of MONAI's evaluator over single pairs: see `predict`."""

    def step(pair: PreparedPair) -> PredictedPair:
        return predict(pair, engine.network, engine.inferer, engine.state.device)

    engine.state.output = Attempt(step)(pair)
    engine.fire_event(IterationEvents.FORWARD_COMPLETED)
    engine.fire_event(IterationEvents.MODEL_COMPLETED)
    return engine.state.output


def _field(image: NDArray[np.float32], network: nn.Module, inferer: Inferer, device: torch.device) -> Tensor:
    """The field `(3, X, Y, Z)`, on the CPU, of two images `(2, X, Y, Z)`."""
    with eval_mode(network):
        return inferer(torch.from_numpy(image)[None].to(device), network)[0].float().cpu()
