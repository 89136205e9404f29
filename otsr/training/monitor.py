"""What is seen of a training: numbers that must be finite, curves for TensorBoard, lines on the screen, validation."""

from __future__ import annotations

import csv
import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from otsr import machine
from otsr.evaluation import METRICS, measure, rounded
from otsr.images import atomic_path, read, resize
from otsr.inference import Upscaler
from otsr.training.batches import Validation
from otsr.training.checkpoints import named
from otsr.training.schema import Config

HIGHER_IS_BETTER = {metric.key: metric.higher for metric in METRICS}
_PICTURES = 8  # kept of each validation


class NotFinite(RuntimeError):
    """A loss or a gradient became NaN or infinite; the message names it, the step and the photos."""


class Fault(NamedTuple):
    """The first step that went wrong, and the names of the numbers that were not finite."""

    step: int
    names: tuple[str, ...]


class Watch:
    """Keeps the numbers of the last step, and remembers the first step at which one was not finite.

    On CUDA the host runs ahead of the device, and must wait for it to read a number. So numbers stay on the device,
    which remembers by itself; they are checked when the trainer logs.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._names: tuple[str, ...] = ()
        self._latest = torch.zeros(0)
        self._fault_step = torch.zeros(0)
        self._faulty = torch.zeros(0)

    def record(self, step: int, numbers: Mapping[str, Tensor]) -> None:
        """Keep a step's numbers (scalars by name, the same names in every step), without waiting for them."""
        latest = torch.stack([number.detach().float() for number in numbers.values()])
        faulty = (~torch.isfinite(latest)).float()
        if not self._names:
            self._names = tuple(numbers)
            self._fault_step, self._faulty = latest.new_full((1,), -1.0), torch.zeros_like(latest)
        first = (self._fault_step < 0) & (faulty.amax() > 0)
        self._fault_step = torch.where(first, float(step), self._fault_step)
        self._faulty = torch.where(first, faulty, self._faulty)
        self._latest = latest

    def check(self) -> tuple[dict[str, float], Fault | None]:
        """The last step's numbers, averaged over processes, and the first fault in any. Waits for the device."""
        row = torch.cat([self._fault_step, self._faulty, self._latest])
        rows = (
            self._accelerator.gather(row[None]).cpu()
            if self._accelerator.num_processes > 1
            else row[None].cpu()
        )
        count = len(self._names)
        numbers = dict(zip(self._names, rows[:, 1 + count :].mean(0).tolist(), strict=True))
        faulty = rows[rows[:, 0] >= 0]
        if not len(faulty):
            return numbers, None
        step = faulty[:, 0].min()
        flags = faulty[faulty[:, 0] == step][:, 1 : 1 + count].amax(0).tolist()
        names = tuple(name for name, flag in zip(self._names, flags, strict=True) if flag)
        return numbers, Fault(int(step), names)


class TensorBoardError(RuntimeError):
    """The curves cannot be written; the message says why and what to do."""


class TensorBoard:
    """Writes into `folder`; look with `tensorboard --logdir FOLDER`.

    A thread writes, so an error comes back with a later call.

    Args:
        folder: of the run; events go to its log/.
        first: step that the training goes on from: later points, of a run that was interrupted, disappear.

    Raises:
        TensorBoardError: by every method, when the disk is full or cannot be written.
    """

    def __init__(self, folder: Path, first: int = 0) -> None:
        self._folder = folder / "log"
        with self._named():
            self._writer = SummaryWriter(str(self._folder), purge_step=first or None)

    def scalars(self, group: str, values: dict[str, float], step: int) -> None:
        """One curve each, together under the name of the group."""
        with self._named():
            for name, value in values.items():
                self._writer.add_scalar(f"{group}/{name}", value, step)

    def pictures(self, pictures: dict[str, Tensor], step: int) -> None:
        """Validation pictures (3, H, W) in [0, 1], by name."""
        with self._named():
            for name, picture in pictures.items():
                self._writer.add_image(f"validation/{name}", picture, step)

    def plan(self, plan: Tensor, step: int) -> None:
        """A transport plan (n, m): row j is a real, column i a generated sample, white carries most."""
        grey = (plan / plan.max().clamp(min=1e-30)).float().cpu()
        enlarged = grey.repeat_interleave(max(1, 256 // len(grey)), 0)
        enlarged = enlarged.repeat_interleave(max(1, 256 // grey.shape[1]), 1)
        with self._named():
            self._writer.add_image("transport/plan", enlarged[None], step)

    def close(self) -> None:
        """Write what is buffered, and end."""
        with self._named():
            self._writer.close()

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise TensorBoardError(
                f"{self._folder}: curves cannot be written ({reason}); make room and go on with --resume"
            ) from None


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


def validate(
    generator: nn.Module, pairs: Validation, accelerator: Accelerator, dtype: torch.dtype
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Mean of each metric over the pairs, and some pictures by name, (3, H, 3·W): bicubic, SR, HR side by side.

    Each process measures its part of the pairs; scores are those of all, pictures those that this one made. SR is made
    as `otsr upscale` makes it: in tiles, 8 bits. No random number is drawn, the generator is not touched.
    """
    precision = next(name for name, known in machine.DTYPES.items() if known == dtype)
    upscaler = Upscaler(generator, device=accelerator.device, precision=precision)
    found: list[tuple[int, dict[str, float]]] = []
    pictures: dict[str, Tensor] = {}
    for index in range(accelerator.process_index, len(pairs), accelerator.num_processes):
        pair = pairs[index]
        sr = read(upscaler.upscale(pair.lr))
        found.append((index, measure(sr, pair.lr, pair.hr, upscaler.scale)))
        if len(pictures) < _PICTURES:
            pictures[pair.name] = torch.cat([rounded(resize(pair.lr, upscaler.scale)), sr, pair.hr], -1)
    if accelerator.num_processes > 1:
        found = sorted(gather_object(found), key=lambda entry: entry[0])
    columns = {
        key: [scores[key] for _, scores in found if math.isfinite(scores.get(key, math.nan))]
        for key in HIGHER_IS_BETTER
    }
    return {key: sum(column) / len(column) for key, column in columns.items() if column}, pictures


def decisive_metric(config: Config) -> str:
    """The metric that chooses the best weights: PSNR where only fidelity is trained, otherwise ST-LPIPS."""
    losses = config.losses
    sharp = losses.perceptual.weight or losses.gan.weight or losses.transport.weight
    return "st_lpips" if sharp else "psnr_y"


def is_better(metric: str, value: float, best: float | None) -> bool:
    """Whether a score beats the best so far; anything beats none."""
    return best is None or (value > best if HIGHER_IS_BETTER[metric] else value < best)


def append_scores(path: Path, step: int, scores: dict[str, float]) -> None:
    """Add a line to validation.tsv; lines of this step or later ones, of a training that was interrupted, go."""
    header = ["step", *HIGHER_IS_BETTER]
    rows: list[list[str]] = []
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file, delimiter="\t") if row and row[0].isdigit()]
    rows = [row for row in rows if int(row[0]) < step]
    rows.append([str(step), *(f"{scores[key]:.6g}" if key in scores else "" for key in HIGHER_IS_BETTER)])
    with (
        named(path),
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows([header, *rows])
