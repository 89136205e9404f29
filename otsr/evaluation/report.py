"""The table for people, as Markdown, and for programs, as JSON."""

import math
import platform
from collections.abc import Sequence
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import numpy as np

from otsr.evaluation.measuring import Metric, Table
from otsr.metrics import Interval

_ENOUGH = 6  # of fewer values even the smallest and the largest enclose the middle less often than in 95 %


def markdown(table: Table, against: str) -> str:
    """The table, with mean and 95 % interval in each cell; below it the differences to the row `against`.

    Raises EvaluationError: no row of that name.
    """
    count = len(table.images)
    over = f"{count} pictures, 95 % bootstrap interval over them" if count > 1 else "1 picture"
    parts = [f"Mean over {over}; ↑ more is better, ↓ less is better.", _cells(table)]
    if table.rows != [against]:
        few = f" Fewer than {_ENOUGH} pictures never tell: no marks." if count < _ENOUGH else ""
        parts += [
            f"Difference to {against}, picture by picture: mean, 95 % interval; ✓ better, ✗ worse, neither mark: "
            f"the interval holds 0, the pictures do not tell.{few}",
            _cells(table, against),
        ]
    parts.append("\n".join(f"- {note}" for note in notes(table)))
    return "\n\n".join(filter(None, parts))


def notes(table: Table) -> list[str]:
    """Which metrics are undefined, and how often."""
    found = []
    for m in table.metrics:
        if count := sum(np.isnan(table.per_image(row, m.key)).sum() for row in table.rows):
            why = "too small or too flat" if m.key == "niqe" else "no difference to measure"
            which = f"{count} pictures of all rows ({why})"
            found.append(f"{m.title}: undefined for {which}, which its numbers leave out")
    return found


def monotony(table: Table, rows: Sequence[str]) -> str:
    """Whether each step along `rows`, from fidelity to transport, gives up PSNR-Y for ST-LPIPS, as it should.

    Raises EvaluationError: a row is not in the table.
    """
    metrics = [metric for metric in table.metrics if metric.key in ("psnr_y", "st_lpips")]
    if not metrics:
        missing = "these pictures have no truth to measure PSNR-Y and ST-LPIPS against"
        return f"The path cannot be judged: {missing}."
    breaks = [
        f"{metric.title} rises from {before} to {after} by {_cell(change, metric, True)}"
        for before, after in pairwise(rows)
        for metric in metrics
        if (change := table.difference(after, before, metric.key)).mean > 0
    ]
    if breaks:
        return f"The path is not monotone: {'; '.join(breaks)}."
    return "The path is monotone: at each step PSNR-Y falls (more distortion) and ST-LPIPS falls (better perception)."


def to_json(table: Table, against: str) -> dict[str, Any]:
    """Everything: settings, versions, numbers of each picture and draw, means, intervals, differences to `against`.

    `values[row][metric][i][d]` is draw d of picture `images[i]`; null where the metric is undefined.
    """
    rows, metrics = table.rows, table.metrics
    versions = {name: version(name) for name in ("otsr", "torch", "numpy", "pillow")}
    others = [row for row in rows if row != against]
    return {
        "settings": table.settings,
        "versions": {"python": platform.python_version(), **versions},
        "metrics": {m.key: {"title": m.title, "better": "higher" if m.higher else "lower"} for m in metrics},
        "images": list(table.images),
        "failures": list(table.failures),
        "notes": notes(table),
        "values": {row: {m.key: _plain(table.values[row][m.key]) for m in metrics} for row in rows},
        "means": {row: {m.key: _ends(table.interval(row, m.key)) for m in metrics} for row in rows},
        "against": against,
        "differences": {row: {m.key: _ends(table.difference(row, against, m.key)) for m in metrics} for row in others},
    }


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up in a terminal too; the first is text, the others numbers."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = []
    for first, *others in (head, rule, *rows):
        cells = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        lines.append(f"| {' | '.join([first.ljust(widths[0]), *cells])} |")
    return "\n".join(lines)


def _cells(table: Table, against: str | None = None) -> str:
    """Means, or differences to a row."""

    def cell(row: str, metric: Metric) -> str:
        if against is None:
            return _cell(table.interval(row, metric.key), metric)
        change, mark = table.difference(row, against, metric.key), " "
        if len(table.images) >= _ENOUGH and (change.low > 0 or change.high < 0):
            mark = "✓" if (change.low > 0) == metric.higher else "✗"
        return f"{_cell(change, metric, True)} {mark}"

    head = [f"minus {against}" if against else "", *(metric.heading for metric in table.metrics)]
    rows = [row for row in table.rows if row != against]
    return aligned(head, [[row, *(cell(row, metric) for metric in table.metrics)] for row in rows])


def _cell(interval: Interval, metric: Metric, signed: bool = False) -> str:
    if math.isnan(interval.mean):
        return "-"
    mean, low, high = (f"{value:{'+' if signed else ''}.{metric.digits}f}" for value in interval)
    return mean if math.isnan(interval.low) else f"{mean} [{low}, {high}]"


def _ends(interval: Interval) -> dict[str, float | None]:
    return dict(zip(Interval._fields, _plain(np.array(interval)), strict=True))


def _plain(values: np.ndarray) -> list:
    """For JSON, which knows null and no NaN."""
    plain = values.astype(object)
    plain[np.isnan(values)] = None
    return plain.tolist()
