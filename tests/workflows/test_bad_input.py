"""Whatever is wrong with what the user gave: one line that names it, exit code 3, nothing half written."""

import gzip
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from scripts.networks import MSFBNet

ROOT = Path(__file__).parents[2]
SIZE = (20, 22, 19)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def truncated_inside(path: Path) -> None:
    """An intact gzip file around half an image."""
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content[: len(content) // 2]))


def replaced_by(array: np.ndarray, affine: np.ndarray | None = None) -> Callable[[Path], None]:
    return lambda path: nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)


def with_nan(share: float) -> Callable[[Path], None]:
    """So many of the voxels NaN or infinite."""

    def spoil(path: Path) -> None:
        array = nib.load(path).get_fdata().astype(np.float32)
        array.flat[: round(share * array.size)] = np.nan
        array.flat[0] = np.inf
        replaced_by(array)(path)

    return spoil


def dicom_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "slice1").write_bytes(bytes(128) + b"DICM" + bytes(100))


def with_forms(sform: np.ndarray | None, qform: np.ndarray | None) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        image = nib.load(path)
        image = nib.Nifti1Image(np.asarray(image.dataobj), None)
        image.header.set_sform(sform, code=0 if sform is None else 1)
        image.header.set_qform(qform, code=0 if qform is None else 1)
        nib.save(image, path)

    return spoil


def colour(*size: int) -> np.ndarray:
    return np.ones(size, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])


noise = np.random.default_rng(0).random
BALL = sum((axis - size / 2) ** 2 for axis, size in zip(np.ogrid[:20, :22, :19], SIZE, strict=True)) < 49
SHEARED = np.array([[1.0, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])

BAD_IMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: path.unlink(), "no such file"),
    "zero bytes": (lambda path: path.write_bytes(b""), "zero bytes"),
    "text": (lambda path: path.write_text("not an image\n"), "cannot be read"),
    "HTML": (lambda path: path.write_text("<!DOCTYPE html><html>Log in</html>"), "a web page"),
    "truncated": (truncated, "damaged or cut short"),
    "truncated inside": (truncated_inside, "damaged or cut short"),
    "DICOM folder": (dicom_folder, "dcm2niix"),
    "2-D": (replaced_by(noise((20, 22))), "2-D"),
    "one slice": (replaced_by(noise((20, 22, 1))), "2-D"),
    "4-D": (replaced_by(noise((*SIZE, 3))), "--volume N, 0 to 2"),
    "RGB": (replaced_by(colour(*SIZE)), "RGB"),
    "NaN": (with_nan(0.6), "NaN or infinite"),
    "zero": (replaced_by(np.zeros(SIZE)), "empty: every voxel is 0"),
    "constant": (replaced_by(np.full(SIZE, 7.0)), "empty: every voxel is 7"),
    "noise": (replaced_by(noise(SIZE)), "nothing stands out from the background"),
    "no orientation": (with_forms(None, None), "--assume_ras"),
    "singular": (with_forms(np.diag([1.0, 0, 1, 1]), None), "singular"),
}

ODD_IMAGES: dict[str, tuple[Callable[[Path], object], dict, str]] = {
    "few NaN": (with_nan(0.01), {}, "84 voxels (1 %) are NaN or infinite; replaced by 0"),
    "two forms": (with_forms(np.eye(4), np.diag([-1.0, 1, 1, 1])), {}, "sform and qform differ"),
    "sheared": (with_forms(SHEARED, None), {}, "sheared by 5.7°"),
    "no orientation": (with_forms(None, None), {"assume_ras": True}, ""),
    "volume": (replaced_by(noise((*SIZE, 3)) * BALL[..., None]), {"volume": 1}, ""),
}


@pytest.fixture
def images(save_scan: Callable, blob: Callable) -> dict[str, Path]:
    return {role: save_scan(f"{role}-scan.nii.gz", blob(SIZE, seed)) for seed, role in enumerate(("fixed", "moving"))}


@pytest.fixture
def answer(bundle: Callable, unchanged_process: Callable, capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """Run a workflow that fails, as Python's own top level would: the line that the user sees on stderr."""

    def run(*configs: str, code: int = 3, **overrides: object) -> str:
        start = {"init": "none"} if "inference" in configs else {}
        with unchanged_process():
            try:
                workflow = bundle(*configs, **start, **overrides)
                workflow.initialize()
                workflow.run()
            except Exception:
                capsys.readouterr()
                with pytest.raises(SystemExit) as caught:
                    sys.excepthook(*sys.exc_info())
                assert caught.value.code == code
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
    assert str(images[role]) in line and complaint in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ODD_IMAGES)
def test_odd_image_is_registered_and_warned_of(
    register: Callable,
    images: dict[str, Path],
    tmp_path: Path,
    kind: str,
    capsys: pytest.CaptureFixture,
) -> None:
    spoil, options, warning = ODD_IMAGES[kind]
    spoil(images["moving"])
    metrics = register(images["fixed"], images["moving"], tmp_path / "out", expects_skull_stripped=False, **options)
    warnings = [found for found in metrics["moving"]["warnings"] if warning and warning in found]
    assert len(warnings) == bool(warning)
    assert metrics["fixed"]["warnings"] == []
    told = f"warning: {images['moving']}: " in capsys.readouterr().err
    assert told or not warning
    assert np.isfinite(nib.load(tmp_path / "out" / "moved.nii.gz").get_fdata()).all()


def test_volume_of_a_series_is_the_one_that_is_asked_for(
    register: Callable, fresh_weights: Path, images: dict[str, Path], tmp_path: Path
) -> None:
    volumes = nib.load(images["moving"]).get_fdata()[..., None] * [0.5, 1.0, 0.25]
    replaced_by(volumes)(images["moving"])
    register(images["fixed"], images["moving"], tmp_path / "out", weights=fresh_weights, volume=1)
    moved = nib.load(tmp_path / "out" / "moved.nii.gz").get_fdata()
    assert np.abs(moved - volumes[..., 1]).max() < 20


# --- labels and masks -------------------------------------------------------------------------------------------------


def test_labels_off_the_grid_are_resampled_and_warned_of(
    register: Callable, images: dict[str, Path], save_scan: Callable, tmp_path: Path
) -> None:
    """A label map of half the image, on a grid that is larger by 3 voxels: Dice of 1 with its own image's."""
    label = (np.indices(SIZE)[0] > 9).astype(np.uint8) + 1
    exact = save_scan("exact.nii.gz", label)
    larger = save_scan("larger.nii.gz", np.pad(label, 3), nib.affines.from_matvec(np.eye(3), [-3, -3, -3]))
    metrics = register(
        images["fixed"], images["fixed"], tmp_path / "out", fixed_label=exact, moving_label=larger, init="none"
    )
    (warning,) = (found for found in metrics["moving"]["warnings"] if "larger.nii.gz" in found)
    assert "not on the grid of its image" in warning
    assert metrics["dice_before"] == 1.0
    assert metrics["fixed"]["warnings"] == []


@pytest.mark.parametrize("kind", ["label", "mask"])
def test_labels_elsewhere_are_refused(
    answer: Callable, images: dict[str, Path], save_scan: Callable, fresh_weights: Path, tmp_path: Path, kind: str
) -> None:
    far = save_scan("far.nii.gz", np.ones(SIZE, np.uint8), nib.affines.from_matvec(np.eye(3), [200, 0, 0]))
    line = answer("inference", **images, output_dir=tmp_path / "out", weights=fresh_weights, **{f"fixed_{kind}": far})
    assert str(far) in line and "does not overlap" in line
    assert not (tmp_path / "out").exists()


def test_missing_landmarks_are_named(
    answer: Callable, images: dict[str, Path], fresh_weights: Path, tmp_path: Path
) -> None:
    given = {"output_dir": tmp_path / "out", "weights": fresh_weights, "fixed_landmarks": tmp_path / "none.csv"}
    assert str(tmp_path / "none.csv") in answer("inference", **images, **given)


# --- what is to be written --------------------------------------------------------------------------------------------


def test_file_in_the_place_of_the_folder_is_refused(
    answer: Callable, images: dict[str, Path], fresh_weights: Path
) -> None:
    line = answer("inference", **images, output_dir=images["fixed"], weights=fresh_weights)
    assert str(images["fixed"]) in line and "a file, not a folder" in line


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (MemoryError("Unable to allocate 9 GiB"), 4, "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 4, "not enough memory"),
        (OSError(28, "No space left on device", "moved.nii.gz"), 3, "moved.nii.gz: cannot be written (No space left"),
    ],
    ids=["memory", "torch's memory", "disk"],
)
def test_what_the_machine_lacks_is_told_in_one_line(
    answer: Callable,
    images: dict[str, Path],
    fresh_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    code: int,
    message: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    step = "saving.save_image" if isinstance(error, OSError) else "registration.resample"
    monkeypatch.setattr(f"scripts.workflows.{step}", fail)
    line = answer("inference", **images, output_dir=tmp_path / "out", weights=fresh_weights, code=code)
    assert message in line
    assert list(tmp_path.rglob("out/*")) == []


def test_poor_verdict_ends_with_5_and_leaves_the_results(
    answer: Callable, images: dict[str, Path], fresh_weights: Path, tmp_path: Path
) -> None:
    replaced_by(noise(SIZE) * BALL)(images["moving"])
    line = answer("inference", **images, output_dir=tmp_path / "out", weights=fresh_weights, code=5)
    assert line == "error: 1 of 1 registrations failed; look at their report.html"
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["verdict"] == "fail"


# --- usage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [["fixed"], ["moving"], [], ["fixed", "moving", "dataset_dir"]])
def test_half_a_pair_is_refused(
    answer: Callable, images: dict[str, Path], dataset: Path, fresh_weights: Path, tmp_path: Path, given: list[str]
) -> None:
    sources = {**images, "dataset_dir": dataset}
    chosen = {name: sources[name] for name in given}
    line = answer("inference", **chosen, output_dir=tmp_path / "out", weights=fresh_weights)
    assert line == "error: give either --fixed and --moving, or --pairs, or --dataset_dir"
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
        ({"channels": [8, 8, 8], "fusion": "concat"}, "missing"),
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


@pytest.mark.slow
def test_full_disk_leaves_nothing_half_written(images: dict[str, Path], fresh_weights: Path, tmp_path: Path) -> None:
    """The process may write no file beyond the limit, and report.html is larger."""
    line = inference_line(
        images, weights=fresh_weights, output_dir=tmp_path / "out", init="none", network_size="[1,1,1]"
    )
    line += ["--network_def#channels", "[8,8,8]"]
    done = subprocess.run(
        [sys.executable, "-m", "monai.bundle", *map(str, line)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert_refused(done, "cannot be written")
    assert list((tmp_path / "out").rglob("*")) == []
