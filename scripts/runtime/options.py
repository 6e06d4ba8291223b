# SPDX-License-Identifier: Apache-2.0
"""Which values the options of the configs take."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from scripts.runtime.errors import InputError


class _Kind(NamedTuple):
    wanted: str
    fits: Callable[[Any], bool]


def _is_whole(value: Any, least: int) -> bool:
    return type(value) is int and value >= least  # not a bool


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_label_list(value: Any) -> bool:
    return (_is_list(value) or isinstance(value, Mapping)) and all(type(label) is int for label in value)


def _is_stage(value: Any) -> bool:
    return isinstance(value, Mapping) and _is_whole(value.get("steps"), 1)


_FLAG = _Kind("true or false", lambda value: str(value).lower() in ("true", "false"))
_FROM_0 = _Kind("a whole number from 0", lambda value: _is_whole(value, 0))
_FROM_1 = _Kind("a whole number from 1", lambda value: _is_whole(value, 1))
_SEED = _Kind("a whole number from 0, below 2^32", lambda value: _is_whole(value, 0) and value < 2**32)  # as for NumPy
_ODD = _Kind("an odd number from 1", lambda value: _is_whole(value, 1) and value % 2 == 1)
_WEIGHT = _Kind("a number from 0", lambda value: _is_number(value) and value >= 0)
_POSITIVE = _Kind("a number above 0", lambda value: _is_number(value) and value > 0)
_SHARE = _Kind("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1)
_DECAY = _Kind("a number from 0, below 1", lambda value: _is_number(value) and 0 <= value < 1)
_SIZE = _Kind(
    "three numbers of voxels, such as [160, 224, 192]",
    lambda value: _is_list(value) and len(value) == 3 and all(_is_whole(n, 1) for n in value),
)
_LABELS = _Kind("a list of label values, such as [17, 53]", _is_label_list)
_STAGES = _Kind(
    "a list of stages with their 'steps', such as [{'steps': 100, 'spacing': 2}]",
    lambda value: _is_list(value) and all(_is_stage(stage) for stage in value),
)

_KINDS: dict[_Kind, tuple[str, ...]] = {
    _FLAG: ("assume_ras", "bf16", "composite", "resume", "use_labels"),
    _FROM_0: ("refine", "volume", "warmup_steps", "workers"),
    _FROM_1: ("batch_size", "labels_per_step", "max_epochs", "pairs_per_epoch", "threads", "val_interval"),
    _SEED: ("seed",),
    _ODD: ("lncc_window",),
    _WEIGHT: ("dice_weight", "folding_weight", "learning_rate", "minutes", "similarity_weight", "smoothness_weight"),
    _POSITIVE: ("clip_norm", "network_spacing"),
    _SHARE: ("cache_rate", "head_probability", "same_contrast_probability", "t1_probability"),
    _DECAY: ("ema_decay",),
    _SIZE: ("box", "network_size"),
    _LABELS: ("dice_labels", "labels"),
    _STAGES: ("stages",),
}
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names}
_MAY_BE_NONE = ("clip_norm", "labels", "minutes", "threads", "volume")


def check_options(values: Mapping[str, Any]) -> None:
    """Refuse values that options cannot have.

    Args:
        values: values by the names of the options; None where one that has no default is not given.

    Raises:
        InputError: for the first that does not fit.
        KeyError: if it is not known what an option takes.
    """
    for name, value in values.items():
        kind = _KIND_OF[name]
        if not (kind.fits(value) or (value is None and name in _MAY_BE_NONE)):
            raise InputError(f"--{name} {value}: want {kind.wanted}")
