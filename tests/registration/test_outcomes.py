# SPDX-License-Identifier: Apache-2.0
"""Of many pairs one may fail: the others are registered, and the end tells which failed and how."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ignite.engine import Engine

from scripts.registration.fingerprint import settings_digests
from scripts.registration.outcomes import Attempt, Outcomes
from scripts.registration.pair import Failure
from scripts.registration.summary import RegistrationTable
from scripts.runtime.errors import InputError, report_error

GOOD, BAD = {"verdict": "pass", "reasons": []}, {"verdict": "fail", "reasons": ["the similarity fell", "folds"]}


def register(pair: SimpleNamespace) -> SimpleNamespace:
    if hasattr(pair, "raises"):
        raise pair.raises
    return pair


def run(*pairs: dict[str, Any]) -> None:
    engine = Engine(lambda _, pair: Attempt(register)(pair))
    outcomes = Outcomes()
    outcomes.attach(engine)
    engine.run([SimpleNamespace(name=f"pair {number}", **pair) for number, pair in enumerate(pairs, start=1)])
    outcomes.raise_errors()
    outcomes.raise_verdicts()


def test_an_attempt_keeps_what_went_wrong() -> None:
    error = InputError("f.nii: bad")
    assert Attempt(register)(SimpleNamespace(name="a", raises=error)) == Failure("a", error)


def test_an_attempt_finds_the_input_error_behind_a_wrapper() -> None:
    wrapped = RuntimeError("applying transform")
    wrapped.__cause__ = InputError("f.nii: bad")
    assert Attempt(register)(SimpleNamespace(name="a", raises=wrapped)).error is wrapped.__cause__


def test_no_step_is_tried_after_a_failure() -> None:
    failed = Failure("a", InputError("bad"))
    assert Attempt(lambda _: pytest.fail("tried"))(failed) is failed


def test_good_pairs_end_quietly(capsys: pytest.CaptureFixture) -> None:
    run({"metrics": GOOD}, {"metrics": GOOD | {"verdict": "look"}})
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("error", [InputError("f.nii: bad"), MemoryError()])
def test_the_only_pair_fails_as_it_does(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        run({"raises": error})
    assert caught.value is error


def test_failures_among_others_are_listed_and_counted(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(InputError, match="2 of 4 pairs"):
        run({"raises": InputError("f.nii: bad")}, {"metrics": GOOD}, {"raises": KeyError("bug")}, {"metrics": BAD})
    listed = capsys.readouterr().err
    assert "pair 1: f.nii: bad\n" in listed
    assert "Traceback" in listed and "in register" in listed and "pair 3: 'bug'\n" in listed
    assert "pair 2" not in listed


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError("f.nii: bad"), 3, "f.nii: bad"),
        (OSError(28, "No space left on device", "moved.nii.gz"), 3, "moved.nii.gz: cannot be written (No space left"),
        (MemoryError("Unable to allocate 9 GiB"), 4, "not enough memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), 4, "not enough memory"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_each_kind_of_failure_has_its_line_and_exit_code(
    error: BaseException, code: int, message: str, wrapped: bool, capsys: pytest.CaptureFixture
) -> None:
    shown = error
    if wrapped:
        shown = RuntimeError("applying transform")
        shown.__cause__ = error
    with pytest.raises(SystemExit) as caught:
        report_error(type(shown), shown, None)
    assert caught.value.code == code
    line = capsys.readouterr().err
    assert line.startswith(f"error: {message}") and line.count("\n") == 1


def test_a_failed_verdict_has_its_exit_code(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(Exception, match="1 of 2") as caught:
        run({"metrics": GOOD}, {"metrics": BAD})
    with pytest.raises(SystemExit) as exit_:
        report_error(type(caught.value), caught.value, None)
    assert exit_.value.code == 5
    assert "pair 2: the registration failed: the similarity fell; folds" in capsys.readouterr().err


def test_a_bug_keeps_its_traceback(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as caught:
        report_error(KeyError, KeyError("bug"), None)
    assert caught.value.code == 1
    assert "KeyError: 'bug'" in capsys.readouterr().err


def test_table_of_all_registrations_in_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for number, dice in enumerate((0.5, 0.7)):
        folder = tmp_path / f"pair{number}"
        folder.mkdir()
        timings = {"load": {"seconds": 1.0}, "network": {"seconds": 2.5}}
        metrics = {"verdict": "pass", "dice_before": 0.4, "dice": dice, "hd95": None, "threads": 2, "timings": timings}
        (folder / "metrics.json").write_text(json.dumps({**metrics, "fingerprint": settings_digests({})}))
    RegistrationTable(tmp_path, {})()
    table = json.loads((tmp_path / "summary.json").read_text())
    assert [row["pair"] for row in table["pairs"]] == ["pair0", "pair1"]
    assert table["summary"]["dice"] == {"mean": pytest.approx(0.6), "std": pytest.approx(0.1)}
    assert table["summary"]["seconds"]["mean"] == 3.5
    assert set(table["summary"]) == {"dice_before", "dice", "seconds"}
    assert "dice " in capsys.readouterr().out


def test_single_pair_leaves_no_table(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("{}")
    RegistrationTable(tmp_path, {})()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]
