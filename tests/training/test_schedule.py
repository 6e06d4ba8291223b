# SPDX-License-Identifier: Apache-2.0
"""Learning rate, curriculum and time limit of a training."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ignite.engine import Engine, Events
from torch.utils.data import DataLoader

from scripts.datasets.boxes import RandScaledBoxd
from scripts.runtime.errors import InputError
from scripts.training.schedule import Curriculum, TimeLimit, epochs_for, warmup_then_decay


def test_rate_is_a_linear_warmup_times_a_polynomial_decay() -> None:
    factor = warmup_then_decay(epochs=10, steps_per_epoch=100, warmup=100)
    decay = [(1 - step / 1000) ** 0.9 for step in range(1000)]
    rise = [(step + 1) / 100 if step < 100 else 1 for step in range(1000)]
    assert [factor(step) for step in range(1000)] == pytest.approx([r * d for r, d in zip(rise, decay, strict=True)])
    assert factor(1000) == 0


def test_rate_is_zero_after_the_last_step() -> None:
    # As in a resumed training with fewer steps than were made already.
    assert warmup_then_decay(2, steps_per_epoch=5)(11) == 0


def test_rate_without_warmup_begins_with_factor_one() -> None:
    assert warmup_then_decay(2, steps_per_epoch=5)(0) == 1


# --- the curriculum ---------------------------------------------------------------------------------------------------


def test_each_stage_lasts_its_steps_and_the_last_one_stays() -> None:
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
    # Two epochs of four steps; the stage changes inside the first one.
    assert seen == [(2, None)] * 2 + [(1, [16, 16, 16])] * 6


def test_without_stages_nothing_changes() -> None:
    trainer = Engine(lambda *_: None)
    Curriculum(None, []).attach(trainer)
    trainer.run([0], max_epochs=1)


@pytest.mark.parametrize(
    ("steps", "epochs"),
    [
        ((8,), 2),  # 8 / 4
        ((3, 5), 2),  # (3 + 5) / 4
        ((3, 6), 3),  # (3 + 6) / 4, rounded up
        ((1,), 1),
    ],
)
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
def test_invalid_stage_is_refused(refused: Callable, stage: dict[str, Any], words: list[str]) -> None:
    with refused(*words):
        Curriculum(SimpleNamespace(spacing=0), [{"steps": 1}, stage])


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ({"spacing": 0}, ["stage 2", "spacing 0", "from 1"]),
        ({"spacing": 1.5}, ["stage 2", "spacing 1.5", "whole number"]),
        ({"spacing": "2"}, ["stage 2", "spacing 2", "whole number"]),
        ({"spacing": 33}, ["stage 2", "the scans have 32x40x32 voxels"]),
        ({"size": [16, 16]}, ["stage 2", "size [16, 16]", "three numbers"]),
        ({"size": 16}, ["stage 2", "size 16", "three numbers"]),
        ({"size": [16, 0, 16]}, ["stage 2", "three numbers"]),
        ({"size": "16"}, ["stage 2", "three numbers"]),
    ],
    ids=str,
)
def test_boxes_that_cannot_be_are_refused_at_once(refused: Callable, stage: dict[str, Any], words: list[str]) -> None:
    with refused("--stages", *words):
        Curriculum(RandScaledBoxd("image", 16), [{"steps": 1, "spacing": 2}, {"steps": 9, **stage}], (32, 40, 32))


def test_boxes_larger_than_the_scans_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    transform = RandScaledBoxd("image", 16, size=[32, 40, 32])
    Curriculum(transform, [], (32, 40, 32))
    Curriculum(transform, [{"steps": 1, "spacing": 2, "size": None}, {"steps": 1, "spacing": 1}], (32, 40, 32))
    assert caplog.messages == []
    Curriculum(transform, [{"steps": 1, "spacing": 1}, {"steps": 1, "spacing": 2}], (32, 40, 32))
    (message,) = caplog.messages
    assert message.startswith("--stages, stage 2: boxes of 64x80x64 voxels of scans of 32x40x32: zeros fill the rest")
    Curriculum(transform, [], (32, 32, 32))
    assert caplog.messages[1].startswith("the training's boxes: boxes of 32x40x32 voxels of scans of 32x32x32")


# --- the time limit ---------------------------------------------------------------------------------------------------


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Callable[[float | None], tuple[int, int]]:
    """`limited(minutes)`: number of steps and of completed epochs of 3 epochs of 4 steps, each step a minute long."""

    def run(minutes: float | None) -> tuple[int, int]:
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

    return run


@pytest.mark.parametrize(
    ("minutes", "steps", "epochs"),
    [
        (None, 12, 3),  # 3 epochs of 4 steps, a minute each
        (0, 0, 0),
        (2, 2, 0),
        (2.5, 3, 0),  # the third step starts after 2 minutes, the fourth would after 3
        (4, 4, 1),
        (5, 5, 1),
        (12, 12, 3),
    ],
)
def test_no_step_starts_after_the_limit(limited: Callable, minutes: float | None, steps: int, epochs: int) -> None:
    assert limited(minutes) == (steps, epochs)


@pytest.mark.parametrize("minutes", [-1, "soon"])
def test_minutes_below_zero_or_in_words_are_refused(minutes: Any) -> None:
    with pytest.raises(InputError, match=f"--minutes {minutes}: want a number from 0"):
        TimeLimit(minutes)
