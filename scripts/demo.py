# SPDX-License-Identifier: Apache-2.0
"""The whole bundle on virtual brains: training, evaluation, a registration."""

import os
import shutil

from scripts.bundle_run import run_bundle
from scripts.datasets import validation_pairs
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
    run_bundle("training", [TRAIN, DEMO])
    run_bundle("evaluating", [TRAIN, "configs/evaluate.json", DEMO])
    pair = validation_pairs("demo/data")[0]
    fixed, moving = (os.path.relpath(pair[role]["image"]) for role in ("fixed", "moving"))
    files = {"fixed": fixed, "moving": moving, "output_dir": "demo/registration", "weights": "demo/training/model.pt"}
    # The network expects voxels as it was trained on.
    spacing = float(read_grid(fixed).affine[0, 0])
    options = {**files, "init": "none", "network_spacing": spacing, "network_size": list(size)}
    run_bundle("inference", "configs/inference.json", **options)
    print("\nThe report of the registration: demo/registration/report.html")
    print("The course of the training:     demo/training/loss_curve.png")
