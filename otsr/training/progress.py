"""What a person sees of a training: a bar where somebody watches, and lines that read well in a log too."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

from tqdm import tqdm

from otsr.evaluation.protocol import METRICS


class Progress:
    """Writes to stderr. The bar with the time left appears only on a terminal.

    Args:
        name: of the run.
        step, steps: done, and in all.
        shown: False writes nothing.
    """

    def __init__(self, name: str, step: int, steps: int, shown: bool) -> None:
        self.steps, self.shown = steps, shown
        self._bar = tqdm(
            total=steps,
            initial=step,
            desc=name,
            unit="step",
            disable=None if shown else True,
            dynamic_ncols=True,
        )
        self._mark, self._since = step, time.perf_counter()
        self.pace = 0.0
        """Seconds a step since the last line, validation left out."""

    def advance(self) -> None:
        """One step more."""
        self._bar.update()

    def numbers(self, step: int, numbers: Mapping[str, float], rate: float) -> None:
        """A line: step, losses, learning rate, seconds a step, time left."""
        now = time.perf_counter()
        if step > self._mark:
            self.pace = (now - self._since) / (step - self._mark)
        self._mark, self._since = step, now
        losses = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        left = duration(self.pace * (self.steps - step))
        self._say(f"{self._label(step)}  {losses}  rate {rate:.2g}  {self.pace:.3g} s/step  {left} left")

    def scores(self, step: int, scores: Mapping[str, float], better: bool) -> None:
        """Two lines, a table of one row: what the validation found."""
        columns = [metric for metric in METRICS if metric.key in scores]
        widths = [max(len(metric.heading), 8) for metric in columns]
        margin = " " * len(self._label(step))
        heads = "  ".join(f"{m.heading:>{w}}" for m, w in zip(columns, widths, strict=True))
        row = "  ".join(f"{scores[m.key]:>{w}.{m.digits}f}" for m, w in zip(columns, widths, strict=True))
        self._say(f"{margin}  {heads}")
        self._say(f"{self._label(step)}  {row}{'  best' if better else ''}")

    def pause(self, seconds: float) -> None:
        """Time that was spent on something else than steps."""
        self._since += seconds

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()

    def _label(self, step: int) -> str:
        return f"step {step:>{len(f'{self.steps:,}')},}/{self.steps:,}"

    def _say(self, line: str) -> None:
        if self.shown:
            self._bar.write(line, file=sys.stderr)


def duration(seconds: float) -> str:
    """In words of two parts at most: "48 s", "12 min", "3 h 20 min", "2 d 4 h"."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"
