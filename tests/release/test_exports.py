# SPDX-License-Identifier: Apache-2.0
"""Exports: the commands of docs/exports.md, letter by letter, and what they make beside eager mode."""

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import scripts.__main__ as command_line
from scripts.networks import MSFBNet
from scripts.release.exports import FORMATS, TOLERANCE, example_image, exports, largest_differences
from tests.fixtures.networks import CHANNELS

ROOT = Path(__file__).parents[2]
OTHER_SIZES = ((24, 40, 32), (56, 16, 64))
MODULE = sys.modules[exports.__module__]
COMMANDS = [
    line.strip()
    for line in (ROOT / "docs" / "exports.md").read_text().splitlines()
    if line.startswith("    python -m ")
]


def documented(words: str, output_dir: Path) -> list[str]:
    """The one command of the page that begins so, with a folder of ours for OUT."""
    (command,) = (command for command in COMMANDS if command.startswith(words))
    return shlex.split(command.replace("OUT", shlex.quote(str(output_dir))))[3:]


def test_this_file_runs_every_command_of_the_page() -> None:
    run_below = {("monai.bundle", "ckpt_export"), ("monai.bundle", "onnx_export"), ("scripts", "exports")}
    assert len(COMMANDS) == len(run_below)
    assert {tuple(command.split()[2:4]) for command in COMMANDS} == run_below


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """That of inference, with the small network."""
    overlay = tmp_path_factory.mktemp("config") / "small.json"
    overlay.write_text(json.dumps({"network_def#channels": CHANNELS}))
    return f"configs/inference.json,{overlay}"


def shipped_network() -> MSFBNet:
    network = MSFBNet().eval()
    network.load_state_dict(torch.load(ROOT / "models" / "model.pt", weights_only=True))
    return network


def assert_close(actual: Tensor, expected: Tensor) -> None:
    assert expected.norm(dim=1).mean() > 0.5, "nothing moves"
    assert (actual - expected).norm(dim=1).max() <= TOLERANCE


# --- MONAI's own commands ---------------------------------------------------------------------------------------------

ELSEWHERE = """
import sys, torch
files = {"metadata.json": "", "inference.json": ""}
network = torch.jit.load(sys.argv[1], _extra_files=files)
assert b"displacement" in files["metadata.json"] and b"MSFBNet" in files["inference.json"]
images = torch.load(sys.argv[2], weights_only=True)
torch.save([network(image) for image in images], sys.argv[3])
assert not {"scripts", "monai"} & {name.split(".")[0] for name in sys.modules}
"""


@pytest.mark.slow
@torch.no_grad()
def test_torchscript_runs_without_this_repository(command: Callable, tmp_path: Path) -> None:
    done = command(*documented("python -m monai.bundle ckpt_export", tmp_path))
    assert done.returncode == 0, done.stderr
    images = [example_image(size) for size in ((48, 64, 32), (32, 48, 48))]
    torch.save(images, tmp_path / "images.pt")
    files = [tmp_path / name for name in ("model.ts", "images.pt", "fields.pt")]
    subprocess.run([sys.executable, "-I", "-c", ELSEWHERE, *files], cwd=tmp_path, check=True)
    network = shipped_network()
    for image, field in zip(images, torch.load(tmp_path / "fields.pt", weights_only=True), strict=True):
        assert_close(field, network(image))


@pytest.mark.slow
@torch.no_grad()
def test_onnx_export_of_monai_follows_the_size(
    command: Callable, random_weights: Path, random_network: MSFBNet, tmp_path: Path
) -> None:
    if reason := FORMATS["ONNX"].lacks():
        pytest.skip(reason)
    words = documented("python -m monai.bundle onnx_export", tmp_path)
    words[words.index("models/model.pt")] = str(random_weights)
    done = command(*words, "--network_def#channels", list(CHANNELS))
    assert done.returncode == 0, done.stderr
    run = FORMATS["ONNX"].load(tmp_path / "model.onnx")
    for size in OTHER_SIZES:
        image = example_image(size)
        assert_close(run(image), random_network(image))


# --- our command ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(
    random_weights: Path, config_file: str, unchanged_process: Callable, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder that the command of the page has filled, with a small network and small images."""
    out = tmp_path_factory.mktemp("exports")
    words = documented("python -m scripts exports", out)
    given = ["--weights", str(random_weights), "--config_file", config_file]
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch, unchanged_process():
        patch.chdir(ROOT)
        patch.setattr(MODULE, "CHECKED", OTHER_SIZES)
        assert command_line.main(["exports", *words[1:], *given]) == 0
    torch.set_num_threads(threads)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
@torch.no_grad()
def test_every_format_gives_eager_fields_at_other_sizes(name: str, exported: Path, random_network: MSFBNet) -> None:
    if reason := FORMATS[name].lacks():
        pytest.skip(reason)
    run = FORMATS[name].load(exported / FORMATS[name].file)
    for size in OTHER_SIZES:
        image = example_image(size)
        assert_close(run(image), random_network(image))
    (row,) = (line for line in (exported / "exports.md").read_text().splitlines() if line.startswith(f"| {name} |"))
    assert float(row.split("|")[4]) <= TOLERANCE


@pytest.mark.slow
@torch.no_grad()
def test_shipped_weights_give_one_field_in_every_format(tmp_path: Path) -> None:
    network = shipped_network()
    images = [example_image(size) for size in ((48, 64, 32), (64, 32, 48))]
    assert min(network(image).norm(dim=1).mean() for image in images) > 0.5
    for name, format_ in FORMATS.items():
        if format_.lacks():
            continue
        format_.write(network, tmp_path / format_.file)
        runs = {"eager": network, name: format_.load(tmp_path / format_.file)}
        assert largest_differences(runs, images)[name] <= TOLERANCE, name


@pytest.mark.slow
def test_format_with_another_field_ends_in_an_error(
    random_weights: Path,
    config_file: str,
    unchanged_process: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    script = FORMATS["TorchScript"]
    formats = {
        "TorchScript": script,
        "shifted": script._replace(
            file="shifted.ts", load=lambda file: lambda image: torch.jit.load(file)(image) + 0.1
        ),
        "absent": script._replace(file="absent.ts", lacks=lambda: "needs a miracle"),
    }
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(MODULE, "FORMATS", formats)
    monkeypatch.setattr(MODULE, "CHECKED", OTHER_SIZES)
    with unchanged_process(), pytest.raises(RuntimeError, match=r"^shifted: further than"):
        exports(str(tmp_path / "out"), str(random_weights), config_file)
    assert "absent: not made, needs a miracle" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model.ts", "shifted.ts", "exports.md"}
    rows = (tmp_path / "out" / "exports.md").read_text().splitlines()[2:5]
    assert [row.split(" | ")[0] for row in rows] == ["| eager", "| TorchScript", "| shifted"]
