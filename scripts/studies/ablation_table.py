# SPDX-License-Identifier: Apache-2.0
"""The table of the ablations: spread over seeds and pairs, tests, and a sentence for each variant.

A variant and the network as it is count as told apart in a metric if both tests say so at 5 %, each corrected for the
number of variants: Dunnett's test of the means of the seeds, and Wilcoxon's signed-rank test of the pairs, each pair's
value being its mean over the seeds (Holm's correction).
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from scripts.evaluation.markdown import markdown_table
from scripts.io import write_complete
from scripts.metrics import METRICS
from scripts.report import dot_chart

LEVEL = 0.05
SHOWN = ("dice", "hd95", "ndv_percent", "sdlogj")
JUDGED = ("dice", "ndv_percent")  # what a sentence may be about

Row = dict[str, Any]


class Variant(NamedTuple):
    """A network, or its training, that differs from the network as it is in one part.

    Attributes:
        name: name of its row and its folder.
        overlays: paths of the configs that make it.
        part: the part that this is about, as the sentence's subject.
        adds: whether the variant has the part and the network as it is does not; otherwise it is the other way round.
        paper: whether the part is one of the published method.
        aim: metric that the part is meant to improve, one of `JUDGED`.
    """

    name: str
    overlays: tuple[str, ...]
    part: str
    adds: bool = False
    paper: bool = False
    aim: str = "dice"


class Result(NamedTuple):
    """What is known of a variant.

    Attributes:
        variant: the variant.
        scores: for each finished seed the metrics of each pair, by name of the pair and of the metric.
        costs: result of `Costs.summary`.
        versions: versions of the bundle that the trainings were made by.
    """

    variant: Variant
    scores: Mapping[int, Mapping[str, Mapping[str, float]]]
    costs: Mapping[str, Any]
    versions: Sequence[str]

    def values(self, metric: str) -> NDArray[np.float64]:
        """The values of a metric, `(seeds, pairs)`."""
        return np.array([[pair[metric] for pair in pairs.values()] for pairs in self.scores.values()])


def write_results(folder: Path, results: Sequence[Result], seeds: int, steps: int) -> None:
    """Write `ablations.csv`, `ablations.md` and `ablations.png`; nothing before the first run is finished.

    Args:
        folder: folder of the files.
        results: the variants, first the network as it is.
        seeds: number of seeds of a finished variant.
        steps: number of steps of each training.
    """
    rows = [{**row, "steps": steps} for row in table_rows(results, seeds)]
    if not rows:
        return

    def write(file: TextIO) -> None:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)

    write_complete(folder / "ablations.csv", write)
    write_complete(folder / "ablations.md", lambda file: print(results_text(rows), file=file))
    means = {
        f"{METRICS[metric].heading}, a dot for each seed": {
            result.variant.name: result.values(metric).mean(axis=1).tolist() for result in results if result.scores
        }
        for metric in JUDGED
    }
    ratios = {row["variant"]: [row["cpu_ratio"]] for row in rows if "cpu_ratio" in row}
    dot_chart(folder / "ablations.png", {**means, "CPU time of a pair ÷ as it is": ratios})


def table_rows(results: Sequence[Result], seeds: int) -> list[Row]:
    """A row for each variant of which there is a finished seed.

    Args:
        results: the variants, first the network as it is.
        seeds: number of seeds of a finished variant.

    Returns:
        Rows of `variant`, `seeds`, `pairs`, for each metric `NAME`, its mean, `NAME_sd_seeds` and `NAME_sd_pairs`, the
        sample standard deviations of the seeds' and of the pairs' means; the costs; and where the variant and the
        network as it is are finished `NAME_p_seeds`, `NAME_p_pairs`, `verdict` and `sentence`.
    """
    rows = {result.variant.name: _row(result) for result in results if result.scores}
    complete = [result for result in results if len(result.scores) == seeds]
    if seeds > 1 and len(complete) > 1 and complete[0] is results[0]:
        for metric in SHOWN:
            for result, p_seeds, p_pairs in _tests(complete, metric):
                rows[result.variant.name] |= {f"{metric}_p_seeds": p_seeds, f"{metric}_p_pairs": p_pairs}
        for result in complete[1:]:
            row = rows[result.variant.name]
            row |= _judged(result.variant, row, rows[results[0].variant.name])
    return list(rows.values())


def results_text(rows: Sequence[Row]) -> str:
    """The table and the sentences in Markdown.

    Args:
        rows: rows of `table_rows`, with `steps`.
    """
    costs = ("parameters", "GMAC", "CPU seconds", "÷ as it is", "MB", "÷ as it is")
    header = ["variant", "seeds", *(METRICS[name].heading for name in SHOWN), *costs, "p, seeds", "p, pairs", "verdict"]
    body = [
        [
            row["variant"],
            str(row["seeds"]),
            *(_spread(row, name) for name in SHOWN),
            *_cost_cells(row),
            *(_p(row[name]) if name in row else "–" for name in ("dice_p_seeds", "dice_p_pairs")),
            row.get("verdict", "–"),
        ]
        for row in rows
    ]
    sentences = "".join(f"- `{row['variant']}`: {row['sentence']}\n" for row in rows if "sentence" in row)
    return f"""# Ablations

{rows[0]["steps"]} steps each, from scratch, {rows[0]["pairs"]} validation pairs, version {rows[0]["versions"]}.
Mean ± standard deviation over the seeds (over the pairs); p of Dice, compared with `{rows[0]["variant"]}`. A difference
counts where both tests give less than {LEVEL:g}, corrected for the number of rows: Dunnett's over the seeds, Wilcoxon's
signed ranks over the pairs. Costs are those of one pair of full size, on one CPU thread.

{markdown_table(header, body)}
{sentences}"""


def _row(result: Result) -> Row:
    row: Row = {"variant": result.variant.name, "overlays": " ".join(result.variant.overlays)}
    row |= {"versions": " ".join(result.versions), "seeds": len(result.scores)}
    for name in SHOWN:
        values = result.values(name)
        row["pairs"] = values.shape[1]
        row |= {name: values.mean(), f"{name}_sd_seeds": _sd(values.mean(axis=1))}
        row[f"{name}_sd_pairs"] = _sd(values.mean(axis=0))
    return row | dict(result.costs)


def _sd(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def _tests(complete: Sequence[Result], metric: str) -> list[tuple[Result, float, float]]:
    """For each variant the p of both tests against the first one; 1 where all values are the same or not finite."""
    control, *others = (result.values(metric) for result in complete)
    seeds = [values.mean(axis=1) for values in (control, *others)]
    if all(np.isfinite(means).all() for means in seeds) and any(np.ptp(means) > 0 for means in seeds):
        p_seeds = stats.dunnett(*seeds[1:], control=seeds[0], random_state=0).pvalue
    else:
        p_seeds = np.ones(len(others))
    p_pairs = _holm([_signed_rank(values.mean(axis=0) - control.mean(axis=0)) for values in others])
    return list(zip(complete[1:], map(float, p_seeds), p_pairs, strict=True))


def _signed_rank(differences: NDArray[np.float64]) -> float:
    if not np.isfinite(differences).all() or not differences.any():
        return 1.0
    return float(stats.wilcoxon(differences).pvalue)


def _holm(values: Sequence[float]) -> list[float]:
    """Holm's correction of several p for their number."""
    corrected = np.empty(len(values))
    least = 0.0
    for rank, index in enumerate(np.argsort(values)):
        least = max(least, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = least
    return corrected.tolist()


def _told_apart(row: Row, metric: str) -> bool:
    return max(row[f"{metric}_p_seeds"], row[f"{metric}_p_pairs"]) < LEVEL


def _judged(variant: Variant, row: Row, as_is: Row) -> Row:
    """Verdict and sentence of a finished variant."""
    with_part, without = (row, as_is) if variant.adds else (as_is, row)
    higher = with_part[variant.aim] > without[variant.aim]
    better = higher == (METRICS[variant.aim].better == "higher")
    verdict = "not told apart" if not _told_apart(row, variant.aim) else "worth it" if better else "not worth it"
    named = [name for name in JUDGED if name == variant.aim or _told_apart(row, name)]
    figures = "; ".join(
        f"{METRICS[name].heading} {METRICS[name].text(with_part[name])} with, {METRICS[name].text(without[name])} "
        f"without (p {_p(row[f'{name}_p_seeds'])} over seeds, {_p(row[f'{name}_p_pairs'])} over pairs)"
        for name in sorted(named, key=lambda name: name != variant.aim)
    )
    subject = variant.part[0].upper() + variant.part[1:]
    verb = {"not told apart": "is not told apart from doing without"}.get(verdict, f"is {verdict}")
    sentence = f"{subject} {verb}: {figures}"
    if not variant.adds and "cpu_ratio" in row:
        sentence += f"; it takes {1 / row['cpu_ratio']:.2f} times the CPU time"
    sentence += "."
    if variant.paper and verdict == "not worth it":
        sentence += " This part of the paper's method is not worth its cost."
    elif variant.paper and verdict == "not told apart" and row.get("cpu_ratio", 1) < 1:
        sentence += " This part of the paper's method costs time, and is not shown to be worth it."
    return {"verdict": verdict, "sentence": sentence}


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-4 else "< 0.0001"


def _spread(row: Row, name: str) -> str:
    form = METRICS[name].form
    over_seeds = f" ± {row[f'{name}_sd_seeds']:{form}}" if row["seeds"] > 1 else ""
    return f"{row[name]:{form}}{over_seeds} ({row[f'{name}_sd_pairs']:{form}})"


def _cost_cells(row: Row) -> list[str]:
    if "parameters" not in row:
        return ["–"] * 6
    cpu, memory = (
        [f"{row[name]:{form}}", f"{row[ratio]:.2f}"]
        for name, form, ratio in (
            ("cpu_seconds", ".2f", "cpu_ratio"),
            ("peak_memory_mb", ".0f", "memory_ratio"),
        )
    )
    return [f"{row['parameters']:.0f}", f"{row['macs'] / 1e9:.1f}", *cpu, *memory]
