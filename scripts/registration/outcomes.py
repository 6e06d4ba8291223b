# SPDX-License-Identifier: Apache-2.0
"""Many registrations in a row: one that fails does not stop the others, and the end tells how all of them went."""

import sys
import traceback
from collections.abc import Callable
from typing import Any

from ignite.engine import Engine, Events

from scripts.registration.pair import Failure
from scripts.runtime import InputError, QualityError, find_input_error, gathered, wait_for_others


class Attempt:
    """A step of a registration that is passed over where an earlier one has failed.

    What goes wrong becomes a `Failure`, which `Outcomes` tells of at the end.

    Args:
        step: function that takes a job or a pair and returns a pair.
    """

    def __init__(self, step: Callable[[Any], Any]) -> None:
        self.step = step

    def __call__(self, pair: Any) -> Any:
        """The step's result, or a `Failure`."""
        if isinstance(pair, Failure):
            return pair
        try:
            return self.step(pair)
        except Exception as error:
            return Failure(pair.name, find_input_error(error) or error)


class Outcomes:
    """Collect how the pairs of a run went, to say at its end what failed.

    Of several processes each tells what failed of its own pairs, and the last line counts those of all.
    """

    def __init__(self) -> None:
        self.count = 0
        self.errors: dict[str, Exception] = {}
        self.failed: dict[str, str] = {}

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator whose output is a `MeasuredRegistration` or a `Failure`."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)

    def collect(self, engine: Engine) -> None:
        """Note how a pair went."""
        self.count += 1
        pair = engine.state.output
        if isinstance(pair, Failure):
            self.errors[pair.name] = pair.error
        elif pair.metrics["verdict"] == "fail":
            self.failed[pair.name] = "; ".join(pair.metrics["reasons"])

    def raise_errors(self) -> None:
        """End the run if pairs could not be registered.

        Raises:
            Exception: what went wrong with the only pair.
            InputError: if some of several pairs failed; each has had its line on stderr.
        """
        count, errors = sum(gathered([self.count])), gathered(list(self.errors))
        if self.errors and count == 1:
            raise next(iter(self.errors.values()))
        for name, error in self.errors.items():
            if not isinstance(error, InputError):
                traceback.print_exception(error)
            print(f"{name}: {error}", file=sys.stderr)
        wait_for_others()
        if errors:
            raise InputError(f"{len(errors)} of {count} pairs could not be registered; they are listed above")

    def raise_verdicts(self) -> None:
        """End the run if a registration's verdict is "fail".

        Raises:
            QualityError: then; each has had its line on stderr.
        """
        for name, reasons in self.failed.items():
            print(f"{name}: the registration failed: {reasons}", file=sys.stderr)
        count, failed = sum(gathered([self.count])), gathered(list(self.failed))
        if failed:
            raise QualityError(f"{len(failed)} of {count} registrations failed; look at their report.html")
