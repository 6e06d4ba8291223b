"""From what was typed to the call of a function or the bundle runner, and help from docstring and signature."""

import functools
import inspect
import io
import shlex
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from typing import Any, Literal, get_args, get_origin

import fire
from fire.core import FireExit
from fire.decorators import SetParseFn
from fire.docstrings import parse
from fire.parser import DefaultParseValue

from scripts.runtime import child_environment

WIDTH, INDENT = 100, 24
EXIT_MEMORY = 4

FIRES_WORDS = {
    "The function received no value for the required argument: ": "missing --",
    "Could not consume arg: ": "unknown argument ",
}

_NONE = inspect.Parameter.empty


class UsageError(Exception):
    """What was typed is no command; the message is one line."""


def parsed(words: Sequence[str], commands: Mapping[str, Callable[..., None]]) -> Callable[[], None]:
    """The call that was typed. Fire would make it before it finds a word that does not belong there.

    Raises:
        UsageError: for an unknown command or argument, a missing one, or a value that its annotation does not allow.
    """
    name = words[0]
    if name not in commands:
        raise UsageError(f"{name}: no such command; there are {', '.join(commands)}")
    command, calls = commands[name], []

    @SetParseFn(str)  # Fire would make a number of a file called 1003
    @functools.wraps(command)
    def note(*args: str, **kwargs: str) -> None:
        calls.append(inspect.signature(command).bind(*args, **kwargs))

    try:
        with redirect_stderr(io.StringIO()):
            fire.Fire(note, command=list(words[1:]))
    except FireExit as exit_:
        message = exit_.trace.elements[-1].ErrorAsStr()
        for fires, ours in FIRES_WORDS.items():
            message = message.replace(fires, ours)
        raise UsageError(f"{name}: {message}; see python -m scripts {name} --help") from exit_
    arguments = calls[0].arguments
    annotations = inspect.get_annotations(command)
    typed = {key: _value(key, text, annotations[key]) for key, text in arguments.items() if isinstance(text, str)}
    return functools.partial(command, **typed)


def _value(name: str, text: str, kind: Any) -> Any:
    """An argument's text as what its annotation says."""
    choices = _choices(kind)
    if choices and text not in choices:
        raise UsageError(f"--{name} {text}: choose one of {', '.join(choices)}")
    if bool in (kind, *get_args(kind)):
        if text.lower() not in ("true", "false"):
            raise UsageError(f"--{name} {text}: want true or false, or nothing for true")
        return text.lower() == "true"
    if int in (kind, *get_args(kind)):
        if not text.isdecimal():
            raise UsageError(f"--{name} {text}: want a whole number")
        return int(text)
    return text


def _choices(kind: Any) -> tuple[str, ...]:
    literals = [part for part in (kind, *get_args(kind)) if get_origin(part) is Literal]
    return get_args(literals[0]) if literals else ()


def overview(commands: Mapping[str, Callable[..., None]]) -> str:
    """What commands there are."""
    width = max(map(len, commands)) + 2
    lines = [f"  {name:<{width}}{parse(command.__doc__).summary}" for name, command in commands.items()]
    usage = "usage: python -m scripts COMMAND --ARGUMENT VALUE ..."
    return "\n".join([usage, "", *lines, "", "python -m scripts COMMAND --help shows the arguments of a command."])


def help_of(command: Callable[..., None]) -> str:
    """Purpose and arguments of a command, from its docstring and signature."""
    text = parse(command.__doc__)
    parameters = inspect.signature(command).parameters
    needed = [f"--{name} {name.upper()}" for name, parameter in parameters.items() if parameter.default is _NONE]
    lines = [" ".join(["usage: python -m scripts", command.__name__, *needed]), "", text.summary]
    lines += ["", *textwrap.wrap(text.description, WIDTH)] if text.description else []
    indent = " " * INDENT
    for argument in text.args or []:
        default, choices = parameters[argument.name].default, _choices(parameters[argument.name].annotation)
        about = argument.description
        about += f" ({' | '.join(choices)})" if choices else ""
        about += f" (default {default})" if default not in (_NONE, None, False) else ""
        name = f"  --{argument.name}"
        lines += textwrap.wrap(about, WIDTH, initial_indent=f"{name:<{INDENT}}", subsequent_indent=indent)
    return "\n".join(lines)


def quoted(value: Any) -> str:
    """A value as the bundle runner, which reads its arguments with Fire, gets it back: the text 1003 as text."""
    return repr(value) if isinstance(value, str) and not isinstance(DefaultParseValue(value), str) else str(value)


def bundle_run(run_id: str, config_file: str, **overrides: Any) -> None:
    """Show a command as a user would type it, and run it."""
    options = [word for name, value in overrides.items() for word in (f"--{name}", quoted(value))]
    command = ["-m", "monai.bundle", "run", run_id, "--config_file", config_file, *options]
    print(f"\n$ {shlex.join(['python', *command])}", flush=True)
    # MONAI warns at every run that configs are code.
    environment = {**child_environment(), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, *command], env=environment, check=False)
    if done.returncode == -signal.SIGKILL:
        print("error: the run was killed, most likely for want of memory", file=sys.stderr)
        sys.exit(EXIT_MEMORY)
    if done.returncode:
        sys.exit(done.returncode)
