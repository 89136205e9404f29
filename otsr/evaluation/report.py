"""The table: means and differences with their intervals, as Markdown for people and as JSON for programs."""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import numpy as np

from otsr.evaluation.protocol import METRICS, Metric
from otsr.metrics import Interval, mean_interval

BICUBIC = "bicubic"
"""Name of the row that a table begins with."""


class EvaluationError(ValueError):
    """An evaluation that makes no sense or gave nothing; the message says what to do."""


@dataclass(frozen=True)
class Table:
    """What was measured.

    Attributes:
        values: by row, then by a metric's key: (images, draws), NaN where a metric is undefined.
        images: names of the pictures, in the order of the values.
        failures: pictures that are not in it, and why.
        notes: what a reader should know of the numbers.
        settings: scale, border, draws and what the caller adds; goes into the JSON.
    """

    values: dict[str, dict[str, np.ndarray]]
    images: tuple[str, ...]
    failures: tuple[str, ...]
    notes: tuple[str, ...]
    settings: dict[str, Any]

    @property
    def rows(self) -> list[str]:
        """Bicubic, then the networks in the order given."""
        return list(self.values)

    @property
    def metrics(self) -> list[Metric]:
        """Those that were measured on at least one picture."""
        return [m for m in METRICS if any(np.isfinite(row[m.key]).any() for row in self.values.values())]

    def per_image(self, row: str, key: str) -> np.ndarray:
        """(images,) mean over the draws of each picture; NaN where a draw is undefined."""
        if row not in self.values:
            raise EvaluationError(f"no row is called {row!r}; there are {', '.join(self.rows)}")
        return self.values[row][key].mean(axis=1)

    def interval(self, row: str, key: str) -> Interval | None:
        """Mean over pictures with its 95 % bootstrap interval; None if nothing was measured."""
        return _interval(self.per_image(row, key))

    def difference(self, row: str, against: str, key: str) -> Interval | None:
        """Mean of row − against, picture by picture, with its interval: what decides between two methods."""
        return _interval(self.per_image(row, key) - self.per_image(against, key))


def markdown(table: Table, against: str | None = None) -> str:
    """The table, with mean and 95 % interval in each cell; below it, if asked for, the differences.

    Args:
        against: row that the others are compared with, picture by picture.

    Raises:
        EvaluationError: no row of that name.
    """
    count = len(table.images)
    what = f"Mean over {count} picture{'s' * (count > 1)}" + (
        ", 95 % bootstrap interval over them" * (count > 1)
    )
    parts = [f"{what}; ↑ more is better, ↓ less is better.", _means(table)]
    if against is not None and table.rows != [against]:
        parts += [
            f"Difference to {against}, picture by picture: mean, 95 % interval; ✓ better, ✗ worse, neither mark: "
            "the interval holds 0, the pictures do not tell.",
            _differences(table, against),
        ]
    if table.notes:
        parts.append("\n".join(f"- {note}" for note in table.notes))
    return "\n\n".join(parts)


def monotony(table: Table, rows: Sequence[str]) -> str:
    """Whether each step along `rows` gives up PSNR-Y for ST-LPIPS, as a perception–distortion path should.

    Args:
        rows: from fidelity to transport.

    Raises:
        EvaluationError: a row is not in the table, or the pictures have no truth.
    """
    breaks = []
    metrics = [metric for metric in table.metrics if metric.key in ("psnr_y", "st_lpips")]
    if len(metrics) < 2:
        return (
            "The path cannot be judged: these pictures have no truth to measure PSNR-Y and ST-LPIPS against."
        )
    for before, after in pairwise(rows):
        for metric in metrics:
            change = table.difference(after, before, metric.key)
            if change is not None and change.mean > 0:
                breaks.append(
                    f"{metric.title} rises from {before} to {after} by {_cell(change, metric, True)}"
                )
    if breaks:
        return f"The path is not monotone: {'; '.join(breaks)}."
    return "The path is monotone: at each step PSNR-Y falls (more distortion) and ST-LPIPS falls (better perception)."


def to_json(table: Table, against: str | None = None) -> dict[str, Any]:
    """Everything: settings, versions, numbers of each picture and draw, means, intervals, differences.

    `values[row][metric][i][d]` is draw d of picture `images[i]`; null where the metric is undefined.
    """
    described: dict[str, Any] = {
        "settings": table.settings,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("otsr", "torch", "numpy", "pillow")},
        },
        "metrics": {
            m.key: {"title": m.title, "better": "higher" if m.higher else "lower"} for m in table.metrics
        },
        "images": list(table.images),
        "failures": list(table.failures),
        "notes": list(table.notes),
        "values": {
            row: {m.key: _plain(table.values[row][m.key]) for m in table.metrics} for row in table.rows
        },
        "means": {
            row: {m.key: _ends(table.interval(row, m.key)) for m in table.metrics} for row in table.rows
        },
    }
    if against is not None:
        described["against"] = against
        described["differences"] = {
            row: {m.key: _ends(table.difference(row, against, m.key)) for m in table.metrics}
            for row in table.rows
            if row != against
        }
    return described


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up in a terminal too; the first is text, the others numbers."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        return (
            "| "
            + " | ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])
            + " |"
        )

    rule = "| " + " | ".join(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]) + " |"
    return "\n".join([line(head), rule, *map(line, rows)])


def _means(table: Table) -> str:
    rows = [[row, *(_cell(table.interval(row, m.key), m) for m in table.metrics)] for row in table.rows]
    return aligned(["", *(m.heading for m in table.metrics)], rows)


def _differences(table: Table, against: str) -> str:
    def cell(row: str, metric: Metric) -> str:
        interval = table.difference(row, against, metric.key)
        return f"{_cell(interval, metric, True)} {_verdict(interval, metric)}"

    rows = [[row, *(cell(row, m) for m in table.metrics)] for row in table.rows if row != against]
    return aligned([f"minus {against}", *(m.heading for m in table.metrics)], rows)


def _verdict(interval: Interval | None, metric: Metric) -> str:
    if interval is None or not (interval.low > 0 or interval.high < 0):
        return " "
    return "✓" if (interval.low > 0) == metric.higher else "✗"


def _cell(interval: Interval | None, metric: Metric, signed: bool = False) -> str:
    if interval is None:
        return "-"
    mean, low, high = (f"{value:{'+' if signed else ''}.{metric.digits}f}" for value in interval)
    return mean if math.isnan(interval.low) else f"{mean} [{low}, {high}]"


def _ends(interval: Interval | None) -> dict[str, float | None] | None:
    if interval is None:
        return None
    return {name: None if math.isnan(value) else value for name, value in interval._asdict().items()}


def _plain(values: np.ndarray) -> list[list[float | None]]:
    return [[float(value) if np.isfinite(value) else None for value in draws] for draws in values]


def _interval(values: np.ndarray) -> Interval | None:
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return None
    if len(known) == 1:
        return Interval(float(known[0]), math.nan, math.nan)
    return mean_interval(known)
