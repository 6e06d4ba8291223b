"""The pieces of a long training: schedule, clipped gradients, averaged weights, half precision, clean targets."""

import csv
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from scripts.losses import RegistrationLoss
from scripts.networks import MSFBNet
from scripts.networks.inferers import PaddedInferer, PyramidInferer
from scripts.runtime.errors import InputError
from scripts.runtime.setup import supports_bf16
from scripts.training.averaging import ExponentialMovingAverage
from scripts.training.batches import BatchWithLabels, prepare_training_batch
from scripts.training.gradients import ClipGradients
from scripts.training.schedule import Curriculum, TimeLimit, epochs_for, warmup_then_decay
from scripts.training.step import TrainingStep


def train(network: nn.Module, factors: list[float], max_norm: float | None = None) -> list[list[Tensor]]:
    """Train on batches that multiply a loss of gradient 1 by these factors; the weights after every step."""
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    weights: list[list[Tensor]] = []
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=[{"factor": torch.tensor(factor)} for factor in factors],
        prepare_batch=lambda batch, *_: (torch.ones(1, 2), batch["factor"]),
        network=network,
        optimizer=optimizer,
        loss_function=lambda output, factor: factor * output.sum(),
        train_handlers=[ClipGradients(network, optimizer, max_norm)],
        iteration_update=TrainingStep(),
        decollate=False,
    )
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: weights.append([p.detach().clone() for p in network.parameters()])
    )
    trainer.run()
    return weights


# --- the schedule -----------------------------------------------------------------------------------------------------


def test_rate_rises_linearly_under_the_decay_and_ends_at_zero() -> None:
    factor = warmup_then_decay(steps=1000, warmup=100)
    decay = [(1 - step / 1000) ** 0.9 for step in range(1000)]
    rise = [(step + 1) / 100 if step < 100 else 1 for step in range(1000)]
    assert [factor(step) for step in range(1000)] == pytest.approx([r * d for r, d in zip(rise, decay, strict=True)])
    assert factor(1000) == 0


def test_rate_stays_zero_where_a_resumed_training_has_fewer_steps_than_it_made() -> None:
    assert warmup_then_decay(steps=10)(11) == 0


def test_no_warmup_begins_with_the_full_rate() -> None:
    assert warmup_then_decay(steps=10)(0) == 1


# --- the curriculum ---------------------------------------------------------------------------------------------------


def test_each_stage_of_the_curriculum_lasts_its_steps_and_the_last_one_stays() -> None:
    transform = SimpleNamespace(spacing=0, size=None)
    stages = [{"steps": 2, "spacing": 2, "size": None}, {"steps": 3, "spacing": 1, "size": [16, 16, 16]}]
    seen, trainer = [], Engine(lambda *_: None)

    class Pairs:
        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> int:
            seen.append((transform.spacing, transform.size))
            return index

    Curriculum(transform, stages).attach(trainer)
    trainer.run(DataLoader(Pairs(), batch_size=None), max_epochs=2)
    # Two changes, both inside the epochs of four steps.
    assert seen == [(2, None)] * 2 + [(1, [16, 16, 16])] * 6


def test_without_stages_nothing_changes() -> None:
    trainer = Engine(lambda *_: None)
    Curriculum(None, []).attach(trainer)
    trainer.run([0], max_epochs=1)


@pytest.mark.parametrize(("steps", "epochs"), [((8,), 2), ((3, 5), 2), ((3, 6), 3), ((1,), 1)])
def test_epochs_hold_all_steps_of_all_stages(steps: tuple[int, ...], epochs: int) -> None:
    assert epochs_for([{"steps": n} for n in steps], 4) == epochs


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ({"epochs": 2, "spacing": 2}, ["--stages", "'steps'"]),
        ({"steps": 0}, ["--stages", "'steps'"]),
        ({"steps": "many"}, ["--stages", "'steps'"]),
        ({"steps": 2, "spaceing": 2}, ["--stages", "has no 'spaceing'"]),
    ],
)
def test_stage_that_says_nothing_is_refused(refused: Callable, stage: dict[str, Any], words: list[str]) -> None:
    with refused(*words):
        Curriculum(SimpleNamespace(spacing=0), [{"steps": 1}, stage])


# --- the time limit ---------------------------------------------------------------------------------------------------


def steps_within(minutes: float | None, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Steps and whole epochs of a training of 3 epochs of 4 steps, each step a minute long."""
    now, trainer, epochs = 0.0, Engine(lambda *_: None), []
    monkeypatch.setattr("scripts.training.schedule.time", SimpleNamespace(monotonic=lambda: now))

    def wait() -> None:
        nonlocal now
        now += 60

    trainer.add_event_handler(Events.ITERATION_COMPLETED, wait)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: epochs.append(now))
    TimeLimit(minutes).attach(trainer)
    trainer.run(range(4), max_epochs=3)
    return trainer.state.iteration, len(epochs)


@pytest.mark.parametrize(
    ("minutes", "steps", "epochs"),
    [(None, 12, 3), (2, 2, 0), (2.5, 3, 0), (4, 4, 1), (5, 5, 1), (12, 12, 3), (0, 0, 0)],
)
def test_training_ends_before_the_first_step_after_the_limit(
    monkeypatch: pytest.MonkeyPatch, minutes: float | None, steps: int, epochs: int
) -> None:
    assert steps_within(minutes, monkeypatch) == (steps, epochs)


# --- labels -----------------------------------------------------------------------------------------------------------


def drawn_labels(labels: list[int], count: int, batches: int = 1) -> list[list[int]]:
    maps = {key: torch.zeros(1, 1, 4, 4, 4, dtype=torch.int32) for key in ("fixed_label", "moving_label")}
    prepare = BatchWithLabels(labels, count)
    targets = [prepare({"image": torch.zeros(1, 2, 4, 4, 4), **maps}, torch.device("cpu"))[1] for _ in range(batches)]
    assert all(target[1].shape == (1, 2, 4, 4, 4) for target in targets)
    return [target[2].tolist() for target in targets]


def test_labels_of_each_step_are_drawn_anew_none_twice_and_come_again_with_the_generator() -> None:
    torch.manual_seed(0)
    draws = drawn_labels(list(range(1, 135)), 24, batches=100)
    assert all(len(set(draw)) == 24 for draw in draws)
    assert set().union(*draws) == set(range(1, 135))
    torch.manual_seed(0)
    assert drawn_labels(list(range(1, 135)), 24, batches=100) == draws
    assert sorted(drawn_labels([3, 17], 24)[0]) == [3, 17]


def test_no_labels_to_draw_from_are_told(refused: Callable) -> None:
    with refused("dataset JSON", "--dice_labels"):
        BatchWithLabels([], 24)


@pytest.mark.parametrize("minutes", [-1, "soon"])
def test_minutes_that_are_no_time_are_refused(minutes: Any) -> None:
    with pytest.raises(InputError, match=f"--minutes {minutes}: want a number from 0"):
        TimeLimit(minutes)


# --- gradients --------------------------------------------------------------------------------------------------------


def gradients_after(max_norm: float | None, *gradients: list[float]) -> list[Tensor]:
    network = nn.ParameterList([nn.Parameter(torch.zeros(len(gradient))) for gradient in gradients])
    for parameter, gradient in zip(network, gradients, strict=True):
        parameter.grad = torch.tensor(gradient)
    optimizer = torch.optim.SGD(network.parameters())
    ClipGradients(network, optimizer, max_norm)(SimpleNamespace(state=SimpleNamespace(iteration=1)))
    return [parameter.grad for parameter in network]


def test_steep_gradient_keeps_its_direction_and_gets_the_norm() -> None:
    clipped = gradients_after(0.5, [3.0, 0.0], [-4.0])
    torch.testing.assert_close(torch.cat(clipped), torch.tensor([0.3, 0.0, -0.4]))


@pytest.mark.parametrize("max_norm", [5.5, None])
def test_gentle_gradient_keeps_every_bit(max_norm: float | None) -> None:
    kept = gradients_after(max_norm, [3.1, 0.0], [-4.1])
    assert torch.equal(torch.cat(kept), torch.tensor([3.1, 0.0, -4.1]))


@pytest.mark.parametrize("max_norm", [0.1, None])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_bad_batch_leaves_weights_and_optimizer_as_they_are(max_norm: float | None, bad: float) -> None:
    def trained(*factors: float) -> list[list[Tensor]]:
        torch.manual_seed(0)
        network = nn.Linear(2, 1)
        return train(network, list(factors), max_norm)

    first, skipped, last = trained(1, bad, 2)
    straight = trained(1, 2)
    assert all(torch.equal(a, b) for a, b in zip(first, skipped, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(last, straight[-1], strict=True))
    assert not torch.equal(last[0], skipped[0])


def test_a_step_that_is_left_out_is_told(caplog: pytest.LogCaptureFixture) -> None:
    train(nn.Linear(2, 1), [1, math.nan, 1, math.inf])
    assert caplog.messages == [f"step {step} is left out: its gradient is not finite" for step in (2, 4)]


def test_nothing_but_bad_batches_ends_the_training_in_one_line() -> None:
    network = nn.Linear(2, 1)
    nine = [math.nan] * 9
    assert len(train(network, [*nine, 1, *nine])) == 19
    with pytest.raises(InputError, match="no finite gradient in 10 steps"):
        train(network, [1, *nine, math.nan])


# --- averaged weights -------------------------------------------------------------------------------------------------


def averages(decay: float, values: list[float]) -> list[float]:
    """Averages of a weight that has these values after the steps, and another one before."""
    network, average = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    handler = ExponentialMovingAverage(network, average, decay)
    found = []
    for iteration, value in enumerate(values, start=1):
        nn.init.constant_(network.weight, value)
        handler(SimpleNamespace(state=SimpleNamespace(iteration=iteration)))
        found.append(average.weight.item())
    return found


def test_average_without_decay_is_the_last_weight_to_the_bit() -> None:
    values = torch.randn(50, generator=torch.Generator().manual_seed(0)).tolist()
    assert averages(0, values) == values


def test_average_of_equal_weights_is_that_weight() -> None:
    assert averages(0.999, [0.3] * 50) == pytest.approx([0.3] * 50, rel=1e-6)


def test_average_is_exponential_after_its_warmup() -> None:
    # The decay of 0.5 is reached after 9 steps; until then it is n / (n + 9).
    values = [float(step % 7) for step in range(30)]
    expected, mean = [], 0.0
    for n, value in enumerate(values):
        decay = min(0.5, n / (n + 9))
        mean = decay * mean + (1 - decay) * value
        expected.append(mean)
    assert averages(0.5, values) == pytest.approx(expected, rel=1e-5)


def test_first_steps_do_not_dominate_a_short_training() -> None:
    # With a constant decay of 0.999, a tenth of the first weight's 1 would be forgotten after 100 steps.
    assert averages(0.999, [1.0] + [0.0] * 99)[-1] < 1e-3


def read_history(folder: Path) -> list[dict[str, str]]:
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("ema_decay", [0, 0.9])
def test_averaged_weights_are_validated_and_saved(
    run_bundle: Callable, dataset: Path, tmp_path: Path, ema_decay: float
) -> None:
    sizes = {"max_epochs": 1, "pairs_per_epoch": 3, "learning_rate": 0.01}
    run_bundle("train", dataset_dir=dataset, output_dir=tmp_path, ema_decay=ema_decay, **sizes)
    last = torch.load(tmp_path / "last.pt", weights_only=True)
    assert equal(last["average"], last["network"]) == (ema_decay == 0)
    assert equal(torch.load(tmp_path / "model.pt", weights_only=True), last["average"])
    run_bundle("train", "evaluate", dataset_dir=dataset, output_dir=tmp_path)
    evaluated = json.loads((tmp_path / "metrics.json").read_text())["summary"]["dice"]["mean"]
    assert float(read_history(tmp_path)[-1]["dice"]) == pytest.approx(evaluated, rel=1e-6)


# --- half precision ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bf16", "size"), [(True, 20), (False, 20), (True, 16)])
def test_network_computes_in_half_precision_and_the_loss_does_not(bf16: bool, size: int) -> None:
    network, image = MSFBNet([8, 8, 8]), torch.rand(1, 2, size, 16, 16)
    dtypes = set()
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            module.register_forward_hook(lambda _, __, output: dtypes.add(output.dtype))
    fields = PyramidInferer(bf16)(image, network)
    loss = RegistrationLoss()(fields, image)
    loss.backward()
    assert dtypes == {torch.bfloat16 if bf16 and size == 20 else torch.float32}  # not where it is unsafe
    assert {loss.dtype} | {tensor.dtype for tensor in fields} == {torch.float32}
    assert {p.grad.dtype for p in network.parameters() if p.grad is not None} == {torch.float32}


@torch.no_grad()
def test_half_precision_moves_a_predicted_field_by_hundredths_of_voxels(random_network: MSFBNet) -> None:
    image = torch.rand(1, 2, 24, 18, 20, generator=torch.Generator().manual_seed(0))
    full, half = (PaddedInferer(bf16)(image, random_network) for bf16 in (False, True))
    assert half.dtype == torch.float32
    assert full.norm(dim=1).mean() > 1
    assert 0 < (half - full).norm(dim=1).mean() < 0.05


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_f": True, "avx512_bf16": True, "amx_bf16": False}, True),
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": True}, True),
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, False),  # computes it as float32, and slower
        ({"architecture": "arm64"}, False),
    ],
)
def test_cpu_gains_from_bf16_where_it_has_the_instructions(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, Any], expected: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert supports_bf16("cpu") is expected


def test_cpu_gains_nothing_where_torch_is_too_old_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert supports_bf16("cpu") is False


# --- targets ----------------------------------------------------------------------------------------------------------


def test_loss_compares_the_target_where_a_batch_has_one() -> None:
    image, target = torch.rand(1, 2, 4, 4, 4), torch.rand(1, 4, 4, 4, 4)
    for batch, expected in (({"image": image}, image), ({"image": image, "target": target}, target)):
        seen, compared = prepare_training_batch(batch, torch.device("cpu"))
        assert torch.equal(seen, image)
        assert torch.equal(compared, expected)
