# SPDX-License-Identifier: Apache-2.0
"""The frame of the command line: what is typed, what is answered, and the exit code."""

import errno
import inspect
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

import scripts.__main__ as command_line
from scripts import evaluation, registration
from scripts.io.field_formats import FIELD_FORMATS
from scripts.io.nifti import save_itk_field
from scripts.release.exports import exports
from scripts.runtime.errors import InputError, QualityError

ROOT = Path(__file__).parents[1]
FILES = ["--transform", "1003", "--input", "1e3,0x1F", "--reference", "[1,2]", "--output", "None"]


def exit_code(*words: object) -> int:
    try:
        return command_line.main([str(word) for word in words])
    except SystemExit as error:
        return error.code


def in_a_process(*words: object, **options: object) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "scripts", *map(str, words)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, **options)


# --- usage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rgister"], "invalid choice: 'rgister'"),
        (["--fixed"], "arguments are required: COMMAND"),
        (["apply"], "arguments are required: --transform, --input, --reference, --output"),
        (["apply", "a", "b", "--output", "c"], "arguments are required: --reference;"),
        (["apply", *FILES, "--color", "red"], "unrecognized arguments: --color;"),
        (["apply", *FILES, "--inter", "linear"], "unrecognized arguments: --inter;"),
        (["apply", *FILES, "--interpolation", "cubic"], "argument --interpolation: invalid choice: 'cubic'"),
        (["apply", *FILES, "--inverse", "maybe"], "argument --inverse: want true or false"),
        (["apply", "--output", "--inverse"], "argument --output: expected one argument"),
        (["convert", "a", "b", "--to", "nifti"], "argument --to: invalid choice: 'nifti'"),
        (["register", "--volume", "first"], "argument --volume: want a whole number, not 'first'"),
        (["register", "--volume", "-1"], "argument --volume: want a whole number, not '-1'"),
        (["bids", "a", "b", "group"], "argument --analysis_level: invalid choice: 'group'"),
        (
            ["bids", "a", "b", "participant", "--participant_label"],
            "argument --participant_label: expected at least one",
        ),
        (["demo", "--fast"], "unrecognized arguments: --fast;"),
        (["study", "everything", "a", "b"], "argument --what: invalid choice: 'everything'"),
        (["study", "deformations", "a", "b", "--jobs", "2"], "argument --jobs: not of the study deformations"),
        (["study", "ablations", "--methods", "syn", "a", "b"], "argument --methods: not of the study ablations"),
        (["study", "ablations", "--output_dir", "b"], "argument --dataset_dir: the study ablations needs it"),
        (["study", "signatures", "--output_dir", "b"], "argument --deformations: the study signatures needs it"),
        (["points", "a", "b", "c", "lps", "d", "true", "true", "extra"], "unrecognized arguments: extra;"),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(words: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    assert exit_code(*words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1
    assert message in printed.err


def test_a_command_with_an_unknown_argument_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "apply", lambda **_: pytest.fail("ran"))
    assert exit_code("apply", *FILES, "--foo", "3") == 2
    assert exit_code("apply", *FILES, "foo", "linear", "true", "true", "too", "many") == 2


@pytest.mark.parametrize("words", [[], ["--help"], ["help"], ["-h"]])
def test_help_has_a_line_for_each_command(words: list[str], capsys: pytest.CaptureFixture) -> None:
    assert exit_code(*words) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in command_line.COMMANDS:
        assert len([line for line in lines if line.split()[:1] == [name] and line.startswith("    ")]) == 1
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("name", command_line.COMMANDS)
def test_help_of_a_command_explains_each_argument(name: str, capsys: pytest.CaptureFixture) -> None:
    assert exit_code(name, "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    parameters = inspect.signature(command_line.COMMANDS[name]).parameters
    entries = re.findall(
        r" --(\w+) (?:TEXT(?: \[TEXT \.{3}\])?|N|\[true\|false\]|\{[\w,]+\}) (\w.+?)(?= --\w+ [TN[{]|$)", text
    )
    assert [argument for argument, _ in entries] == list(parameters)
    for argument, about in entries:
        default = parameters[argument].default
        assert about.endswith(" (required)") == (default is inspect.Parameter.empty)
        assert about.endswith(f" (default: {default})") == (type(default) in (int, str))


def test_help_shows_choices(capsys: pytest.CaptureFixture) -> None:
    assert exit_code("convert", "-h") == 0
    assert capsys.readouterr().out.count("{" + ",".join(FIELD_FORMATS) + "}") == 2


@pytest.mark.parametrize("words", [["--help"], ["register", "--help"], ["convert"]])
def test_help_and_usage_errors_need_nothing_that_takes_long_to_load(words: list[str]) -> None:
    code = f"import sys, scripts.__main__ as m\ntry: m.main({words})\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "monai", "numpy", "nibabel", "scipy"} & set(done.stdout.splitlines()[-1].split())


# --- arguments --------------------------------------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """The arguments of each call of `apply` and `run_bundle`, neither of which does anything."""
    noted: list[dict] = []
    monkeypatch.setattr(registration, "apply", lambda **given: noted.append(given))
    monkeypatch.setattr(command_line, "run_bundle", lambda *_, **given: noted.append(given))
    monkeypatch.chdir(ROOT)
    return noted


def test_text_stays_text(calls: list[dict]) -> None:
    texts = {"transform": "1003", "input": "1e3,0x1F", "reference": "[1,2]", "output": "None"}
    options = {"interpolation": "auto", "inverse": False, "assume_ras": False}
    assert exit_code("apply", *FILES) == 0
    assert exit_code("apply", *FILES[:-2], "--output=-x") == 0
    assert calls == [texts | options, texts | options | {"output": "-x"}]


@pytest.mark.parametrize(
    ("words", "inverse"),
    [
        (["--inverse"], True),
        (["--inverse", "true"], True),
        (["--inverse=False"], False),
        (["--inverse", "false"], False),
    ],
)
def test_a_flag_needs_no_value_but_may_have_one(words: list[str], inverse: bool, calls: list[dict]) -> None:
    assert exit_code("apply", *words, *FILES) == exit_code("apply", *FILES, *words) == 0
    assert [given["inverse"] for given in calls] == [inverse, inverse]


@pytest.mark.parametrize(
    "words",
    [
        ["a", "b", "c", "d", "nearest"],
        ["a", "b", "c", "d", "--interpolation=nearest"],
        ["--interpolation", "nearest", "a", "b", "c", "d"],
        ["a", "--interpolation", "nearest", "b", "--output", "d", "c"],
    ],
)
def test_words_without_a_name_are_the_values_of_the_arguments_that_have_none(
    words: list[str], calls: list[dict]
) -> None:
    assert exit_code("apply", *words) == 0
    assert list(calls[0].values()) == ["a", "b", "c", "d", "nearest", False, False]


@pytest.mark.parametrize(
    ("name", "function"),
    [
        *((name, getattr(registration, name)) for name in ("apply", "points", "convert", "jacobian")),
        ("compare", evaluation.compare),
        ("exports", exports),
    ],
)
def test_commands_have_the_arguments_of_their_functions(name: str, function: Callable) -> None:
    typed, ours = (inspect.signature(owner).parameters for owner in (command_line.COMMANDS[name], function))
    assert [(known.name, known.default) for known in typed.values()] == [
        (known.name, known.default) for known in ours.values()
    ]


def test_register_passes_on_what_is_given_and_nothing_else(calls: list[dict]) -> None:
    words = ["--fixed", "a b.nii", "--moving=1003", "--refine", "03", "--composite", "--assume_ras", "false"]
    assert exit_code("register", *words) == 0
    assert calls == [{"fixed": "a b.nii", "moving": "1003", "refine": 3, "composite": True, "assume_ras": False}]


@pytest.mark.parametrize(
    "words",
    [
        ["a", "b", "participant", "--participant_label", "01", "02", "--to", "1"],
        ["--participant_label", "01", "02", "--to", "1", "a", "b", "participant"],
        ["a", "--participant_label", "01", "02", "--to=1", "b", "participant"],
    ],
)
def test_an_argument_may_have_several_words(words: list[str], calls: list[dict]) -> None:
    assert exit_code("bids", *words) == 0
    given = {"bids_dir": "a", "output_dir": "b", "participant_label": ["01", "02"], "to": "1", "suffix": "T1w"}
    assert calls == [given]


def test_register_has_only_arguments_that_the_config_knows() -> None:
    config = ConfigParser.load_config_file(ROOT / "configs" / "inference.json")
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
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(registration, "jacobian", fail)
    assert exit_code("jacobian", "a", "b") == code
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1 and "Traceback" not in printed


def test_a_bug_shows_its_traceback_and_exits_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(registration, "jacobian", lambda **_: 1 / 0)
    assert exit_code("jacobian", "a", "b") == 1
    assert "ZeroDivisionError" in capsys.readouterr().err


@pytest.fixture
def files(tmp_path: Path) -> Callable[[str], Path]:
    """An image with noise, which does not compress, and a field on its grid."""
    image = np.random.default_rng(0).normal(size=(40, 40, 40)).astype(np.float32)
    nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / "image.nii.gz")
    save_itk_field(tmp_path / "warp.nii.gz", np.ones((40, 40, 40, 3), np.float32), np.eye(4))
    return tmp_path.joinpath


@pytest.mark.slow
def test_missing_file_in_a_process(files: Callable) -> None:
    arguments = ["--transform", files("warp.nii.gz"), "--reference", files("image.nii.gz"), "--output", files("o.nii")]
    done = in_a_process("apply", "--input", files("missing.nii.gz"), *arguments)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1 and "missing.nii.gz: no such file" in done.stderr


@pytest.mark.slow
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
