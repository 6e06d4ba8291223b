# SPDX-License-Identifier: Apache-2.0
"""The commands of the model card, docs/README.md: each is run as it stands, in the order of the page, on tiny scans."""

import multiprocessing
import os
import re
import runpy
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


# Processes that begin with what all commands import: that takes each of them as long as the rest.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["monai.bundle", "scripts.evaluation", "scripts.registration", "scripts.training"])


def run_module(words: list[str], log: Path) -> None:
    """`python -m MODULE ARGUMENTS`, from the root of the bundle; what it prints goes to a file."""
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(ROOT)
    sys.path[0] = str(ROOT)
    sys.argv = words
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)


def exit_code(words: list[str], log: Path) -> int:
    """Run a command: `python -m` in a fork, others as they are."""
    if words[:2] == ["python", "-m"]:
        process = FORKS.Process(target=run_module, args=(words[2:], log))
        process.start()
        process.join()
        return process.exitcode
    with open(log, "w") as file:
        scripts = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # of torchrun
        environment = {**os.environ, "PATH": scripts}
        return subprocess.run(words, cwd=ROOT, env=environment, stdout=file, stderr=file, check=False).returncode


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
    log = tmp_path / "log"
    for command in COMMANDS:
        # Tiny scans may well be registered poorly: 5 says so, and the results are there.
        allowed = (0, 5) if "inference" in command else (0,)
        assert exit_code(words_of(command, given | made), log) in allowed, f"{command}\n{log.read_text()}"
    for path in made.values():
        assert list(path.parent.glob(f"{path.name}*")), f"nothing was written to {path}"
