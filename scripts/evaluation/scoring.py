# SPDX-License-Identifier: Apache-2.0
"""From a batch of pairs to the inputs of metrics."""

import time
from typing import Any

import torch
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents
from monai.utils import convert_to_tensor
from torch import Tensor

from scripts.spatial import warp


def score_inputs(pair: dict[str, Any]) -> dict[str, Any]:
    """Postprocessing of one pair: adds the inputs of metrics that are not in the batch.

    Args:
        pair: a pair of `evaluate_batch`'s output, without the batch axis.

    Returns:
        The pair with `identity` (a field of zeros, for metrics before the registration), `moving_mask` (moving image
        > 0) and, if there are labels, `warped_label` (nearest neighbor).
    """
    field = pair["pred"]
    added = {"identity": torch.zeros_like(field), "moving_mask": pair["image"][1:] > 0}
    if "moving_label" in pair:
        added["warped_label"] = warp(pair["moving_label"][None], field[None], mode="nearest")[0]
    return pair | added


def evaluate_batch(engine: SupervisedEvaluator, batch: dict[str, Any]) -> dict[str, Any]:
    """Iteration of an evaluator whose output is the whole batch and the prediction.

    Args:
        engine: MONAI's evaluator.
        batch: a batch of a `PairDataset`.

    Returns:
        The batch on the device, `pred`, the displacement field, and `seconds`, the time per pair.
    """
    output = {
        key: convert_to_tensor(value, track_meta=False).to(engine.state.device) if isinstance(value, Tensor) else value
        for key, value in batch.items()
    }
    began = time.perf_counter()
    with engine.mode(engine.network):
        output["pred"] = engine.inferer(output["image"], engine.network)
    if output["pred"].is_cuda:
        torch.cuda.synchronize(output["pred"].device)
    output["seconds"] = [(time.perf_counter() - began) / len(output["pred"])] * len(output["pred"])
    engine.state.output = output
    engine.fire_event(IterationEvents.FORWARD_COMPLETED)
    engine.fire_event(IterationEvents.MODEL_COMPLETED)
    return engine.state.output
