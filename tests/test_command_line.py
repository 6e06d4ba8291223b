"""The frame of the command line: what is typed, what is answered, and the exit code."""

import errno
import inspect
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import nibabel as nib
import numpy as np
import pytest
import torch
from fire.parser import DefaultParseValue

import scripts.__main__ as command_line
from scripts.io.field_formats import FIELD_FORMATS
from scripts.io.nifti import save_itk_field
from scripts.registration import reuse
from scripts.runtime.errors import InputError, QualityError

ROOT = Path(__file__).parents[1]
FILES = ["--transform", "1003", "--input", "1e3,0x1F", "--reference", "[1,2]", "--output", "None"]


def exit_code(*words: object) -> int:
    try:
        return command_line.main([str(word) for word in words])
    except SystemExit as error:
        return error.code


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list:
    """Commands of the bundle runner that `register` would run; they end with the code 0."""
    commands: list = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.chdir(ROOT)
    return commands


def in_a_process(*words: object, **options: object) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "scripts", *map(str, words)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, **options)


# --- usage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rgister"], "rgister: no such command; there are register, apply"),
        (["apply"], "missing --transform"),
        (["apply", *FILES, "--colour", "red"], "unknown argument --colour"),
        (["apply", *FILES, "--interpolation", "cubic"], "choose one of auto, linear, nearest"),
        (["apply", *FILES, "--inverse", "maybe"], "want true or false"),
        (["convert", "a", "b", "--to", "nifti"], "choose one of itk, dispvect"),
        (["register", "--volume", "first"], "--volume first: want a whole number"),
        (["demo", "--fast"], "unknown argument --fast"),
        (["points", "a", "b", "c", "lps", "d", "true", "extra"], "unknown argument extra"),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(words: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    assert exit_code(*words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1
    assert message in printed.err


def test_a_command_with_an_unknown_argument_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reuse, "apply", lambda *_: pytest.fail("ran"))
    assert exit_code("apply", *FILES, "--foo", "3") == 2
    assert exit_code("apply", *FILES, "foo", "linear", "true", "true", "too", "many") == 2


@pytest.mark.parametrize("words", [[], ["--help"], ["help"], ["-h"]])
def test_help_has_a_line_for_each_command(words: list[str], capsys: pytest.CaptureFixture) -> None:
    assert exit_code(*words) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in command_line.COMMANDS:
        assert len([line for line in lines if line.startswith(f"  {name} ")]) == 1
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("name", command_line.COMMANDS)
def test_help_of_a_command_explains_each_argument(name: str, capsys: pytest.CaptureFixture) -> None:
    assert exit_code(name, "--help") == 0
    lines = capsys.readouterr().out.splitlines()
    for argument in inspect.signature(command_line.COMMANDS[name]).parameters:
        (line,) = (line for line in lines if line.startswith(f"  --{argument} "))
        assert len(line.split()) > 2, f"{argument} has no description"


def test_help_needs_nothing_that_takes_long_to_load() -> None:
    code = "import sys, scripts.__main__ as m; m.main(['--help']); m.main(['apply', '--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "monai", "numpy", "nibabel", "scipy"} & set(done.stdout.splitlines()[-1].split())


# --- arguments --------------------------------------------------------------------------------------------------------


def test_names_that_look_like_numbers_arrive_as_they_were_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list = []
    monkeypatch.setattr(reuse, "apply", lambda *arguments: calls.append(arguments))
    assert exit_code("apply", *FILES) == 0
    assert exit_code("apply", *FILES, "--inverse", "--interpolation=nearest") == 0
    assert calls[0] == ("1003", "1e3,0x1F", "[1,2]", "None", "auto", False, False)
    assert calls[1] == ("1003", "1e3,0x1F", "[1,2]", "None", "nearest", True, False)


@pytest.mark.parametrize("name", ["apply", "points", "convert", "jacobian"])
def test_commands_have_the_arguments_of_their_functions(name: str) -> None:
    typed, function = (inspect.signature(owner) for owner in (command_line.COMMANDS[name], getattr(reuse, name)))
    defaults = [{name: known.default for name, known in each.parameters.items()} for each in (typed, function)]
    assert list(defaults[0].items()) == list(defaults[1].items())


def test_convert_offers_all_formats() -> None:
    assert get_args(command_line.FieldFormat) == FIELD_FORMATS


def test_register_passes_on_what_is_given_and_nothing_else(noted: list) -> None:
    assert exit_code("register", "--fixed", "a b.nii", "--moving", "1003", "--output_dir", "out", "--composite") == 0
    (command,) = noted
    assert command[1:7] == ["-m", "monai.bundle", "run", "inference", "--config_file", "configs/inference.json"]
    options = dict(zip(command[7::2], command[8::2], strict=True))
    # As the runner, which is Fire's too, understands them.
    assert {name: DefaultParseValue(value) for name, value in options.items()} == {
        "--fixed": "a b.nii",
        "--moving": "1003",
        "--output_dir": "out",
        "--composite": True,
    }


@pytest.mark.parametrize(
    "value", ["1003", "1e3", "None", "True", "[a,b]", "{a}", "a b", "it's", '"', "plain.nii", "a,b"]
)
def test_text_reaches_the_bundle_runner_as_text(noted: list, value: str) -> None:
    command_line.register(fixed=value, seed=3, assume_ras=False)
    options = dict(zip(noted[0][7::2], noted[0][8::2], strict=True))
    received = {name: DefaultParseValue(text) for name, text in options.items()}
    assert received == {"--fixed": value, "--seed": 3, "--assume_ras": False}


def test_register_has_only_arguments_that_the_config_knows() -> None:
    config = json.loads((ROOT / "configs" / "inference.json").read_text())
    assert set(inspect.signature(command_line.register).parameters) <= set(config)


@pytest.mark.parametrize("words", [["register", "--fixed", "a", "--moving", "b"], ["demo"]])
def test_bundle_commands_elsewhere_touch_nothing(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    assert exit_code(*words) == 2
    assert [file.name for file in tmp_path.iterdir()] == ["demo"]


# --- exit codes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError("a.nii: is bad; mend it"), 3, "a.nii: is bad; mend it"),
        (OSError(errno.ENOSPC, "No space left on device"), 3, "No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "a.nii"), 3, "a.nii"),
        (MemoryError(), 4, "memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."), 4, "memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), 4, "memory"),
        (QualityError("1 of 2 failed"), 5, "1 of 2 failed"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_errors_are_one_line_and_an_exit_code_of_their_own(
    error: BaseException, code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(reuse, "jacobian", fail)
    assert exit_code("jacobian", "a", "b") == code
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1 and "Traceback" not in printed


def test_a_bug_shows_its_traceback_and_exits_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(reuse, "jacobian", lambda *_: 1 / 0)
    assert exit_code("jacobian", "a", "b") == 1
    assert "ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize(("returned", "code"), [(3, 3), (5, 5), (-9, 4)])
def test_register_ends_as_the_run_does(returned: int, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, returned))
    assert exit_code("register", "--fixed", "a", "--moving", "b") == code


@pytest.fixture
def files(tmp_path: Path) -> Callable[[str], Path]:
    """An image with noise, which does not compress, and a field on its grid."""
    image = np.random.default_rng(0).normal(size=(40, 40, 40)).astype(np.float32)
    nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / "image.nii.gz")
    save_itk_field(tmp_path / "warp.nii.gz", np.ones((40, 40, 40, 3), np.float32), np.eye(4))
    return tmp_path.joinpath


def test_missing_file_in_a_process(files: Callable) -> None:
    arguments = ["--transform", files("warp.nii.gz"), "--reference", files("image.nii.gz"), "--output", files("o.nii")]
    done = in_a_process("apply", "--input", files("missing.nii.gz"), *arguments)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1 and "missing.nii.gz: no such file" in done.stderr


def test_full_disk_leaves_the_old_file_or_none(files: Callable) -> None:
    # The process may write no file beyond the limit, and the image is larger.
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))}
    files("o.nii.gz").write_bytes(b"earlier")
    transform, image = ["--transform", files("warp.nii.gz")], files("image.nii.gz")
    done = in_a_process(
        "apply", *transform, "--input", image, "--reference", image, "--output", files("o.nii.gz"), **limit
    )
    assert (done.returncode, done.stderr.count("\n")) == (3, 1), done.stderr
    assert "o.nii.gz: cannot be written" in done.stderr
    assert {file.name for file in files().iterdir()} == {"image.nii.gz", "warp.nii.gz", "o.nii.gz"}
    assert files("o.nii.gz").read_bytes() == b"earlier"
