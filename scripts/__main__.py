"""The command line: `python -m scripts COMMAND`, from the bundle's root.

Exit codes: 0 done, 1 a bug, 2 usage, 3 input or files, 4 memory, 5 the quality verdict is "fail", 130 interrupted.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from scripts.command_line import UsageError, bundle_run, help_of, overview, parsed

TRAIN = "configs/train.json"
INFERENCE = "configs/inference.json"
EXIT_USAGE, EXIT_INTERRUPTED = 2, 130

FieldFormat = Literal["itk", "dispvect", "h5", "fsl", "learn2reg", "monai", "absolute"]


def register(
    fixed: str | None = None,
    moving: str | None = None,
    pairs: str | None = None,
    dataset_dir: str | None = None,
    section: str | None = None,
    output_dir: str | None = None,
    weights: str | None = None,
    init: str | None = None,
    refine: int | None = None,
    fixed_mask: str | None = None,
    moving_mask: str | None = None,
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

    Leaves the moved image, the transform in both directions, figures and a report. What is not given is as
    configs/inference.json says.

    Args:
        fixed: image that stays (NIfTI or .mgz).
        moving: image that is warped.
        pairs: CSV or JSON of pairs, instead of the two images.
        dataset_dir: Learn2Reg dataset, instead of the two images.
        section: of the dataset file: which pairs.
        output_dir: where the results go.
        weights: of the network.
        init: affine, rigid, none, or an ITK affine file (.mat, .tfm).
        refine: steps of optimisation on the pair after the network; 0 for none.
        fixed_mask: of the fixed brain.
        moving_mask: of the moving brain.
        fixed_label: label map of the fixed image, to measure Dice and HD95.
        moving_label: label map of the moving image.
        fixed_landmarks: CSV, RAS mm, to measure the target registration error.
        moving_landmarks: the same landmarks of the moving image.
        volume: which one of a 4-D image, from 0.
        assume_ras: take images without orientation (no sform, no qform) as RAS.
        composite: write transform.h5 (ITK composite), too.
        workers: processes that read and align pairs beside the network.
        seed: of everything random.
        device: cpu, cuda, cuda:1 ...
        threads: of the CPU.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    _check_place()
    bundle_run("inference", INFERENCE, **given)


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
        transform: file (ITK or DISPVECT field, ITK .mat, .tfm, .h5), or several with commas between: the first is
            applied first to the reference's points, as with antsApplyTransforms -t warp -t affine.
        input: file, or several with commas between.
        reference: image that gives the grid.
        output: file to write (.nii, .nii.gz); for several inputs a folder.
        interpolation: auto is nearest for what looks like labels, else linear.
        inverse: invert the transform; the reference is then on the moving side.
        assume_ras: take images without orientation (no sform, no qform) as RAS.
    """
    from scripts.registration import apply as run

    run(transform, input, reference, output, interpolation, inverse, assume_ras)


def points(
    transform: str,
    input: str,
    output: str,
    space: Literal["ras", "lps"] | None = None,
    to: str | None = None,
    inverse: bool = False,
) -> None:
    """Map landmarks from the fixed to the moving space: points go the other way from images.

    Points that are given in the moving space need --inverse, or inverse_warp.nii.gz.

    Args:
        transform: file, or several with commas between, as in apply.
        input: CSV of landmarks, mm.
        output: CSV to write.
        space: of all positions, where the headers do not tell; else RAS.
        to: CSV of the same landmarks of the other side: prints the target registration error.
        inverse: invert the transform; the landmarks are then those of the moving space.
    """
    from scripts.registration import points as run

    run(transform, input, output, space, to, inverse)


def convert(
    transform: str,
    output: str,
    to: FieldFormat,
    source: FieldFormat | None = None,
    fixed: str | None = None,
    moving: str | None = None,
) -> None:
    """Write a transform in another format.

    Args:
        transform: file of a field, or an ITK transform.
        output: file to write.
        to: format of the output.
        source: format of the transform, where its file does not tell.
        fixed: fixed image, where neither file tells its grid.
        moving: moving image, which fsl, learn2reg and monai need.
    """
    from scripts.registration import convert as run

    run(transform, output, to, source, fixed, moving)


def jacobian(transform: str, output: str, reference: str | None = None) -> None:
    """Map the Jacobian determinant of a transform in the fixed space.

    Args:
        transform: file, or several with commas between, as in apply.
        output: NIfTI file to write.
        reference: image that gives the grid; a field has its own.
    """
    from scripts.registration import jacobian as run

    run(transform, output, reference)


def compare(
    dataset_dir: str,
    output_dir: str,
    weights: str | None = None,
    methods: str = "affine,syn,syn_cc,voxelmorph,msfbnet,refined",
    pairs: int | None = None,
    voxelmorph_weights: str | None = None,
    refine: int = 30,
    landmarks_dir: str | None = None,
    config_file: str = TRAIN,
    threads: int | None = None,
) -> None:
    """Measure several methods on the validation pairs of a dataset, and compare them in tables.

    Each row is kept as soon as it is measured: the same command again goes on where it stopped, and measures anew what
    other weights have changed. Runs on the CPU.

    Args:
        dataset_dir: Learn2Reg dataset.
        output_dir: where comparison.csv and comparison.md go.
        weights: of the network; for several sets NAME=FILE,NAME=FILE.
        methods: with commas between; syn and syn_cc need antspyx.
        pairs: how many of each kind, from the first; else all.
        voxelmorph_weights: trained with configs/ablations/voxelmorph.yaml; without them that method is left out.
        refine: steps of the refinement.
        landmarks_dir: folder of NAME_T1.nii.gz and NAME_landmarks.csv (RAS mm), of which all pairs are registered, too.
        config_file: whose network is compared; or several files, with commas between.
        threads: of the CPU.
    """
    given = dict(locals())
    from scripts.evaluation import compare as run

    _check_place()
    run(**given)


def exports(
    output_dir: str,
    weights: str = "models/model.pt",
    config_file: str = INFERENCE,
    threads: int | None = None,
) -> None:
    """Export the network for other runtimes: TorchScript, torch.export and ONNX.

    Each file is read back, checked against PyTorch's own result and timed beside it, on the CPU.

    Args:
        output_dir: where the files and exports.md go.
        weights: of the network.
        config_file: whose network is exported; or several files, with commas between.
        threads: of the CPU.
    """
    given = dict(locals())
    from scripts.release.exports import exports as run

    _check_place()
    run(**given)


def samples(label_dir: str, output: str, count: int = 12, seed: int = 0) -> None:
    """Draw virtual pairs as training from label maps sees them.

    Args:
        label_dir: folder of label maps.
        output: the PNG to write.
        count: how many pairs.
        seed: of the pairs.
    """
    import torch

    from scripts.datasets import PairSampler
    from scripts.report import samples_picture
    from scripts.synthesis import LabelMapPairs, RandSynthesizePaird, label_map_files

    torch.manual_seed(seed)
    dataset = LabelMapPairs(label_map_files(label_dir), RandSynthesizePaird())
    samples_picture(output, [dataset[index]["image"].numpy() for index in PairSampler(dataset, count)])


def safetensors(weights: str, output: str) -> None:
    """Write weights in a format that no reader has to unpickle.

    Args:
        weights: of the network (.pt).
        output: the .safetensors file to write; every --weights takes it.
    """
    from scripts.io import write_safetensors

    write_safetensors(weights, output)


def bundle(output_dir: str) -> None:
    """Write the folder that is submitted to the MONAI Model Zoo, and its tests.

    Args:
        output_dir: a folder to make, with models/NAME and ci/unit_tests in it.
    """
    from scripts.release.packaging import package

    _check_place()
    package(output_dir)


def benchmark(
    what: Literal["training"],
    output_dir: str = "output/benchmark",
    sizes: str = "2mm,boxes,full",
    steps: int | None = None,
    threads: int | None = None,
    device: Literal["cpu", "cuda"] | None = None,
    label_dir: str | None = None,
    against: str | None = None,
    rounds: int = 3,
    config_file: str = TRAIN,
) -> None:
    """Measure what training steps cost: time of each part, memory and calls, beside what the device can do.

    Args:
        what: is measured, the first word after the command.
        output_dir: where benchmark.csv and benchmark.md go.
        sizes: of the images, with commas between.
        steps: to take the medians of; 3 on the CPU and 20 on a GPU where it is not given.
        threads: of the CPU.
        device: to measure; the GPU where there is one.
        label_dir: folder of label maps to synthesize pairs from, else they are smooth noise in memory.
        against: commit to measure in turn with the files here, for the ratio of the two.
        rounds: how many times in turn.
        config_file: of the training, here or in that commit; or several files, with commas between.
    """
    given = {name: value for name, value in locals().items() if name != "what"}
    from scripts.evaluation import benchmark_training as run

    _check_place()
    run(**given)


def demo() -> None:
    """Make small virtual brains, train on them, evaluate, register a pair: some minutes on two CPU cores."""
    from scripts.demo import demo as run

    _check_place()
    run(bundle_run)


_ALL = (register, apply, points, convert, jacobian, compare, benchmark, exports, samples, safetensors, bundle, demo)
COMMANDS: dict[str, Callable[..., None]] = {command.__name__: command for command in _ALL}


def main(words: Sequence[str]) -> int:
    """Run a command.

    Args:
        words: as typed, without `python -m scripts`.

    Returns:
        The exit code.
    """
    try:
        if not words or words[0] in ("-h", "--help", "help"):
            print(overview(COMMANDS))
        elif words[0] in COMMANDS and {"-h", "--help"} & set(words):
            print(help_of(COMMANDS[words[0]]))
        else:
            parsed(words, COMMANDS)()
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:
        from scripts.runtime import report_error

        report_error(type(error), error, error.__traceback__)
    return 0


def _check_place() -> None:
    if not Path(TRAIN).is_file():
        raise UsageError(f"{TRAIN}: no such file; run this from the bundle's root")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
