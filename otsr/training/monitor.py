"""What a training shows: numbers that must be finite, the plan as a picture, lines on the screen."""

import sys
import time
from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm

from otsr.evaluation import METRICS
from otsr.machine import duration


class NotFinite(RuntimeError):
    """A loss or a gradient became NaN or infinite; the message names it, the step and the photos."""


class Watch:
    """Keeps the numbers of all steps since the last check, on their device: to read one is to wait for CUDA."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self.unread: list[int] = []  # steps that are not checked yet
        self._rows: list[Tensor] = []
        self._names: tuple[str, ...] = ()

    def record(self, step: int, numbers: Mapping[str, Tensor]) -> None:
        """Keep a step's numbers: scalars by name, the same names in every step."""
        self.unread.append(step)
        self._rows.append(torch.stack([number.detach().float() for number in numbers.values()]))
        self._names = tuple(numbers)

    def check(self) -> tuple[dict[str, float], tuple[int, list[str]] | None]:
        """The last step's numbers, averaged over processes; the first faulty step of any, and what was not finite."""
        rows = self._accelerator.gather(torch.stack(self._rows)[None]).cpu()  # processes × steps × numbers
        steps, self.unread, self._rows = self.unread, [], []
        numbers = dict(zip(self._names, rows[:, -1].mean(0).tolist(), strict=True))
        faulty = (~rows.isfinite()).any(0)
        for step, flags in zip(steps, faulty.tolist(), strict=True):
            if any(flags):
                return numbers, (step, [name for name, flag in zip(self._names, flags, strict=True) if flag])
        return numbers, None


def plan_picture(plan: Tensor) -> Tensor:
    """(1, H, W) of a transport plan (n, m): row j is a real, column i a generated sample, white carries most."""
    grey = (plan / plan.max().clamp(min=1e-30)).float().cpu()
    for axis, side in enumerate(grey.shape):
        grey = grey.repeat_interleave(max(1, 256 // side), axis)
    return grey[None]


class Progress:
    """Writes to stderr, if it is to be `shown`. The bar with the time left appears only on a terminal."""

    def __init__(self, name: str, step: int, steps: int, shown: bool) -> None:
        self.steps, self.shown = steps, shown
        self.pace = 0.0  # seconds a step since the last line, validation left out
        looks: Any = {"unit": "step", "disable": None if shown else True, "dynamic_ncols": True}
        self._bar = tqdm(total=steps, initial=step, desc=name, **looks)
        self.advance, self.close = self._bar.update, self._bar.close
        self._mark, self._since = step, time.perf_counter()

    def numbers(self, step: int, numbers: Mapping[str, float], rate: float) -> None:
        """A line: step, losses, learning rate, seconds a step, time left."""
        now = time.perf_counter()
        if step > self._mark:
            self.pace = (now - self._since) / (step - self._mark)
        self._mark, self._since = step, now
        losses = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        left = duration(self.pace * (self.steps - step))
        self._say(step, f"{losses}  rate {rate:.2g}  {self.pace:.3g} s/step  {left} left")

    def scores(self, step: int, scores: Mapping[str, float], better: bool) -> None:
        """A line: what the validation found."""
        found = [f"{m.heading} {scores[m.key]:.{m.digits}f}" for m in METRICS if m.key in scores]
        self._say(step, "  ".join([*found, "best"] if better else found))
        self._mark, self._since = step, time.perf_counter()  # the validation's time is not a step's

    def _say(self, step: int, line: str) -> None:
        if self.shown:
            self._bar.write(f"step {step:,}/{self.steps:,}  {line}", file=sys.stderr)
