# SPDX-License-Identifier: Apache-2.0
"""Export of the network to other runtimes, with its accuracy and time compared with eager mode."""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.jit import TracerWarning

from scripts.evaluation.markdown import markdown_table, write_markdown
from scripts.io import load_weights, read_configs, whole_file
from scripts.registration import start_registration
from scripts.synthesis import phantom_anatomy, virtual_pair

EXAMPLE = (48, 64, 80)  # image size for tracing, voxels
CHECKED = ((96, 112, 96), (64, 96, 80))  # sizes of the images that fields are compared on; the first is timed
ROUNDS = 3
TOLERANCE = 1e-3  # voxels

Run = Callable[[Tensor], Tensor]


class Format(NamedTuple):
    """A format that the network is exported to.

    Attributes:
        file: name of the file.
        write: function that writes the network to a file.
        load: function that reads the file and returns a function from the images to the field.
        lacks: function that returns which packages are missing and how to install them; empty if none is.
    """

    file: str
    write: Callable[[nn.Module, Path], object]
    load: Callable[[Path], Run]
    lacks: Callable[[], str]


def exports(
    output_dir: str,
    weights: str = "models/model.pt",
    config_file: str = "configs/inference.json",
    threads: int | None = None,
) -> None:
    """Export the network to every format, in float32 on the CPU, and write `exports.md`: size, difference, speed.

    Args:
        output_dir: folder for the files.
        weights: weights file of the network.
        config_file: config that defines the network, `network_def`; or several files with commas between.
        threads: number of CPU threads, from 1; None leaves it to torch.

    Raises:
        InputError: if a file or an argument is bad.
        RuntimeError: if the field of a format differs from that of eager mode by more than `TOLERANCE`.
    """
    start_registration(output_dir, 0, threads)
    Path(output_dir).mkdir(parents=True, exist_ok=True)
    network = load_weights(read_configs(config_file).get_parsed_content("network_def"), weights).eval()
    with torch.no_grad():
        runs: dict[str, Run] = {"eager": network, **_exported(network, Path(output_dir))}
        images = [example_image(size) for size in CHECKED]
        differences = largest_differences(runs, images)
        seconds = alternating_seconds(runs, images[0])
    write_markdown(Path(output_dir) / "exports.md", _table(runs, differences, seconds, Path(output_dir)))
    wrong = [name for name, difference in differences.items() if not difference <= TOLERANCE]
    if wrong:
        raise RuntimeError(f"{', '.join(wrong)}: further than {TOLERANCE} voxel from eager mode")


def example_image(size: tuple[int, int, int]) -> Tensor:
    """A pair of virtual brains, `(1, 2, *size)` in [0, 1]."""
    pair = virtual_pair(phantom_anatomy(size), seed=0)
    return torch.cat([pair.fixed.image, pair.moving.image], dim=1)


def largest_differences(runs: Mapping[str, Run], images: Sequence[Tensor]) -> dict[str, float]:
    """Largest distance of the fields of each format from those of `eager`, over all images, voxels."""
    largest = dict.fromkeys(runs, 0.0)
    for image in images:
        expected = runs["eager"](image)
        for name, run in runs.items():
            largest[name] = max(largest[name], (run(image) - expected).norm(dim=1).max().item())
    return largest


def alternating_seconds(runs: Mapping[str, Run], image: Tensor) -> dict[str, list[float]]:
    """CPU seconds of all threads, `ROUNDS` for each format, alternately, so that other load affects all equally."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            began = time.process_time()
            run(image)
            seconds[name].append(time.process_time() - began)
    return seconds


def _exported(network: nn.Module, folder: Path) -> dict[str, Run]:
    """Write the network in every format whose packages are installed, and load it again."""
    runs: dict[str, Run] = {}
    for name, format_ in FORMATS.items():
        if lacking := format_.lacks():
            print(f"{name}: not made, {lacking}", flush=True)
            continue
        print(f"{name} ...", flush=True)
        with whole_file(folder / format_.file) as file:
            format_.write(network, file)
        runs[name] = format_.load(folder / format_.file)
    return runs


def _table(
    runs: Mapping[str, Run], differences: Mapping[str, float], seconds: Mapping[str, Sequence[float]], folder: Path
) -> str:
    header = ["format", "file", "MB", "largest difference from eager (voxel)", "CPU seconds", "÷ eager"]
    rows = []
    for name in runs:
        file = FORMATS[name].file if name in FORMATS else ""
        size = f"{(folder / file).stat().st_size / 1e6:.1f}" if file else ""
        ratio = median(own / eager for own, eager in zip(seconds[name], seconds["eager"], strict=True))
        rows.append([name, file, size, f"{differences[name]:.1e}", f"{median(seconds[name]):.2f}", f"{ratio:.2f}"])
    checked = " and ".join("×".join(map(str, size)) for size in CHECKED)
    note = f"Differences at {checked}, seconds at the first; {torch.get_num_threads()} threads."
    return f"{markdown_table(header, rows)}\n{note}\n"


def _write_onnx(network: nn.Module, file: Path) -> None:
    # Not by torch.export, the default: with variable sizes it takes more than ten minutes for this network. GridSample
    # supports volumes from opset 20 on.
    every_size = {2: "x", 3: "y", 4: "z"}
    with warnings.catch_warnings():
        # The tracer warns of values that it takes as constants; the comparison at other sizes checks them.
        warnings.simplefilter("ignore", TracerWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (example_image(EXAMPLE),),
            file,
            dynamo=False,
            opset_version=20,
            input_names=["image"],
            output_names=["pred"],
            dynamic_axes={"image": every_size, "pred": every_size},
        )


def _load_onnx(file: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda image: torch.from_numpy(session.run(["pred"], {"image": image.numpy()})[0])


def _lacks_onnx() -> str:
    missing = [package for package in ("onnx", "onnxruntime") if find_spec(package) is None]
    return f"needs {', '.join(missing)}: python -m pip install {' '.join(missing)}" if missing else ""


FORMATS = {
    "TorchScript": Format("model.ts", lambda network, file: torch.jit.script(network).save(file), torch.jit.load, str),
    "ONNX": Format("model.onnx", _write_onnx, _load_onnx, _lacks_onnx),
}
