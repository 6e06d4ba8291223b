# SPDX-License-Identifier: Apache-2.0
"""Values that options of the configs cannot have are refused, with the option, the value and what is wanted."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.runtime import InputError, check_options, flag

ROOT = Path(__file__).parents[2]

REFUSED = [
    *(("volume", value) for value in ("q", -1, 1.5, True)),
    *(("network_size", value) for value in (5, [160, 224], [0, 224, 192], "abc", [1.5, 1, 1], ["a", 1, 1])),
    *(("network_spacing", value) for value in (0, -1, "abc", float("nan"), float("inf"), None, True)),
    *(("labels", value) for value in ("abc", 5, [1.5], ["17"], {"17": "thalamus"})),
    *(("refine", value) for value in (-3, "abc", 1.5, None)),
    *(("seed", value) for value in ("abc", -1, 2**32, False)),
    *(("threads", value) for value in (0, "abc", 1.5)),
    *(("workers", value) for value in (-1, "two")),
    *(("composite", value) for value in ("maybe", 1, None)),
    *(("learning_rate", value) for value in ("abc", -1e-4, "1e-4")),
    *(("stages", value) for value in ("abc", 5, [5], [{"epochs": 1}], [{"steps": 0}], {"steps": 1})),
    *(("val_interval", 0), ("pairs_per_epoch", 0), ("max_epochs", -1), ("max_epochs", 1.5), ("batch_size", 0)),
    *(("clip_norm", 0), ("ema_decay", 1), ("cache_rate", 1.5), ("lncc_window", 8), ("smoothness_weight", -1)),
    *(("minutes", -1), ("warmup_steps", -1), ("t1_probability", 2), ("box", [96, 112])),
]
TAKEN: dict[str, list[Any]] = {
    "volume": [None, 0, 3],
    "network_size": [[1, 1, 1], (160, 224, 192)],
    "network_spacing": [1, 0.5],
    "labels": [None, [], [17, 53], {17: "thalamus"}],
    "composite": [True, "false", "True"],
    "learning_rate": [0, 1e-4, 1],
    "stages": [[], [{"steps": 100, "spacing": 2, "size": None}]],
    "minutes": [None, 0, 2.5],
    "ema_decay": [0, 0.999],
    "seed": [0, 2**32 - 1],
}


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_other_values_are_refused(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"^--{name} {re.escape(str(value))}: want \w[^\n]+$"):
        check_options({name: value})


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in TAKEN.items() for value in values])
def test_right_values_are_taken(name: str, value: Any) -> None:
    check_options({name: value})


@pytest.mark.parametrize(("value", "expected"), [(True, True), ("true", True), ("False", False), (False, False)])
def test_flag_is_read(value: bool | str, expected: bool) -> None:
    assert flag(value, "composite") is expected


def test_other_than_a_flag_is_refused() -> None:
    with pytest.raises(InputError, match=r"^--composite maybe: want true or false$"):
        flag("maybe", "composite")


@pytest.mark.parametrize(
    "path", [path for ending in ("json", "yaml") for path in sorted((ROOT / "configs").rglob(f"*.{ending}"))], ids=str
)
def test_options_of_the_configs_are_known_and_have_right_values(path: Path) -> None:
    """Where an option is checked, `options` names the parameter of the same name."""
    content = json.loads(path.read_text()) if path.suffix == ".json" else yaml.safe_load(path.read_text())
    options = content.get("options", {})
    options |= {key.partition("#")[2]: value for key, value in content.items() if key.startswith("options#")}
    assert all(value == f"@{name}" for name, value in options.items())
    plain = {name: content[name] for name in options if not str(content.get(name, "$")).startswith(("$", "@"))}
    check_options(plain)
