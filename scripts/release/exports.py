"""The network in the formats of other runtimes: made, checked against eager mode, and timed beside it."""

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

from scripts.io import load_weights, read_configs, whole_file, write_complete
from scripts.registration import start_registration
from scripts.synthesis import phantom_anatomy, virtual_pair

EXAMPLE = (48, 64, 80)  # what is traced
CHECKED = ((96, 112, 96), (64, 96, 80))  # other sizes; the first is timed, too
ROUNDS = 3
TOLERANCE = 1e-3  # voxels

Run = Callable[[Tensor], Tensor]


class Format(NamedTuple):
    """A format that the network is exported to.

    Attributes:
        file: its name.
        write: writes the file from the network.
        load: reads the file back into what computes the field from the image.
        lacks: what it needs and is not installed; empty if nothing.
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
        output_dir: where the files go.
        weights: of the network.
        config_file: whose `network_def` is exported; or several files, with commas between.
        threads: of the CPU.

    Raises:
        InputError: for bad files or arguments.
        RuntimeError: if a format's field is further than `TOLERANCE` from that of eager mode.
    """
    start_registration(output_dir, 0, threads)
    Path(output_dir).mkdir(parents=True, exist_ok=True)
    network = load_weights(read_configs(config_file).get_parsed_content("network_def"), weights).eval()
    with torch.no_grad():
        runs: dict[str, Run] = {"eager": network, **_made(network, Path(output_dir))}
        images = [example_image(size) for size in CHECKED]
        differences = largest_differences(runs, images)
        seconds = alternating_seconds(runs, images[0])
    text = _table(runs, differences, seconds, Path(output_dir))
    path = Path(output_dir) / "exports.md"
    write_complete(path, lambda file: print(text, end="", file=file))
    print(f"\n{text}\ntable: {path}")
    wrong = [name for name, difference in differences.items() if not difference <= TOLERANCE]
    if wrong:
        raise RuntimeError(f"{', '.join(wrong)}: further than {TOLERANCE} voxel from eager mode")


def example_image(size: tuple[int, int, int]) -> Tensor:
    """Two virtual people, `(1, 2, *size)`."""
    pair = virtual_pair(phantom_anatomy(size), seed=0)
    return torch.cat([pair.fixed.image, pair.moving.image], dim=1)


def largest_differences(runs: Mapping[str, Run], images: Sequence[Tensor]) -> dict[str, float]:
    """How far each field is from that of `eager` at most, over all images, in voxels."""
    worst = dict.fromkeys(runs, 0.0)
    for image in images:
        expected = runs["eager"](image)
        for name, run in runs.items():
            worst[name] = max(worst[name], (run(image) - expected).norm(dim=1).max().item())
    return worst


def alternating_seconds(runs: Mapping[str, Run], image: Tensor) -> dict[str, list[float]]:
    """CPU seconds of all threads, `ROUNDS` times each, in turn, so that other load on the machine hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            began = time.process_time()
            run(image)
            seconds[name].append(time.process_time() - began)
    return seconds


def _made(network: nn.Module, folder: Path) -> dict[str, Run]:
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
    lines = [
        "| format | file | MB | largest difference from eager (voxel) | CPU seconds | ÷ eager |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in runs:
        file = FORMATS[name].file if name in FORMATS else ""
        size = f"{(folder / file).stat().st_size / 1e6:.1f}" if file else ""
        ratio = median(own / eager for own, eager in zip(seconds[name], seconds["eager"], strict=True))
        figures = f"{differences[name]:.1e} | {median(seconds[name]):.2f} | {ratio:.2f}"
        lines.append(f"| {name} | {file} | {size} | {figures} |")
    checked = " and ".join("×".join(map(str, size)) for size in CHECKED)
    return (
        "\n".join([*lines, "", f"Differences at {checked}, seconds at the first; {torch.get_num_threads()} threads."])
        + "\n"
    )


def _write_onnx(network: nn.Module, file: Path) -> None:
    # Not by torch.export, the default: with sizes that may change it reasons about this network for more than ten
    # minutes. GridSample knows volumes from opset 20 on.
    every_size = {2: "x", 3: "y", 4: "z"}
    with warnings.catch_warnings():
        # What is a constant for the tracer is checked at other sizes.
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
