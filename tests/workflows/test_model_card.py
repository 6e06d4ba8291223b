# SPDX-License-Identifier: Apache-2.0
"""The commands of the model card, docs/README.md: each is run as it stands, in the order of the page, on tiny scans."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CARD = (ROOT / "docs" / "README.md").read_text()
COMMANDS = [line.strip() for line in CARD.splitlines() if re.match(r"(    )?(python -m|torchrun) ", line)]

# So that each takes seconds. What starts from the shipped weights has their network.
NETWORK = {"network_def#channels": "[8,8,8]"}
OPTIONS = {
    "training": {"max_epochs": "1", "pairs_per_epoch": "1", "val_interval": "1"},
    "evaluating": {},
    "inference": {"network_spacing": "5.0", "network_size": "[32,32,32]"},
}


def words_of(command: str, places: dict[str, Path]) -> list[str]:
    for name, path in places.items():
        command = command.replace(name, shlex.quote(str(path)))
    words = shlex.split(command)
    options = next((options for name, options in OPTIONS.items() if name in words), {})
    if not {"inference", "--weights", "ckpt_export", "onnx_export"} & set(words) and "monai.bundle" in words:
        options = {**options, **NETWORK}
    for option, value in options.items():
        if f"--{option}" in words:
            words[words.index(f"--{option}") + 1] = value
        else:
            words += [f"--{option}", value]
    return words


def test_the_card_has_the_commands_that_the_zoo_wants() -> None:
    text = "\n".join(COMMANDS)
    for wanted in (
        "run training",
        "run evaluating",
        "run inference",
        "multi_gpu_train",
        "multi_gpu_evaluate",
        "ckpt_export",
        "onnx_export",
    ):
        assert wanted in text


@pytest.mark.slow
def test_every_command_runs(odd_dataset: Path, label_dir: Path, tmp_path: Path) -> None:
    fixed, moving = sorted((odd_dataset / "imagesTr").iterdir())[2:4]
    given = {
        "<dataset>": odd_dataset,
        "<labelmaps>": label_dir,
        "LABELMAPS": label_dir,
        "<fixed>": fixed,
        "<moving>": moving,
    }
    given |= {"docs/synthetic_samples.png": tmp_path / "samples.png"}
    made = {name: tmp_path / name.strip("<>") for name in re.findall(r"<\w+>", " ".join(COMMANDS)) if name not in given}
    scripts = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # of python and torchrun
    for command in COMMANDS:
        done = subprocess.run(
            words_of(command, given | made),
            cwd=ROOT,
            env={**os.environ, "PATH": scripts},
            capture_output=True,
            text=True,
            check=False,
        )
        # Tiny scans may well be registered poorly: 5 says so, and the results are there.
        assert done.returncode in ((0, 5) if "inference" in command else (0,)), f"{command}\n{done.stderr}"
    for path in made.values():
        assert list(path.parent.glob(f"{path.name}*")), f"nothing was written to {path}"
