# SPDX-License-Identifier: Apache-2.0
"""Paths after `python -m monai.bundle run` are taken as they were typed, or refused with what to write instead."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import fire
import monai.bundle
import pytest
from monai.bundle import ConfigParser

from scripts.runtime.errors import InputError, report_error
from scripts.runtime.setup import start
from scripts.runtime.typed import misread_path

MAIN = str(Path(monai.bundle.__file__).with_name("__main__.py"))


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`typed("--output_dir", "20240131")`: as if this process were that command."""
    return lambda *words: monkeypatch.setattr(sys, "argv", [MAIN, "run", "inference", *words])


def received(*words: str) -> object:
    """What the config gets, of the option `output_dir`."""
    options = fire.Fire(lambda **options: [options], command=list(words), serialize=lambda _: "")[0]
    return ConfigParser({"bundle_root": ".", **options}).get_parsed_content("output_dir")


AS_THEY_ARE = [
    "results",
    "ü ö",
    "a@b",
    "50%done",
    "@a b",
    "@a-b",
    "x$y",
    "true",
    "null",
    "2024-01-31",
    "001",
    "/a/1003",
    "a=b",
    "./1e5",
    "½",
]


@pytest.mark.parametrize("path", AS_THEY_ARE)
def test_usual_paths_are_taken(typed: Callable, path: str) -> None:
    typed("--output_dir", path)
    assert misread_path() is None
    assert received("--output_dir", path) == path


MISREAD = [
    *("20240131", "1e5", ".5", "0x10", "1_000", "True", "None", "a,b", "[1]", "{a}", "(a)", "-5"),
    *("a#b", "x/a#b", "/data/sub#1", "a#b'c", "ü#@1", "1 # 2", "@a/b#c"),
]


@pytest.mark.parametrize("path", MISREAD)
def test_what_is_to_be_written_instead_is_the_path_that_was_meant(typed: Callable, path: str) -> None:
    typed(f"--output_dir={path}")
    assert received(f"--output_dir={path}") != path
    message = misread_path()
    assert message and message.startswith(f"--output_dir {path}: ")
    instead = shlex.split(message.partition("; write ")[2])
    assert Path(str(received(*instead))) == Path(path)
    typed(*instead)
    assert misread_path() is None


@pytest.mark.parametrize(
    "words",
    [
        ("--fixed", "20240131"),
        ("--moving=1e5",),
        ("--fixed_landmarks", "a,b"),
        ("--moving_exclude", "a#b"),  # whatever an option about an image is called
        ("--dataset_dir", "1"),
        ("--label_dir", "None"),
        ("--weights", "1003"),
        ("--init", "a#b.mat"),
        ("--pairs", "7"),
        ("--output-dir", "7"),  # for Fire the same
        ("--output_dir",),
        ("--output_dir", "--seed", "1"),
        ("--output_dir", ""),
    ],
    ids=" ".join,
)
def test_every_option_that_is_a_path_is_looked_at(typed: Callable, words: tuple[str, ...]) -> None:
    typed("--config_file", "configs/inference.json", *words)
    with pytest.raises(InputError):
        start()


@pytest.mark.parametrize(
    "words",
    [
        ("--seed", "5"),
        ("--fixed_mask", "None"),
        ("--output_dir", '"1003"'),
        ("--output_dir", '$"a\\x23b"'),
        ("--fixed", "$@bundle_root + '/x'"),
    ],
    ids=" ".join,
)
def test_what_is_meant_as_it_is_read_is_taken(typed: Callable, words: tuple[str, ...]) -> None:
    typed(*words)
    assert misread_path() is None


def test_other_programs_have_options_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["scripts/__main__.py", "register", "--output_dir", "a#b"])
    assert misread_path() is None


@pytest.mark.parametrize("word", ["@", "$", "%", "$5", "$5.0"])
def test_a_sign_before_what_is_no_path_is_named(typed: Callable, word: str) -> None:
    typed("--output_dir", word)
    message = f"--output_dir {word}: MONAI takes {word[0]} for a sign of its own, which fails; write ./ before a path"
    assert misread_path() == message


@pytest.mark.parametrize("word", ["@home", "$x", "$HOME/data", "@a#b", "$x#y", "$a b", "$it's", "$x@y"])
def test_a_sign_that_leads_to_an_error_is_named(typed: Callable, capsys: pytest.CaptureFixture, word: str) -> None:
    typed("--output_dir", word)
    with pytest.raises((RuntimeError, SyntaxError, ValueError)) as failed:
        received("--output_dir", word)
    with pytest.raises(SystemExit) as ended:
        report_error(failed.type, failed.value, None)
    assert ended.value.code == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"error: --output_dir {word}: MONAI takes {word[0]} for a sign of its own, which fails; write ./ before a path"
    )
