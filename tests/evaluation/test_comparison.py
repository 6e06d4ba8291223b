"""The command that compares methods: known figures, and rows that are measured once."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

import scripts.__main__ as command_line
from scripts.datasets.learn2reg import label_names, validation_pairs
from scripts.evaluation.baselines import METHODS, make_methods
from scripts.evaluation.comparison import (
    compare,
)
from scripts.evaluation.comparison_table import Results
from scripts.io.keypoints import load_keypoints
from scripts.metrics import dice_per_label
from scripts.networks import MSFBNet
from scripts.networks.voxelmorph import VoxelMorphBaseline
<<<<<<< HEAD
from scripts.registration.pair import Job, PreparedPair
from scripts.registration.steps import align_pair, read_pair, to_network_grid
from scripts.spatial import integrate, warp
from scripts.synthesis.anatomies import phantom_anatomy
from scripts.synthesis.virtual_subjects import virtual_pair
=======
>>>>>>> flows
from tests.fixtures.bundle import KEEP

ROOT = Path(__file__).parents[2]


def read_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "comparison.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """That of training, with the small network of these tests."""
    overlay = tmp_path_factory.mktemp("config") / "small.yaml"
    overlay.write_text("network_def#channels: [8, 8, 8]\n")
    return f"['{ROOT / 'configs' / 'train.json'}','{overlay}']"


@pytest.fixture(scope="module")
def rescanned(odd_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The odd dataset, with one pair of it as a rescan."""
    folder = shutil.copytree(odd_dataset, tmp_path_factory.mktemp("rescanned") / "dataset")
    file = folder / "VIRTUAL_dataset.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"rescan": content["registration_val"][:1]}))
    return folder


@pytest.fixture
def run(
    rescanned: Path, config_file: str, tmp_path: Path, unchanged_process: Callable, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[dict[str, str]]]:
    """`run("affine,msfbnet", weights)`: the rows of the comparison in `tmp_path`."""
    monkeypatch.chdir(ROOT)

    def call(methods: str, weights: object = None, **options: object) -> list[dict[str, str]]:
        arguments = {"methods": methods, "weights": weights, "config_file": config_file, **options}
        words = [word for name, value in arguments.items() if value is not None for word in (f"--{name}", str(value))]
        with unchanged_process():
            code = command_line.main(["compare", str(rescanned), str(tmp_path), *words])
        assert code == 0
        return read_rows(tmp_path)

    return call


def test_affine_has_the_figures_of_the_files(run: Callable, rescanned: Path) -> None:
    rows = run("affine")
    assert [row["study"] for row in rows] == ["validation", "validation", "rescan"]
    labels = list(label_names(rescanned))
    for row, pair in zip(rows, validation_pairs(rescanned), strict=False):
        maps = [nib.load(pair[role]["label"]) for role in ("fixed", "moving")]
        fixed, moving = (torch.from_numpy(np.asarray(image.dataobj).astype(np.int32)) for image in maps)
        assert float(row["dice"]) == pytest.approx(dice_per_label(fixed, moving, labels).nanmean().item(), rel=1e-6)
        spacing = float(maps[0].affine[0, 0])
        points = [load_keypoints(pair[role]["keypoints"]).numpy() for role in ("fixed", "moving")]
        assert float(row["tre"]) == pytest.approx(spacing * np.linalg.norm(points[0] - points[1], axis=1).mean(), 1e-4)
        assert [float(row[name]) for name in ("ndv_percent", "inverse_consistency_mm")] == [0, 0]
    assert float(rows[2]["displacement_mm"]) == 0


def test_an_untrained_network_does_as_well_as_the_affine_alignment(run: Callable, fresh_weights: Path) -> None:
    affine, network = run("affine,msfbnet", fresh_weights, pairs=1)[:2]
    assert (affine["method"], network["method"]) == ("affine", "msfbnet fresh")
    for name in ("dice", "hd95", "lncc", "tre"):
        assert float(network[name]) == pytest.approx(float(affine[name]), rel=1e-3)
    assert float(network["cpu_seconds"]) > 0


def test_every_set_of_weights_has_its_rows(
    run: Callable, fresh_weights: Path, random_weights: Path, tmp_path: Path
) -> None:
    rows = run("msfbnet", f"one={fresh_weights},two={random_weights}", pairs=1)
    assert [row["method"] for row in rows] == ["msfbnet one", "msfbnet two"] * 2
    assert len({row["weights"] for row in rows}) == 2
    assert float(rows[3]["displacement_mm"]) > 0.1 > float(rows[2]["displacement_mm"])
    text = (tmp_path / "comparison.md").read_text()
    assert "| msfbnet one | 1 |" in text and rows[0]["weights"] in text and rows[1]["weights"] in text


def test_refinement_has_a_row_for_each_set_and_number_of_steps(run: Callable, fresh_weights: Path) -> None:
    run("msfbnet,refined", fresh_weights, refine=2, pairs=1)
    rows = run("refined", fresh_weights, refine=6, pairs=1)
    validation = {row["method"]: row for row in rows if row["study"] == "validation"}
    assert list(validation) == ["msfbnet fresh", "refined fresh, 2 steps", "refined fresh, 6 steps"]
    similarity = [float(row["lncc"]) for row in validation.values()]
    assert similarity == sorted(similarity) and similarity[2] > similarity[0]


def test_measured_rows_stay_until_the_weights_change(
    run: Callable, fresh_weights: Path, random_weights: Path, tmp_path: Path
) -> None:
    weights = shutil.copy(fresh_weights, tmp_path / "model.pt")
    first = run("affine,msfbnet", weights, pairs=1)
    assert run("affine,msfbnet", weights, pairs=1) == first  # seconds, too, so nothing is measured again
    shutil.copy(random_weights, weights)
    rows = run("affine,msfbnet", weights, pairs=1)
    assert rows[: len(first)] == first
    assert [(row["study"], row["method"]) for row in rows[len(first) :]] == [
        ("validation", "msfbnet model"),
        ("rescan", "msfbnet model"),
    ]
    assert rows[-1]["weights"] != first[-1]["weights"]
    # The table is of the weights that are there now.
    assert first[1]["weights"] not in (tmp_path / "comparison.md").read_text()


def test_the_same_weights_in_another_network_are_measured_anew(
    run: Callable, config_file: str, random_weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "plain.yaml").write_text("network_def#diffeomorphic: false\n")
    run("msfbnet", random_weights, pairs=1)
    rows = run("msfbnet", random_weights, pairs=1, config_file=f"{config_file},{tmp_path / 'plain.yaml'}")
    assert len(rows) == 4 and rows[0]["sdlogj"] != rows[2]["sdlogj"]


def test_tables_are_printed(run: Callable, fresh_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run("affine,voxelmorph,msfbnet", fresh_weights)
    printed = capsys.readouterr().out
    assert (tmp_path / "comparison.md").read_text() in printed
    assert "voxelmorph: left out" in printed
    assert "| affine | 2 |" in printed


def test_voxelmorph_takes_part(run: Callable, tmp_path: Path) -> None:
    torch.save(VoxelMorphBaseline().state_dict(), tmp_path / "voxelmorph.pt")
    rows = run("voxelmorph", voxelmorph_weights=tmp_path / "voxelmorph.pt", pairs=1)
    assert {row["method"] for row in rows} == {"voxelmorph"}


def test_trains_voxelmorph_by_the_same_recipe(run_bundle: Callable, dataset: Path, tmp_path: Path) -> None:
    sizes = {
        "max_epochs": 1,
        "pairs_per_epoch": 1,
        "val_interval": 1,
        "network_def#channels": KEEP,
    }
    run_bundle("train", "ablations/voxelmorph.yaml", dataset_dir=dataset, output_dir=tmp_path, overrides=sizes)
    weights = torch.load(tmp_path / "model.pt", weights_only=True)
    assert weights.keys() == VoxelMorphBaseline().state_dict().keys()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"methods": "affine,ants"}, ["ants", *METHODS]),
        ({"methods": "msfbnet"}, ["--weights FILE"]),
        ({"methods": "msfbnet", "weights": "none.pt"}, ["none.pt", "no such file"]),
        ({"methods": "voxelmorph", "voxelmorph_weights": "none.pt"}, ["none.pt", "no such file"]),
        ({"methods": "affine", "config_file": "none.yaml"}, ["none.yaml", "no such file"]),
        ({"methods": "affine", "landmarks_dir": "configs"}, ["configs", "NAME_T1.nii.gz"]),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_bad_arguments_are_refused_before_anything_is_measured(
    options: dict, words: list, dataset: Path, tmp_path: Path, refused: Callable, unchanged_process: Callable
) -> None:
    with unchanged_process(), refused(*words):
        compare(str(dataset), str(tmp_path), **options)
    assert not (tmp_path / "comparison.csv").exists()


def test_two_weights_of_one_name_are_refused(fresh_weights: Path, refused: Callable) -> None:
    with refused("two sets of one name"):
        make_methods(["msfbnet"], MSFBNet([8, 8, 8]), "", f"{fresh_weights},{fresh_weights}")


def test_a_file_that_is_no_comparison_is_left_alone(tmp_path: Path, refused: Callable) -> None:
    (tmp_path / "comparison.csv").write_text("a,b\n1,2\n")
    with refused("comparison.csv", "move it away"):
        Results(tmp_path / "comparison.csv")
    assert (tmp_path / "comparison.csv").read_text() == "a,b\n1,2\n"
<<<<<<< HEAD


# --- rows -------------------------------------------------------------------------------------------------------------


def counting(calls: list[str], *names: str) -> list[Method]:
    """Methods that note when they are called."""

    def field(name: str) -> Callable:
        return lambda image, affine: (calls.append(name), affine_only(image, affine))[1]

    return [Method("affine", name, "", "", field(name)) for name in names]


def toy_study(methods: list[Method], calls: list[str], pairs: str = "pq") -> Study:
    def load(name: str) -> dict:
        calls.append(name)
        return {"image": torch.rand(2, 4, 4, 4), "grid": Grid((4, 4, 4), np.eye(4))}

    cases = [Case(name, lambda name=name: load(name)) for name in pairs]
    return Study("validation", cases, methods, lambda item, method, field: {"dice": 0.5})


def test_methods_take_turns_on_every_pair(tmp_path: Path) -> None:
    calls: list[str] = []
    carry_out(toy_study(counting(calls, "one", "two"), calls), Results(tmp_path / "comparison.csv"))
    assert calls == ["p", "one", "two", "q", "one", "two"]


def test_networks_warm_up_once_before_they_are_timed(tmp_path: Path) -> None:
    calls: list[str] = []
    methods = [method._replace(kind="msfbnet") for method in counting(calls, "net")]
    carry_out(toy_study(methods, calls), Results(tmp_path / "comparison.csv"))
    assert calls == ["p", "net", "net", "q", "net"]


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy, torch
from scripts.evaluation.baselines import Method, affine_only
from scripts.evaluation.comparison import Case, Study, carry_out
from scripts.evaluation.comparison_table import Results
from scripts.geometry import Grid
def field(image, affine):
    rows.append("row")
    return affine_only(image, affine) if len(rows) < 4 else os.kill(os.getpid(), signal.SIGKILL)
rows, item = [], {"image": torch.zeros(2, 4, 4, 4), "grid": Grid((4, 4, 4), numpy.eye(4))}
cases = [Case(name, lambda: item) for name in "pq"]
methods = [Method("affine", name, "", "", field) for name in ("one", "two")]
study = Study("validation", cases, methods, lambda *_: {"dice": 0.5})
carry_out(study, Results(Path(sys.argv[1])))
"""


def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "comparison.csv"
    done = subprocess.run([sys.executable, "-c", KILLED, path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    before = read_rows(tmp_path)
    assert [(row["pair"], row["method"]) for row in before] == [("p", "one"), ("p", "two"), ("q", "one")]
    calls: list[str] = []
    carry_out(toy_study(counting(calls, "one", "two"), calls), Results(path))
    assert calls == ["q", "two"]
    assert read_rows(tmp_path)[:3] == before and len(read_rows(tmp_path)) == 4


def test_a_run_killed_while_it_writes_keeps_the_rows_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results(tmp_path / "comparison.csv")
    results.add("validation", "p", AFFINE, {"dice": 0.5})
    before = results.path.read_bytes()
    monkeypatch.setattr(os, "replace", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        results.add("validation", "q", AFFINE, {"dice": 0.6})
    assert results.path.read_bytes() == before
    assert [row["pair"] for row in Results(results.path).rows] == ["p"]


def test_rows_of_another_run_at_the_same_time_are_kept(tmp_path: Path) -> None:
    ours, theirs = (Results(tmp_path / "comparison.csv") for _ in range(2))
    ours.add("validation", "p", AFFINE, {"dice": 0.5, "cpu_seconds": 1.25})
    theirs.add("rescan", "p", AFFINE, {"displacement_mm": 0.1})
    found = Results(tmp_path / "comparison.csv")
    assert [row["study"] for row in found.rows] == ["validation", "rescan"]
    assert found.rows[0]["cpu_seconds"] == 1.25 and "cpu_seconds" not in found.rows[1]
    assert found.has("rescan", "p", AFFINE) and not found.has("rescan", "p", AFFINE._replace(weights="0"))


def test_summary_is_over_the_pairs_that_are_done(tmp_path: Path) -> None:
    results, methods = Results(tmp_path / "c.csv"), counting([], "syn", "ours")
    for pair, method, dice, cpu in (("p", 0, 0.5, 60), ("p", 1, 0.6, 12), ("q", 0, 0.6, 100), ("r", 1, 0.8, 48)):
        results.add("validation", pair, methods[method], {"dice": dice, "cpu_seconds": cpu})
    results.add("validation", "elsewhere", methods[1], {"dice": 0.0, "cpu_seconds": 1})
    lines = comparison_text(results.rows, methods, {"validation": ["p", "q", "r"]}).splitlines()
    # The ratio is that of p, the pair that both have.
    assert "| syn | 2 | 0.5500 ± 0.0500 | 80.0 ± 20.0 | 1.00 |" in lines
    assert "| ours | 2 | 0.7000 ± 0.1000 | 30.0 ± 18.0 | 0.20 |" in lines
    assert "| q | 0.6000 | – |" in lines and "| mean ± std | 0.5500 ± 0.0500 | 0.7000 ± 0.1000 |" in lines


# --- methods ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ants() -> ModuleType:
    return pytest.importorskip("ants")


@pytest.mark.parametrize("kind", SYN)
def test_syn_finds_a_shift(kind: str, ants: ModuleType) -> None:
    fixed = np.pad(phantom_anatomy((28, 32, 30)).intensities.numpy(), 4)
    shift = (3, -2, 1)
    moving = np.roll(fixed, shift, axis=(0, 1, 2))
    field = syn(ants, **SYN[kind])(torch.from_numpy(np.stack([fixed, moving]))[None], np.eye(4))
    found = field[0][:, torch.from_numpy(fixed > 0)].mean(dim=1)
    torch.testing.assert_close(found, torch.tensor(shift).float(), rtol=0, atol=0.75)  # smooth, so a bit less


def test_the_field_of_syn_is_what_ants_warps_by(ants: ModuleType) -> None:
    """On a grid of unequal spacing, mirrored along one axis: a wrong unit or sign would show."""
    people = virtual_pair(phantom_anatomy((28, 32, 30)), seed=3)
    image = torch.cat([people.fixed.image, people.moving.image], dim=1)
    moved = []

    def registration(*arguments: object, **options: object) -> dict:
        found = ants.registration(*arguments, **options)
        moved.append(found["warpedmovout"].numpy())
        return found

    observed = SimpleNamespace(from_numpy=ants.from_numpy, registration=registration)
    field = syn(observed)(image, nib.affines.from_matvec(np.diag([-1.0, 1.3, 0.8]), [20, 7, 30]))
    assert field.dtype == torch.float32 and field.shape == (1, 3, 28, 32, 30)
    assert (field.abs().mean(dim=(0, 2, 3, 4)) > 0.05).all()
    torch.testing.assert_close(warp(image[:, 1:], field)[0, 0], torch.from_numpy(moved[0]), rtol=0, atol=1e-3)


def test_syn_brings_virtual_people_together(ants: ModuleType) -> None:
    anatomy = phantom_anatomy((40, 44, 38))
    pair = virtual_pair(anatomy, seed=3)
    image = torch.cat([pair.fixed.image, pair.moving.image], dim=1)
    field = syn(ants)(image, np.diag([2.0, 2.0, 2.0, 1.0]))
    labels = list(anatomy.names)
    before, after = (
        dice_per_label(pair.fixed.labels[0], warp(pair.moving.labels, u, mode="nearest")[0], labels).nanmean()
        for u in (torch.zeros_like(field), field)
    )
    assert after > before + 0.05


def test_without_antspyx_it_says_how_to_install_it(refused: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ants", None)
    with refused("antspyx", "pip install '.[compare]'"):
        make_methods(["affine", "syn"], MSFBNet([8, 8, 8]))


def test_a_network_pads_what_does_not_fit_and_keeps_no_gradient(random_network: MSFBNet) -> None:
    field = predicted(random_network)(torch.rand(1, 2, 13, 10, 9), np.eye(4))
    assert field.shape == (1, 3, 13, 10, 9) and not field.requires_grad


# --- figures ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def item() -> dict:
    """A pair on a grid of 2 mm, its fixed image above 0 in the middle only."""
    image = torch.zeros(2, 24, 24, 24)
    image[:, 8:16, 8:16, 8:16] = torch.rand(2, 8, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.1
    return {"image": image, "grid": Grid((24, 24, 24), np.diag([2.0, 2.0, 2.0, 1.0]))}


def consistency(item: dict, function: Callable) -> float:
    method = Method("msfbnet", "msfbnet", "", "", function)
    field = function(item["image"][None], item["grid"].affine)
    return validation_figures(item, method, field, [])["inverse_consistency_mm"]


def test_a_flow_and_its_inverse_are_consistent(item: dict) -> None:
    noise = torch.randn(1, 3, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    velocity = 2 * torch.nn.functional.interpolate(noise, size=(24, 24, 24), mode="trilinear")

    def flow(image: Tensor, affine: np.ndarray) -> Tensor:
        return integrate(velocity if torch.equal(image[0], item["image"]) else -velocity)

    assert consistency(item, flow) < 0.1
    assert consistency(item, lambda image, affine: integrate(velocity)) > 1


def test_inverse_consistency_is_in_mm(item: dict) -> None:
    assert consistency(item, constant((1, 0, 0))) == pytest.approx(4)
    item["grid"] = Grid((24, 24, 24), np.diag([2.0, 3.0, 1.0, 1.0]))
    assert consistency(item, constant((0, 1, 0))) == pytest.approx(6)


def test_syn_is_not_run_twice(item: dict) -> None:
    method = Method("syn", "syn", "", "", lambda *_: pytest.fail("run"))
    assert "inverse_consistency_mm" not in validation_figures(item, method, torch.zeros(1, 3, 24, 24, 24), [])


def test_rescan_counts_the_fixed_brain_in_mm(item: dict) -> None:
    field = torch.full((1, 3, 24, 24, 24), 100.0)
    field[:, :, 8:16, 8:16, 8:16] = torch.tensor([3.0, 0.0, 4.0]).view(3, 1, 1, 1)
    assert rescan_figures(item, AFFINE, field) == {"displacement_mm": pytest.approx(10)}


def test_landmarks_of_raw_scans_meet_under_the_right_field(head: Callable, grid_of: Callable, tmp_path: Path) -> None:
    """Two heads, one of them shifted and stored on other axes; what brings the moving one back, in voxels, is known."""
    shift, points = np.array([4.0, -2.0, 6.0]), np.array([[0.0, 0, 0], [5, -8, 3], [-9, 10, 7]])
    for name, axes, moved in (("a", "RAS", 0), ("b", "ASL", shift)):
        grid = grid_of(axes)
        array = head(grid, lambda x, moved=moved: x - moved)
        nib.save(nib.Nifti1Image(array, grid.affine), tmp_path / f"{name}_T1.nii.gz")
        rows = "\n".join(",".join(map(str, point)) for point in points + moved)
        (tmp_path / f"{name}_landmarks.csv").write_text(f"x_ras_mm,y_ras_mm,z_ras_mm\n{rows}\n")

    def prepare(job: Job) -> PreparedPair:
        return to_network_grid(align_pair(read_pair(job), np.eye(4), 0), 4, 2.0, [1, 1, 1])

    cases = landmark_cases(tmp_path, prepare)
    assert [case.name for case in cases] == ["a_b", "b_a"]
    for case, sign in zip(cases, (1, -1), strict=True):
        item = case.load()
        image = item["image"][None]
        found = {
            size: landmark_figures(item, AFFINE, constant(tuple(size * sign * shift / 2))(image, item["grid"].affine))
            for size in (0, 1, -1)
        }
        length = float(np.linalg.norm(shift))
        assert [found[size]["tre"] for size in (0, 1, -1)] == pytest.approx([length, 0, 2 * length], abs=1e-4)


def test_landmarks_that_are_missing_are_named(tmp_path: Path, refused: Callable) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}_T1.nii.gz").write_bytes(b"x")
    with refused("a_landmarks.csv", "no such file"):
        landmark_cases(tmp_path, Compose([]))
=======
>>>>>>> flows
