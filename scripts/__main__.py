"""The command line: `python -m scripts COMMAND`, from the bundle's root."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import fire

TRAIN = "configs/train.json"
DEMO = "configs/datasets/demo.yaml"


def register(fixed: str, moving: str, output_dir: str, weights: str = "models/model.pt") -> None:
    """Register a moving image to a fixed one on the same grid.

    Leaves moved.nii.gz, warp.nii.gz (ITK), metrics.json and picture.png in the output folder.

    Args:
        fixed: the image that stays (NIfTI or .mgz).
        moving: the image that is warped.
        output_dir: where the results go.
        weights: of the network.
    """
    files = {"fixed": fixed, "moving": moving, "output_dir": output_dir, "weights": weights}
    _bundle_run("inference", "configs/inference.json", **files)


def demo() -> None:
    """Make small virtual brains, train on them, evaluate, register a pair: some minutes on two CPU cores."""
    from scripts.data import validation_pairs, write_dataset

    shutil.rmtree("demo", ignore_errors=True)
    print("Virtual people from the ICBM152 template, each with a field of its own ...", flush=True)
    write_dataset("demo/data", size=(64, 80, 64), num_training=12, num_validation=4)
    _bundle_run("training", f"['{TRAIN}','{DEMO}']")
    _bundle_run("evaluating", f"['{TRAIN}','configs/evaluate.json','{DEMO}']")
    pair = validation_pairs("demo/data")[0]
    fixed, moving = (os.path.relpath(pair[role]["image"]) for role in ("fixed", "moving"))
    register(fixed, moving, "demo/registration", weights="demo/training/model.pt")
    print("\nThe picture of the registration: demo/registration/picture.png")
    print("The course of the training:      demo/training/loss_curve.png")


def _bundle_run(run_id: str, config_file: str, **overrides: str) -> None:
    """Show a command as a user would type it, and run it."""
    options = [word for name, value in overrides.items() for word in (f"--{name}", value)]
    command = ["-m", "monai.bundle", "run", run_id, "--config_file", config_file, *options]
    print(f"\n$ {shlex.join(['python', *command])}", flush=True)
    # MONAI warns at every run that configs are code.
    done = subprocess.run([sys.executable, *command], env={**os.environ, "PYTHONWARNINGS": "ignore"}, check=False)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    if not Path(TRAIN).is_file():
        sys.exit(f"error: {TRAIN}: no such file; run this from the bundle's root")
    fire.Fire({"demo": demo, "register": register}, name="python -m scripts")
