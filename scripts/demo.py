# SPDX-License-Identifier: Apache-2.0
"""The whole bundle on virtual brains: training, evaluation, a registration."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from typing import Any

from scripts.conventions import EXIT_MEMORY
from scripts.datasets import validation_pairs
from scripts.environment import short_waiting
from scripts.io import read_grid
from scripts.synthesis import write_dataset

TRAIN = "configs/train.json"
DEMO = "configs/datasets/demo.yaml"


def demo() -> None:
    """Make virtual brains in `demo/`, train on them, evaluate and register a pair."""
    shutil.rmtree("demo", ignore_errors=True)
    print("Virtual people from the ICBM152 template, each with a field of its own ...", flush=True)
    size = (64, 80, 64)
    write_dataset("demo/data", size=size, num_training=12, num_validation=4)
    bundle_run("training", f"['{TRAIN}','{DEMO}']")
    bundle_run("evaluating", f"['{TRAIN}','configs/evaluate.json','{DEMO}']")
    pair = validation_pairs("demo/data")[0]
    fixed, moving = (os.path.relpath(pair[role]["image"]) for role in ("fixed", "moving"))
    files = {"fixed": fixed, "moving": moving, "output_dir": "demo/registration", "weights": "demo/training/model.pt"}
    # The network expects voxels as it was trained on.
    spacing = float(read_grid(fixed).affine[0, 0])
    options = {**files, "init": "none", "network_spacing": spacing, "network_size": list(size)}
    bundle_run("inference", "configs/inference.json", **options)
    print("\nThe report of the registration: demo/registration/report.html")
    print("The course of the training:     demo/training/loss_curve.png")


def bundle_run(run_id: str, config_file: str, **overrides: Any) -> None:
    """Show a command as a user would type it, and run it in a process of its own; ends this one if it fails."""
    options = [word for name, value in overrides.items() for word in (f"--{name}", str(value))]
    command = ["-m", "monai.bundle", "run", run_id, "--config_file", config_file, *options]
    print(f"\n$ {shlex.join(['python', *command])}", flush=True)
    # MONAI warns at every run that configs are code.
    environment = {**os.environ, **short_waiting(), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, *command], env=environment, check=False)
    if done.returncode == -signal.SIGKILL:
        print("error: the run was killed, most likely for want of memory", file=sys.stderr)
        sys.exit(EXIT_MEMORY)
    if done.returncode:
        sys.exit(done.returncode)
