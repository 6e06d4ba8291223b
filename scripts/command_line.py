# SPDX-License-Identifier: Apache-2.0
"""The command line by argparse: arguments from a function's signature, help from its docstring."""

import argparse
import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin

from scripts.conventions import TRAIN

PROGRAM = "python -m scripts"


class UsageError(Exception):
    """What was typed is no command; the message is one line."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def parsed(words: Sequence[str], commands: Mapping[str, Callable[..., None]]) -> Callable[[], None]:
    """The call that was typed; `--help` is printed, and ends the process with the exit code 0.

    Arguments have names: `--name value` or `--name=value`. A word without a name is the value of the first argument
    that has none.

    Args:
        words: as typed, without `python -m scripts`.
        commands: functions by name, with a Google-style docstring; their parameters are annotated with str, int, bool,
            list[str] or a Literal of texts, or one of these `| None`.

    Raises:
        UsageError: for an unknown command or argument, a missing one, or a value that its annotation does not allow.
    """
    parser = _Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} COMMAND --ARGUMENT VALUE ...",
        epilog=f"{PROGRAM} COMMAND --help shows the arguments of a command.",
        allow_abbrev=False,
    )
    choice = parser.add_subparsers(prog=PROGRAM, title="commands", metavar="COMMAND", dest="command", required=True)
    parsers = {name: _add_command(choice, name, command) for name, command in commands.items()}

    options, others = parser.parse_known_args(words)
    given = vars(options)
    name = given.pop("command")
    unknown = [word for word in others if word.startswith("-")]
    if not unknown:
        free = [parameter for parameter in inspect.signature(commands[name]).parameters if parameter not in given]
        named = [f"--{parameter}={value}" for parameter, value in zip(free, others, strict=False)]
        _, unknown = parsers[name].parse_known_args([*named, *others[len(free) :]], options)
    if unknown:
        parsers[name].error(f"unrecognized arguments: {' '.join(unknown)}")
    missing = [f"--{parameter}" for parameter in _needed(commands[name]) if parameter not in given]
    if missing:
        parsers[name].error(f"the following arguments are required: {', '.join(missing)}")
    return functools.partial(commands[name], **given)


def check_place() -> None:
    """Refuse to run outside the bundle's root, where the configs are.

    Raises:
        UsageError: if the current folder has no configs.
    """
    if not Path(TRAIN).is_file():
        raise UsageError(f"{TRAIN}: no such file; run this from the bundle's root")


def _add_command(choice: Any, name: str, command: Callable[..., None]) -> _Parser:
    """Add the parser of a command to those that there are to choose from."""
    text, _, section = (inspect.getdoc(command) or "").partition("\nArgs:\n")
    about = dict(re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE))
    parameters, needed = inspect.signature(command).parameters, _needed(command)
    others = ["[--ARGUMENT VALUE ...]"] if len(needed) < len(parameters) else []
    parser = choice.add_parser(
        name,
        usage=" ".join([PROGRAM, name, *(f"--{parameter} {parameter.upper()}" for parameter in needed), *others]),
        help=text.partition("\n")[0],
        description=text,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,  # what is not given is left to the function
    )
    for parameter in parameters.values():
        explained = " ".join(about[parameter.name].split()).removesuffix(".").replace("%", "%%")  # argparse formats it
        if parameter.name in needed:
            explained += " (required)"
        elif parameter.default is not None and parameter.default is not False:
            explained += f" (default: {parameter.default})"
        parser.add_argument(f"--{parameter.name}", help=explained, **_options_of(parameter.annotation))
    return parser


def _needed(command: Callable[..., None]) -> list[str]:
    parameters = inspect.signature(command).parameters.values()
    return [parameter.name for parameter in parameters if parameter.default is parameter.empty]


def _options_of(annotation: Any) -> dict[str, Any]:
    """What argparse wants to know about an argument with this annotation."""
    if type(None) in get_args(annotation):
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is Literal:
        return {"choices": get_args(annotation)}
    if get_origin(annotation) is list:
        return {"nargs": "+", "metavar": "TEXT"}
    if annotation is bool:
        return {"type": _flag, "nargs": "?", "const": True, "metavar": "true|false"}
    return {"type": _whole_number, "metavar": "N"} if annotation is int else {"metavar": "TEXT"}


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"want true or false, or nothing for true, not {text!r}")
    return text.lower() == "true"


def _whole_number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"want a whole number, not {text!r}")
    return int(text)
