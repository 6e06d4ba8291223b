"""One step of training or evaluation: from a batch of pairs to fields."""

import time
from collections.abc import Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents
from monai.inferers import Inferer
from monai.utils import convert_to_tensor
from torch import Tensor
from torch.nn.functional import pad

from scripts.losses import LNCCLoss
from scripts.spatial import warp
from scripts.world import InputError


def prepare_training_batch(
    batch: dict[str, Any], device: torch.device, non_blocking: bool = False, **_: Any
) -> tuple[Tensor, Tensor]:
    """Move `image`, what the network sees, and `target`, what the loss compares, to the device.

    Without `target` the pairs are both, as training needs no labels.
    """
    # Plain tensors: every operation on a MetaTensor copies its metadata.
    image, *target = (
        convert_to_tensor(batch[key], track_meta=False).to(device, non_blocking=non_blocking)
        for key in ("image", "target")
        if key in batch
    )
    return image, target[0] if target else image


class BatchWithLabels:
    """`prepare_training_batch` with label maps, some of whose labels count in a step, drawn at random.

    They are drawn here, by torch's global generator on the CPU: what restores it, as a resumed training does, draws
    the same again, and the loss waits for nothing.

    Args:
        labels: to draw from.
        labels_per_step: how many are drawn, none twice; all where there are fewer.

    Raises:
        InputError: without labels.
    """

    def __init__(self, labels: Sequence[int], labels_per_step: int) -> None:
        if not labels:
            raise InputError("no labels to compare; name them under 'labels' in the dataset JSON, or in --dice_labels")
        self.labels = torch.tensor(labels)
        self.labels_per_step = labels_per_step

    def __call__(
        self, batch: dict[str, Any], device: torch.device, non_blocking: bool = False, **_: Any
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Move to the device what the network sees and what `LabelledLoss` compares."""
        image, target = prepare_training_batch(batch, device, non_blocking)
        label_maps = torch.cat([batch["fixed_label"], batch["moving_label"]], dim=1)
        drawn = self.labels[torch.randperm(len(self.labels))[: self.labels_per_step]]
        return image, (
            target,
            convert_to_tensor(label_maps, track_meta=False).to(device, non_blocking=non_blocking),
            drawn.to(device, non_blocking=True),
        )


class PyramidInferer(Inferer):
    """Ask the network for the fields of all scales, which the loss supervises.

    Args:
        bf16: whether the network computes in bfloat16; fields, and so the loss, stay in the images' precision. MONAI's
            `amp` is for GPUs only, and scales the loss, which bfloat16 does not need.
    """

    def __init__(self, bf16: bool = False) -> None:
        self.bf16 = bf16

    def __call__(self, inputs: Tensor, network: Any, *_: Any, **__: Any) -> list[Tensor]:
        """`(B, 2, D, H, W)` -> one field per scale, coarse to fine (see `MSFBNet.pyramid`)."""
        # On CPUs (torch 2.13.0) the bfloat16 gradient of a convolution over 2 voxels along the first axis reads memory
        # that nobody wrote; the coarsest scale is halved once more by its gates.
        safe = inputs.device.type != "cpu" or inputs.shape[2] > 4 * network.multiple
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.bf16 and safe):
            return network.pyramid(inputs)


class PaddedInferer(Inferer):
    """Register images of any size: pad with zeros to the multiple that the network needs, crop its field.

    Args:
        bf16: whether the network computes in bfloat16; fields stay in the images' precision.
    """

    def __init__(self, bf16: bool = False) -> None:
        self.bf16 = bf16

    def __call__(self, inputs: Tensor, network: Any, *_: Any, **__: Any) -> Tensor:
        """`(B, 2, D, H, W)` -> field `(B, 3, D, H, W)`, voxels."""
        depth, height, width = inputs.shape[2:]
        missing = [-size % network.multiple for size in (width, height, depth)]
        padded = pad(inputs, [0, missing[0], 0, missing[1], 0, missing[2]])
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.bf16):
            return network(padded)[:, :, :depth, :height, :width]


class LastValidation:
    """Validate after the last epoch, whatever the interval: its weights may be the best.

    Args:
        validator: the evaluator to run, unless it has just run.
    """

    def __init__(self, validator: SupervisedEvaluator) -> None:
        self.validator = validator

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer, after MONAI's `ValidationHandler`."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Validate if this is the last epoch."""
        epoch = engine.state.epoch
        if epoch == engine.state.max_epochs and self.validator.state.epoch != epoch:
            self.validator.run(epoch)


class SharedEvaluator(SupervisedEvaluator):
    """MONAI's evaluator for a process whose share of the pairs may be empty: it meets the others where they gather."""

    def run(self, global_epoch: int = 1) -> None:
        """Evaluate, or with nothing to evaluate only go through what comes before and after."""
        if self.state.epoch_length:
            super().run(global_epoch)
            return
        self.state.epoch = global_epoch
        for event in (Events.STARTED, Events.EPOCH_STARTED, Events.EPOCH_COMPLETED, Events.COMPLETED):
            self.fire_event(event)


def score_inputs(pair: dict[str, Any]) -> dict[str, Any]:
    """Postprocessing of one pair: what metrics need beside the prediction.

    Args:
        pair: of `evaluate_batch`, without the batch axis.

    Returns:
        The pair with `identity` (a field of zeros, for figures before the registration), `moving_mask` (moving image
        > 0), and where there are labels `warped_label` (nearest).
    """
    field = pair["pred"]
    added = {"identity": torch.zeros_like(field), "moving_mask": pair["image"][1:] > 0}
    if "moving_label" in pair:
        added["warped_label"] = warp(pair["moving_label"][None], field[None], mode="nearest")[0]
    return pair | added


def lncc(image: Tensor, field: Tensor) -> Tensor:
    """Squared local correlation of the fixed and the warped moving image, in [0, 1]: a metric that needs no labels.

    Args:
        image: `(2, D, H, W)`, fixed and moving.
        field: `(3, D, H, W)`, voxels.

    Returns:
        A scalar.
    """
    return -LNCCLoss()(warp(image[None, 1:], field[None]), image[None, :1])


def evaluate_batch(engine: SupervisedEvaluator, batch: dict[str, Any]) -> dict[str, Any]:
    """Iteration of an evaluator that hands the whole batch on, beside the prediction.

    Args:
        engine: MONAI's evaluator.
        batch: of a `PairDataset`.

    Returns:
        The batch on the device, `pred`, the field, and `seconds`, what it took per pair.
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
