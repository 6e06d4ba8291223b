"""A tiny dataset, a tiny network, and the bundle run on them: in this process, or as a user types it."""

import random
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

from scripts.data import write_dataset
from scripts.networks import MSFBNet
from scripts.world import InputError, find_input_error

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
    """`bundle("train", "datasets/lumir.yaml", dataset_dir=..., ...)`: merged configs on the CPU with overrides."""

    def make(*configs: str, overrides: Mapping[str, Any] | None = None, **simple_overrides: Any) -> ConfigWorkflow:
        files = [str(ROOT / "configs" / (name if "." in name else f"{name}.json")) for name in configs]
        options = {name: simple_overrides.pop(name) for name in ("run_id", "workflow_type") if name in simple_overrides}
        ids = {
            "device": "$torch.device('cpu')",
            "network_def#channels": CHANNELS,
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
def lively_network() -> MSFBNet:
    """A network that was not trained but moves things: fields of some voxels."""
    generator_state = torch.get_rng_state()
    torch.manual_seed(0)
    network = MSFBNet(CHANNELS)
    for head in network.heads:
        torch.nn.init.normal_(head.weight, std=0.05)
        torch.nn.init.normal_(head.bias, std=0.5)
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
