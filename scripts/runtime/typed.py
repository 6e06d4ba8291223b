# SPDX-License-Identifier: Apache-2.0
"""What was typed after `python -m monai.bundle run`.

MONAI hands an option on after Fire has read it as Python, and after its own signs are replaced: of `a#b` is left `a`,
and of `None` nothing. Only the command line tells what was meant.
"""

import re
import shlex
import sys
from ast import literal_eval
from collections.abc import Iterator
from pathlib import Path

_SIGNS = ("$", "@", "%")  # how expressions, references and macros of MONAI begin
_REFERENCE = re.compile(r"@\w+(?:(?:#|::)\w+)*")
_PATHS = ("bundle_root", "init", "pairs", "weights")  # besides `fixed_…`, `moving_…` and `…_dir`


def is_bundle_command() -> bool:
    """Whether this process is `python -m monai.bundle`."""
    return Path(sys.argv[0]).parts[-3:] == ("monai", "bundle", "__main__.py")


def misread_path() -> str | None:
    """A message about the first option whose value is a path and is not read as it was typed; None if there is none."""
    for name, word in _options():
        if not (name in _PATHS or name.startswith(("fixed", "moving")) or name.endswith("_dir")):
            continue
        if word is None or word == "":
            return f"--{name}: no path after it; give one"
        if word in _SIGNS or (word[0] == "$" and not isinstance(_literal(word[1:]), str)):
            return _failing(name, word)
        if word.startswith(("$", "%")) or _REFERENCE.fullmatch(word) or _is_text(word):
            continue
        if "#" in word:
            value = "$" + ascii(word).replace("#", r"\x23").replace("@", r"\x40")
            return f"--{name} {word}: MONAI takes # for a sign of its own; write --{name} {shlex.quote(value)}"
        read = _read_by_fire(word)
        if read != word and (read is not None or name.endswith("_dir")):  # None otherwise means: not given
            return f"--{name} {word}: read as {type(read).__name__} {read!r}; write --{name} {shlex.quote('./' + word)}"
    return None


def misread_sign(messages: str) -> str | None:
    """A message about an option that begins with a sign of MONAI's and has led to an error; None if none has.

    Args:
        messages: what the errors say.
    """
    for name, word in _options():
        if word and word.startswith(_SIGNS):
            read = word.replace("#", "::")
            if any(part in messages for part in (word, read, *_REFERENCE.findall(read))):
                return _failing(name, word)
    return None


def _failing(name: str, word: str) -> str:
    return f"--{name} {word}: MONAI takes {word[0]} for a sign of its own, which fails; write ./ before a path"


def _options() -> Iterator[tuple[str, str | None]]:
    """Name and value of each option; None for a value where none was typed."""
    words = sys.argv[1:] if is_bundle_command() else []
    for position, word in enumerate(words):
        if not word.startswith("--"):
            continue
        name, is_set, value = word.removeprefix("--").partition("=")
        following = words[position + 1] if position + 1 < len(words) else "--"
        given = value if is_set else None if following.startswith("-") else following
        yield name.replace("-", "_"), given


def _read_by_fire(word: str) -> object:
    from fire.parser import DefaultParseValue  # needed by the command alone

    return DefaultParseValue(word)


def _is_text(word: str) -> bool:
    """Whether a word is a text of Python in quotes, such as '"1003"': whoever types it knows what Fire does."""
    return word[0] in "'\"" and isinstance(_literal(word), str)


def _literal(word: str) -> object:
    """The value of a literal of Python; the word itself if it is none."""
    try:
        return literal_eval(word)
    except (SyntaxError, ValueError):
        return word
