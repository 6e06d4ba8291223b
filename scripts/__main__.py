# SPDX-License-Identifier: Apache-2.0
"""The command line: `python -m scripts COMMAND`, from the bundle's root.

Exit codes: 0 done, 1 a bug, 2 usage, 3 input or files, 4 memory, 5 the verdict is "fail", 130 interrupted, 143 ended.
"""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from pkgutil import resolve_name
from typing import Literal

from scripts.bundle_run import run_bundle
from scripts.command_line import UsageError, check_place, parsed
from scripts.conventions import EXIT_INTERRUPTED, EXIT_USAGE, TRAIN, FieldFormat
from scripts.development import benchmark, study
from scripts.environment import short_waiting
from scripts.signals import end_on_signals

INFERENCE = "configs/inference.json"
BIDS = "configs/bids.yaml"


def register(
    fixed: str | None = None,
    moving: str | None = None,
    pairs: str | None = None,
    dataset_dir: str | None = None,
    section: str | None = None,
    output_dir: str | None = None,
    weights: str | None = None,
    strip: Literal["auto", "yes", "no"] | None = None,
    init: str | None = None,
    refine: int | None = None,
    fixed_mask: str | None = None,
    moving_mask: str | None = None,
    fixed_exclude: str | None = None,
    moving_exclude: str | None = None,
    fixed_label: str | None = None,
    moving_label: str | None = None,
    fixed_landmarks: str | None = None,
    moving_landmarks: str | None = None,
    volume: int | None = None,
    assume_ras: bool | None = None,
    composite: bool | None = None,
    workers: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> None:
    """Register a moving image to a fixed one, or many pairs.

    Writes the moved image, the transform in both directions, metrics and a report; defaults: configs/inference.json.

    Args:
        fixed: fixed image, which stays as it is (NIfTI or .mgz), or mni152, the ICBM152 template.
        moving: moving image, which is warped to the fixed one (NIfTI or .mgz), or mni152.
        pairs: CSV (any separator) or JSON list of pairs, instead of --fixed and --moving.
        dataset_dir: folder of a Learn2Reg dataset, instead of --fixed and --moving.
        section: list of pairs in the dataset's JSON file; its validation pairs if not given.
        output_dir: folder for the results.
        weights: file of the network's weights.
        strip: where the brain is searched if there is no mask: auto (in whole heads), yes, no.
        init: start of the registration: affine, rigid, none, or an ITK affine file (.mat, .tfm).
        refine: number of optimization steps on the pair after the network, from 0.
        fixed_mask: brain mask of the fixed image; what it leaves out is background, its holes do not count.
        moving_mask: brain mask of the moving image.
        fixed_exclude: mask of what does not count in the fixed image, such as a lesion.
        moving_exclude: the same of the moving image.
        fixed_label: label map of the fixed image, to measure Dice and HD95.
        moving_label: label map of the moving image.
        fixed_landmarks: landmarks of the fixed image (CSV, .fcsv, .mrk.json), to measure the target registration error.
        moving_landmarks: the same landmarks of the moving image, matched by name, or by row where names are missing.
        volume: number of the volume of a 4-D image, from 0.
        assume_ras: take images without orientation (no sform, no qform) as RAS.
        composite: also write transform.h5 (ITK composite).
        workers: number of processes that read and align pairs beside the network, from 0.
        seed: seed of all random numbers, from 0.
        device: device that computes: cpu, cuda, cuda:1 and so on.
        threads: number of CPU threads, from 1.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    check_place()
    run_bundle("inference", INFERENCE, **given)


def bids(
    bids_dir: str,
    output_dir: str,
    analysis_level: Literal["participant"],
    participant_label: list[str] | None = None,
    to: str = "mni152",
    suffix: str = "T1w",
    weights: str | None = None,
    refine: int | None = None,
    workers: int | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> None:
    """Register the scans of a BIDS dataset, and write BIDS derivatives.

    Args:
        bids_dir: root of the dataset.
        output_dir: root of the derivatives; what is finished there already is not done again.
        analysis_level: level of the analysis, as every BIDS app asks for it.
        participant_label: labels of the subjects, with blanks or commas between; all if not given.
        to: fixed image: mni152, a file, or a session, to which the other sessions of the same subject are registered.
        suffix: suffix of the scans.
        weights: file of the network's weights.
        refine: number of optimization steps on each pair after the network, from 0.
        workers: number of processes that read and align pairs beside the network, from 0.
        device: device that computes: cpu, cuda, cuda:1 and so on.
        threads: number of CPU threads, from 1.
    """
    given = {name: value for name, value in locals().items() if value is not None and name != "analysis_level"}
    check_place()
    run_bundle("inference", [INFERENCE, BIDS], **given)


def apply(
    transform: str,
    input: str,
    reference: str,
    output: str,
    interpolation: Literal["auto", "linear", "nearest"] = "auto",
    inverse: bool = False,
    assume_ras: bool = False,
) -> None:
    """Pull images, 4-D series and label maps onto a reference grid.

    Args:
        transform: ITK or DISPVECT field, .mat, .tfm or .h5, or several with commas between: the first is applied first
            to the reference's points, as with antsApplyTransforms -t warp -t affine.
        input: image, 4-D series or label map in the moving space, or several with commas between.
        reference: image that gives the grid, or mni152, the ICBM152 template.
        output: image to write (.nii, .nii.gz); for several inputs a folder.
        interpolation: linear, nearest, or auto: nearest for labels, linear for intensities, an error if unclear.
        inverse: invert the transform; the reference is then in the moving space.
        assume_ras: take files without orientation (no sform, no qform) as RAS.
    """
    resolve_name("scripts.registration:apply")(**locals())


def points(
    transform: str,
    input: str,
    output: str,
    space: Literal["ras", "lps"] | None = None,
    to: str | None = None,
    inverse: bool = False,
    assume_ras: bool = False,
) -> None:
    """Map landmarks from the fixed to the moving space: points go the other way from images.

    Args:
        transform: transform file, or several with commas between, as in apply.
        input: landmarks in the fixed space, mm (CSV, .fcsv, .mrk.json).
        output: CSV to write.
        space: coordinate system of all landmarks, where the files do not tell; RAS if not given.
        to: the same landmarks in the moving space, by name or else by row; prints the target registration error.
        inverse: invert the transform, for landmarks of the moving space; or give inverse_warp.nii.gz.
        assume_ras: take a field without orientation (no sform, no qform) as RAS.
    """
    resolve_name("scripts.registration:points")(**locals())


def convert(
    transform: str,
    output: str,
    to: FieldFormat,
    source: FieldFormat | None = None,
    fixed: str | None = None,
    moving: str | None = None,
    assume_ras: bool = False,
) -> None:
    """Write a transform in another format.

    Args:
        transform: file of a field, or an ITK transform.
        output: transform file to write.
        to: format of the output.
        source: format of the transform, where its file does not tell.
        fixed: fixed image, where the transform has no grid of its own.
        moving: moving image, which the formats fsl, learn2reg and monai need.
        assume_ras: take files without orientation (no sform, no qform) as RAS.
    """
    resolve_name("scripts.registration:convert")(**locals())


def jacobian(transform: str, output: str, reference: str | None = None, assume_ras: bool = False) -> None:
    """Map the Jacobian determinant of a transform in the fixed space.

    Args:
        transform: transform file, or several with commas between, as in apply.
        output: image to write (.nii, .nii.gz).
        reference: image that gives the grid, where the transform has none of its own.
        assume_ras: take files without orientation (no sform, no qform) as RAS.
    """
    resolve_name("scripts.registration:jacobian")(**locals())


def compare(
    output_dir: str,
    dataset_dir: str | None = None,
    pairs: str | None = None,
    count: int | None = None,
    methods: str | None = None,
    weights: str | None = None,
    baseline_weights: str | None = None,
    refine: int = 30,
    config_file: str = TRAIN,
    threads: int | None = None,
) -> None:
    """Measure several methods on the same pairs, of a dataset or raw ones, and compare them in tables and pictures.

    The same command again measures what is missing, and what other weights have changed. Runs on the CPU.

    Args:
        output_dir: folder for comparison.csv, comparison.md and pictures of accuracy against time and smoothness.
        dataset_dir: folder of a Learn2Reg dataset: its validation pairs and rescans.
        pairs: list of raw pairs, or several with commas between, as in register.
        count: number of pairs of each kind, from 1; all if not given.
        methods: methods to measure, with commas between; all that docs/results.md names if not given.
        weights: file of the network's weights; several as NAME=FILE,NAME=FILE.
        baseline_weights: weights of trained baselines, voxelmorph=FILE,localnet=FILE,regunet=FILE.
        refine: number of optimization steps of the method refined, from 0.
        config_file: config of the network, or several with commas between.
        threads: number of CPU threads, from 1.
    """
    check_place()
    resolve_name("scripts.evaluation:compare")(**locals())


def exports(
    output_dir: str, weights: str = "models/model.pt", config_file: str = INFERENCE, threads: int | None = None
) -> None:
    """Export the network for other runtimes: TorchScript, torch.export and ONNX.

    Each file is read back, and its result and its time are compared with PyTorch's, on the CPU.

    Args:
        output_dir: folder for the exported files and exports.md.
        weights: file of the network's weights.
        config_file: config of the network, or several with commas between.
        threads: number of CPU threads, from 1.
    """
    check_place()
    resolve_name("scripts.release.exports:exports")(**locals())


def samples(label_dir: str, output: str, count: int = 12, seed: int = 0) -> None:
    """Draw pictures of virtual pairs, as training from label maps gets them.

    Args:
        label_dir: folder of label maps.
        output: PNG to write.
        count: number of pairs, from 1.
        seed: seed of all random numbers, from 0.
    """
    resolve_name("scripts.report.samples:samples")(**locals())


def safetensors(weights: str, output: str) -> None:
    """Write weights as safetensors, which a reader need not unpickle.

    Args:
        weights: file of the network's weights (.pt).
        output: file to write (.safetensors); every --weights takes it.
    """
    resolve_name("scripts.io:write_safetensors")(**locals())


def bundle(output_dir: str) -> None:
    """Write the folder that is submitted to the MONAI Model Zoo, and its tests.

    Args:
        output_dir: new folder, for models/NAME and ci/unit_tests.
    """
    check_place()
    resolve_name("scripts.release.packaging:package")(**locals())


def demo() -> None:
    """Make small virtual brains, train on them, evaluate, register a pair: some minutes on two CPU cores."""
    check_place()
    os.environ.update(short_waiting())  # before torch is loaded
    resolve_name("scripts.demo:demo")()


_REGISTERING = (register, bids, apply, points, convert, jacobian)
_OTHERS = (compare, study, benchmark, exports, samples, safetensors, bundle, demo)
COMMANDS: dict[str, Callable[..., None]] = {command.__name__: command for command in (*_REGISTERING, *_OTHERS)}


def main(words: Sequence[str]) -> int:
    """Run the command that was typed after `python -m scripts`, and return its exit code."""
    logging.basicConfig(level=logging.WARNING, format="warning: %(message)s")
    try:
        parsed(["--help"] if words in ([], ["help"]) else words, COMMANDS)()
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:
        resolve_name("scripts.runtime:report_error")(type(error), error, error.__traceback__)
    return 0


if __name__ == "__main__":
    end_on_signals()
    sys.exit(main(sys.argv[1:]))
