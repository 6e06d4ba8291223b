"""Whatever is wrong with what the user gave: one line that names it, exit code 3, nothing half written."""

import gzip
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from scripts.networks import MSFBNet

SIZE = (20, 22, 19)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def truncated_inside(path: Path) -> None:
    """An intact gzip file around half an image."""
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content[: len(content) // 2]))


def replaced_by(array: np.ndarray, affine: np.ndarray | None = None) -> Callable[[Path], None]:
    return lambda path: nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)


def with_nan(path: Path) -> None:
    array = nib.load(path).get_fdata().astype(np.float32)
    array[5, 6, 7] = np.nan
    replaced_by(array)(path)


def colour(*size: int) -> np.ndarray:
    return np.ones(size, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])


noise = np.random.default_rng(0).random

BAD_IMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: path.unlink(), "no such file"),
    "zero bytes": (lambda path: path.write_bytes(b""), "zero bytes"),
    "text": (lambda path: path.write_text("not an image\n"), "cannot be read"),
    "truncated": (truncated, "damaged or cut short"),
    "truncated inside": (truncated_inside, "damaged or cut short"),
    "2-D": (replaced_by(noise((20, 22))), "2-D"),
    "4-D": (replaced_by(noise((*SIZE, 3))), "several volumes"),
    "RGB": (replaced_by(colour(*SIZE)), "RGB"),
    "NaN": (with_nan, "1 voxels are NaN"),
    "empty": (replaced_by(np.zeros(SIZE)), "empty"),
}

BAD_GRIDS: dict[str, Callable[[Path], object]] = {
    "size": replaced_by(noise((20, 22, 18))),
    "voxel size": replaced_by(noise(SIZE), np.diag([1.0, 1.0, 1.1, 1.0])),
    "origin": replaced_by(noise(SIZE), nib.affines.from_matvec(np.eye(3), [0, 2, 0])),
    "orientation": replaced_by(noise(SIZE), np.diag([-1.0, 1.0, 1.0, 1.0])),
}


@pytest.fixture
def images(save_scan: Callable, blob: Callable) -> dict[str, Path]:
    return {role: save_scan(f"{role}-scan.nii.gz", blob(SIZE, seed)) for seed, role in enumerate(("fixed", "moving"))}


@pytest.fixture
def answer(bundle: Callable, unchanged_process: Callable, capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """Run a workflow that fails, as Python's own top level would: the line that the user sees on stderr."""

    def run(*configs: str, **overrides: object) -> str:
        with unchanged_process():
            try:
                workflow = bundle(*configs, **overrides)
                workflow.initialize()
                workflow.run()
            except Exception:
                capsys.readouterr()
                with pytest.raises(SystemExit) as caught:
                    sys.excepthook(*sys.exc_info())
                assert caught.value.code == 3
                (line,) = capsys.readouterr().err.splitlines()
                assert line.startswith("error: ")
                return line
        raise AssertionError("it went well")

    return run


# --- images ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BAD_IMAGES)
@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_bad_image_is_named_in_one_line(
    answer: Callable, images: dict[str, Path], fresh_weights: Path, tmp_path: Path, role: str, kind: str
) -> None:
    spoil, complaint = BAD_IMAGES[kind]
    spoil(images[role])
    line = answer("inference", **images, output_dir=tmp_path / "out", weights=fresh_weights)
    assert str(images[role]) in line
    assert complaint in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", BAD_GRIDS)
def test_different_grids_are_refused(
    answer: Callable, images: dict[str, Path], fresh_weights: Path, tmp_path: Path, kind: str
) -> None:
    BAD_GRIDS[kind](images["moving"])
    line = answer("inference", **images, output_dir=tmp_path / "out", weights=fresh_weights)
    assert "different grids" in line
    assert all(str(path) in line for path in images.values())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("given", [["fixed"], ["moving"], [], ["fixed", "moving", "dataset_dir"]])
def test_half_a_pair_is_refused(
    answer: Callable, images: dict[str, Path], dataset: Path, fresh_weights: Path, tmp_path: Path, given: list[str]
) -> None:
    sources = {**images, "dataset_dir": dataset}
    chosen = {name: sources[name] for name in given}
    line = answer("inference", **chosen, output_dir=tmp_path / "out", weights=fresh_weights)
    assert line == "error: give either --fixed and --moving or --dataset_dir"
    assert not (tmp_path / "out").exists()


# --- weights --------------------------------------------------------------------------------------------------------


def test_missing_weights_are_named(answer: Callable, images: dict[str, Path], tmp_path: Path) -> None:
    line = answer("inference", **images, output_dir=tmp_path / "out", weights=tmp_path / "none.pt")
    assert str(tmp_path / "none.pt") in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"channels": [8, 8, 16]}, "other shape"),
        ({"channels": [8, 8]}, "missing"),
        ({"channels": [8, 8, 8, 8]}, "unknown"),
        ({"channels": [8, 8, 8], "attention": "none"}, "missing"),
    ],
    ids=str,
)
def test_weights_of_another_network_say_what_differs(
    answer: Callable, images: dict[str, Path], tmp_path: Path, options: dict, difference: str
) -> None:
    torch.save(MSFBNet(**options).state_dict(), tmp_path / "other.pt")
    line = answer("inference", **images, output_dir=tmp_path / "out", weights=tmp_path / "other.pt")
    assert str(tmp_path / "other.pt") in line
    assert "does not fit the network" in line
    assert difference in line
    assert not (tmp_path / "out").exists()


# --- datasets -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("configs", [["train"], ["inference"]], ids=lambda names: names[0])
@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "no *dataset*.json"),
        ("{", "not a JSON file"),
        ("[]", "not a dataset file"),
        ('{"training": [], "registration_val": []}', ""),
        ('{"training": ["./a.nii.gz", "./b.nii.gz"], "registration_val": [{"fixed": "a", "moving": "b"}]}', "no such"),
    ],
    ids=["none", "broken", "list", "no pairs", "missing files"],
)
def test_bad_dataset_is_named_in_one_line(
    answer: Callable, fresh_weights: Path, tmp_path: Path, configs: list, content: str | None, complaint: str
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    if content is not None:
        (data / "dataset.json").write_text(content)
    weights = {"weights": fresh_weights} if configs == ["inference"] else {}
    line = answer(*configs, dataset_dir=data, output_dir=tmp_path / "out", **weights)
    assert str(data) in line
    assert complaint in line
    left = [path for path in (tmp_path / "out").rglob("*") if "events.out.tfevents" not in path.name]
    assert left == []


def test_one_bad_scan_of_a_dataset_is_named(answer: Callable, odd_dataset: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "imagesTr").mkdir(parents=True)
    content = json.loads((odd_dataset / "VIRTUAL_dataset.json").read_text())
    content["training"] = [{"image": scan["image"]} for scan in content["training"]]
    (data / "dataset.json").write_text(json.dumps(content))
    for image in sorted((odd_dataset / "imagesTr").iterdir()):
        (data / "imagesTr" / image.name).write_bytes(image.read_bytes())
    bad = data / "imagesTr" / "VIRTUAL_0002_0000.nii.gz"
    truncated(bad)
    line = answer("train", dataset_dir=data, output_dir=tmp_path / "out", max_epochs=1, pairs_per_epoch=1)
    assert str(bad) in line
    assert "cut short" in line


# --- what a user really types ---------------------------------------------------------------------------------------


class Malicious:
    """An object whose unpickling runs a command: it leaves a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.marker),)


def assert_refused(result: object, *words: object) -> None:
    assert result.returncode == 3, result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert [word for word in words if str(word) not in last] == [], last
    assert "Traceback" not in result.stderr + result.stdout


def inference_line(images: dict[str, Path], **options: Path) -> list:
    words = {"config_file": "configs/inference.json", **images, **options}
    return ["run", *(word for name, value in words.items() for word in (f"--{name}", value))]


@pytest.mark.slow
def test_command_names_the_missing_file_and_exits_with_3(
    command: Callable, images: dict[str, Path], tmp_path: Path
) -> None:
    torch.save(MSFBNet().state_dict(), tmp_path / "model.pt")
    images["moving"].unlink()
    result = command(*inference_line(images, weights=tmp_path / "model.pt", output_dir=tmp_path / "out"))
    assert_refused(result, images["moving"], "no such file")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_command_does_not_run_malicious_weights(command: Callable, images: dict[str, Path], tmp_path: Path) -> None:
    torch.save({"weight": Malicious(tmp_path / "marker")}, tmp_path / "model.pt")
    result = command(*inference_line(images, weights=tmp_path / "model.pt", output_dir=tmp_path / "out"))
    assert_refused(result, tmp_path / "model.pt", "read safely")
    assert not (tmp_path / "marker").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_command_does_not_overwrite_an_earlier_training(command: Callable, dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_bytes(b"precious")
    line = ["run", "training", "--config_file", "configs/train.json", "--dataset_dir", dataset]
    assert_refused(command(*line, "--output_dir", tmp_path), tmp_path / "last.pt", "an earlier training")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"last.pt": b"precious"}
