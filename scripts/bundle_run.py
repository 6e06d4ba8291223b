# SPDX-License-Identifier: Apache-2.0
"""A run of the bundle in this process, with values as they are; shown as a user would type it."""

import json
import os
import re
import shlex
import warnings
from typing import Any

from scripts.environment import short_waiting


def run_bundle(run_id: str, config_file: str | list[str], **overrides: Any) -> None:
    """Show a run of the bundle as a user would type it, and run it in this process.

    Args:
        run_id: the config's expression to run.
        config_file: the config, or several to merge.
        overrides: values of the config's items; text stays text.

    Raises:
        Exception: what the run raises; MONAI wraps some in RuntimeError.
    """
    values = {name: _literal(value) for name, value in overrides.items()}
    options = [word for name, value in values.items() for word in (f"--{name}", _typed(value))]
    command = ["python", "-m", "monai.bundle", "run", run_id, "--config_file", str(config_file), *options]
    print(f"\n$ {shlex.join(command)}", flush=True)
    os.environ.update(short_waiting())  # before torch is loaded
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI warns at every run that configs are code
        from monai.bundle import run

        run(run_id, config_file=config_file, **values)


def _literal(value: Any) -> Any:
    """The value in a config: a text is a Python expression where MONAI would read one of its own signs in it."""
    if isinstance(value, list):
        return [_literal(entry) for entry in value]
    if isinstance(value, str) and ("#" in value or value.startswith(("$", "@", "%"))):
        return "$" + ascii(value).replace("#", r"\x23").replace("@", r"\x40")
    return value


def _typed(value: Any) -> str:
    """A value for the command line of `monai.bundle`, which without quotes takes 1003 as a number, a,b as a list."""
    plain = r"(?!(?:True|False|None)$)(?:\$['\"].*|(?:[A-Za-z_/]|\.+/)[\w./-]*)"
    if not isinstance(value, str) or re.fullmatch(plain, value, re.ASCII):
        return str(value)
    return json.dumps(value, ensure_ascii=False)
