"""A tiny dataset, a tiny network, and the bundle run on them: in this process, or as a user types it."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow

from scripts.data import virtual_subject, write_dataset
from scripts.data.anatomies import phantom_anatomy
from scripts.networks import MSFBNet
from scripts.workflows import QualityError
from scripts.world import Grid, InputError, Transform, fill_grid, find_input_error

ROOT = Path(__file__).parents[2]
CHANNELS = [8, 8, 8]
KEEP = "keep"  # an override that leaves what the config says, for those that tests have by default

RunBundle = Callable[..., ConfigWorkflow]


@contextmanager
def _unchanged_process() -> Iterator[None]:
    """Undo what a workflow does to the process that it runs in."""
    hook, path = sys.excepthook, list(sys.path)
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    generators = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        sys.excepthook, sys.path[:] = hook, path
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
        random.setstate(generators[0])
        np.random.set_state(generators[1])
        torch.set_rng_state(generators[2])


@pytest.fixture(scope="session")
def unchanged_process() -> Callable:
    """Context manager for whoever runs a workflow step by step."""
    return _unchanged_process


@pytest.fixture(scope="session")
def bundle() -> Callable[..., ConfigWorkflow]:
    """`bundle("train", "datasets/lumir.yaml", dataset_dir=..., ...)`: merged configs on the CPU with overrides.

    A grid just holds the phantoms: that of brains would take half a minute for each registration. Random weights move
    things in one direction only where they need not move them back in the other. Without bfloat16 all machines agree.
    """

    def make(*configs: str, overrides: Mapping[str, Any] | None = None, **simple_overrides: Any) -> ConfigWorkflow:
        files = [str(ROOT / "configs" / (name if "." in name else f"{name}.json")) for name in configs]
        options = {name: simple_overrides.pop(name) for name in ("run_id", "workflow_type") if name in simple_overrides}
        ids = {
            "device": "$torch.device('cpu')",
            "network_def#channels": CHANNELS,
            "network_def#symmetric": False,
            "bf16": False,
            **({"network_size": [1, 1, 1]} if "inference" in configs else {}),
            **simple_overrides,
            **(overrides or {}),
        }
        ids = {name: str(value) if isinstance(value, Path) else value for name, value in ids.items() if value != KEEP}
        return ConfigWorkflow(files, logging_file=False, **options, **ids)

    return make


@pytest.fixture(scope="session")
def run_bundle(bundle: RunBundle) -> RunBundle:
    """`bundle`, and run it to the end."""

    def run(*configs: str, **overrides: Any) -> ConfigWorkflow:
        workflow = bundle(*configs, **overrides)
        with _unchanged_process():
            workflow.initialize()
            workflow.run()
            workflow.finalize()
        return workflow

    return run


@pytest.fixture(scope="session")
def register(run_bundle: RunBundle, lively_weights: Path) -> Callable[..., dict[str, Any]]:
    """`register(fixed, moving, out, init="affine", ...)`: one pair, from which comes its metrics.json.

    By default without affine alignment, by weights that move things. A poor verdict is no error here.
    """

    def run(fixed: Path, moving: Path, output_dir: Path, **options: Any) -> dict[str, Any]:
        given = {"fixed": fixed, "moving": moving, "output_dir": output_dir}
        try:
            run_bundle("inference", **given, **{"init": "none", "weights": lively_weights, **options})
        except Exception as error:
            if not isinstance(error, QualityError) and not isinstance(error.__cause__, QualityError):
                raise
        return json.loads((output_dir / "metrics.json").read_text())

    return run


@contextmanager
def _refused(*words: object) -> Iterator[None]:
    """Expect an InputError, somewhere along the chain, of one line with these words in it."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 (MONAI wraps it; the words are checked below)
        yield
    error = find_input_error(caught.value)
    if error is None:
        raise caught.value
    assert isinstance(error, InputError)
    assert "\n" not in str(error)
    assert [word for word in words if str(word) not in str(error)] == [], str(error)


@pytest.fixture(scope="session")
def refused() -> Callable:
    """`with refused("moving.nii.gz", "NaN"): ...`"""
    return _refused


@pytest.fixture(scope="session")
def command() -> Callable[..., subprocess.CompletedProcess]:
    """`command("run", "training", "--config_file", ...)`: `python -m monai.bundle ...` at the root."""

    def call(*words: object) -> subprocess.CompletedProcess:
        line = [sys.executable, "-m", "monai.bundle", *map(str, words)]
        return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)

    return call


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Virtual people with labels and keypoints, 32x32x32: 4 to train on, 2 validation pairs."""
    return write_dataset(tmp_path_factory.mktemp("cube") / "dataset", (32, 32, 32), 4, 2, seed=0, anatomy="shapes")


@pytest.fixture(scope="session")
def odd_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same at 30x34x29, which no network fits without padding."""
    return write_dataset(tmp_path_factory.mktemp("odd") / "dataset", (30, 34, 29), 2, 2, seed=1, anatomy="shapes")


@pytest.fixture(scope="session")
def small_dataset(odd_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The odd one with voxels of 1 mm instead of some 5: people whom the network's grid holds in little room."""
    folder = shutil.copytree(odd_dataset, tmp_path_factory.mktemp("small") / "dataset")
    for path in folder.rglob("*.nii.gz"):
        array = np.asarray(nib.load(path).dataobj)
        nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    return folder


@pytest.fixture(scope="session")
def label_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Label maps of three virtual people, 32x32x32."""
    folder = tmp_path_factory.mktemp("labelmaps")
    for seed in range(3):
        labels = virtual_subject(phantom_anatomy((32, 32, 32)), seed).labels[0, 0].numpy()
        nib.save(nib.Nifti1Image(labels.astype(np.int16), np.eye(4)), folder / f"map_{seed}.nii.gz")
    return folder


@pytest.fixture(scope="session")
def lively_network() -> MSFBNet:
    """A network that was not trained but moves things: fields of some voxels, with next to no last correction."""
    generator_state = torch.get_rng_state()
    torch.manual_seed(0)
    pyramid = MSFBNet(CHANNELS, symmetric=False, detail=False)
    for head in pyramid.heads:
        torch.nn.init.normal_(head.weight, std=0.045)
        torch.nn.init.normal_(head.bias, std=0.5)
    network = MSFBNet(CHANNELS, symmetric=False)
    network.load_state_dict(pyramid.state_dict(), strict=False)
    torch.set_rng_state(generator_state)
    return network.eval()


@pytest.fixture(scope="session")
def lively_weights(lively_network: MSFBNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "lively.pt"
    torch.save(lively_network.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def fresh_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a network as it is before training: next to the identity."""
    path = tmp_path_factory.mktemp("weights") / "fresh.pt"
    torch.save(MSFBNet(CHANNELS).state_dict(), path)
    return path


@pytest.fixture
def save_scan(tmp_path: Path) -> Callable[..., Path]:
    """`save_scan("fixed.nii.gz", array, affine)`; without an affine, 1 mm RAS."""

    def save(name: str, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
        nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), tmp_path / name)
        return tmp_path / name

    return save


@pytest.fixture(scope="session")
def blob() -> Callable[..., np.ndarray]:
    """`blob((28, 32, 25), seed)`: a smooth textured head of int16 values up to about 1000 on a background of 0."""

    def make(size: tuple[int, int, int], seed: int = 0) -> np.ndarray:
        generator = np.random.default_rng(seed)
        axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in size], indexing="ij")
        centre = generator.uniform(-0.05, 0.05, 3)
        radius = np.sqrt(sum(((a - c) / 0.8) ** 2 for a, c in zip(axes, centre, strict=True)))
        waves = sum(np.sin(4 * a + p) for a, p in zip(axes, generator.uniform(0, 6, 3), strict=True))
        return (np.clip((1 - radius) * 6, 0, 1) * (700 + 100 * waves)).astype(np.int16)

    return make


@pytest.fixture(scope="session")
def head() -> Callable[..., np.ndarray]:
    """`head(grid, transform)`: a lopsided head of 40 x 50 x 36 mm, values up to about 1000 on a background of 0.

    It is a function of the world, so it has no grid of its own: the value at a voxel's place x is that of the head at
    `transform(x)`. No rotation or mirror image of it looks the same.
    """
    spots = np.array([[-9, 9, 4, 400], [8, -10, 5, -400], [1, 13, -7, -400], [9, 4, -3, 400], [-7, -13, -5, 400]])

    def value(points: np.ndarray) -> np.ndarray:
        radius = np.sqrt(((points / [20, 25, 18]) ** 2).sum(axis=1))
        texture = np.full(len(points), 550.0)
        for *centre, height in spots:
            texture += height * np.exp(-((points - centre) ** 2).sum(axis=1) / (2 * 4.0**2))
        return texture * np.clip((1 - radius) * 6, 0, 1)

    def make(grid: Grid, transform: Transform | None = None) -> np.ndarray:
        array = np.empty(grid.shape, dtype=np.float32)
        fill_grid(array, grid.affine, lambda points: value(points if transform is None else transform(points)))
        return array

    return make


@pytest.fixture(scope="session")
def grid_of() -> Callable[..., Grid]:
    """`grid_of("LAS", (2, 2, 2), turn)`: a grid that holds the head, its axes as told, turned by a matrix `(3, 3)`."""

    def make(axes: str = "RAS", spacing: tuple[float, ...] = (2, 2, 2), turn: np.ndarray | None = None) -> Grid:
        straight = np.zeros((3, 3))
        for column, (row, sign) in enumerate(nib.orientations.axcodes2ornt(axes)):
            straight[int(row), column] = sign * spacing[column]
        extent = np.array([52, 62, 47] if turn is None else [62, 62, 62])
        shape = tuple(int(np.ceil(n)) for n in np.linalg.inv(np.abs(straight)) @ extent)
        linear = straight if turn is None else turn @ straight
        return Grid(shape, nib.affines.from_matvec(linear, -linear @ ((np.array(shape) - 1) / 2)))

    return make
