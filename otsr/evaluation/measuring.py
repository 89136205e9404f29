"""Run networks over scenes and measure. One broken picture does not stop the others.

Protocol: SR pictures are rounded to 8 bit, as a person would get them; PSNR and SSIM on MATLAB's luma, `border`
pixels left out on each side (the scale, by default); ST-LPIPS, NIQE and patch-SWD on whole pictures; LR consistency
by MATLAB's bicubic, border / scale LR pixels left out. An LR picture that is blurred and noisy is not what its truth
shrinks to: a network that removes noise scores lower in LR consistency, so read that column beside the others.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from otsr import metrics
from otsr.evaluation.scenes import Pair, Scene, rounded
from otsr.images import read, resize
from otsr.inference import Upscaler
from otsr.metrics import Interval, mean_interval

BICUBIC = "bicubic"
"""Name of the row that every table begins with."""


class EvaluationError(ValueError):
    """An evaluation that makes no sense or gave nothing; the message says what to do."""


class NothingMeasured(EvaluationError):
    """Not one picture could be measured; the message has the first reason."""


@dataclass(frozen=True)
class Metric:
    """A column of the table.

    Attributes:
        key: name in Python and JSON.
        title: name for people.
        higher: whether more is better.
        digits: behind the point.
        measure: of (sr, pair, scale, border); None where the pair lacks what the metric needs.
    """

    key: str
    title: str
    higher: bool
    digits: int
    measure: Callable[[Tensor, Pair, int, int], Tensor | None]

    @property
    def heading(self) -> str:
        """The title with an arrow to the better side."""
        return f"{self.title} {'↑' if self.higher else '↓'}"


def _with_truth(function: Callable[[Tensor, Tensor, int], Tensor]) -> Callable[..., Tensor | None]:
    return lambda sr, pair, scale, border: None if pair.hr is None else function(sr, pair.hr, border)


METRICS = (
    Metric("psnr_y", "PSNR-Y", True, 2, _with_truth(lambda sr, hr, b: metrics.psnr(sr, hr, b, "y"))),
    Metric("ssim_y", "SSIM-Y", True, 4, _with_truth(lambda sr, hr, b: metrics.ssim(sr, hr, b, "y"))),
    Metric("st_lpips", "ST-LPIPS", False, 4, _with_truth(lambda sr, hr, _: metrics.st_lpips(sr, hr))),
    Metric("niqe", "NIQE", False, 3, lambda sr, *_: metrics.niqe(sr)),
    Metric("patch_swd", "patch-SWD", False, 4, _with_truth(lambda sr, hr, _: metrics.patch_swd(sr, hr))),
    Metric(
        "lr_consistency",
        "LR consistency",
        True,
        2,
        lambda sr, pair, scale, border: metrics.lr_consistency(sr, pair.lr, scale, border=border // scale),
    ),
)


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


def evaluate(
    networks: Mapping[str, nn.Module | Upscaler],
    scenes: Sequence[Scene],
    *,
    scale: int | None = None,
    border: int | None = None,
    draws: int = 1,
    device: str = "auto",
    precision: str = "fp32",
    tile: int | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_error: Callable[[str], None] | None = None,
) -> Table:
    """Measure bicubic interpolation and each network on each scene.

    Args:
        networks: by the name of their row; a module with an attribute `scale`, or an `Upscaler` with
            options of its own.
        scenes: see `scenes`.
        scale: of bicubic interpolation where there is no network; else that of the networks.
        border: HR pixels left out on each side by PSNR and SSIM; None for the scale.
        draws: pairs made of each random scene. Their values are averaged within the scene, so that the interval
            is over scenes, not over draws of one.
        device, precision, tile: see `Upscaler`; fp32 by default, so that numbers do not depend on the machine.
        settings: added to the table's.
        progress: called with (pictures upscaled, in all).
        on_error: told of each picture that had to be left out, when it happens.

    Raises:
        EvaluationError: no scenes, scenes of the same name, networks of different scales, or draws of fixed pairs.
        NothingMeasured: no picture could be measured.
    """
    upscalers = {
        name: network
        if isinstance(network, Upscaler)
        else Upscaler(network, device=device, precision=precision, tile=tile)
        for name, network in networks.items()
    }
    scale = _common_scale(upscalers, scale)
    border = scale if border is None else border
    _check(upscalers, scenes, border, draws)
    run = _Run(upscalers, scale, border, draws)
    measured: dict[str, _Scores] = {}
    failures: list[str] = []
    for number, scene in enumerate(scenes):
        before = number * draws * len(run.rows)
        report = _offset(progress, before, len(scenes) * draws * len(run.rows))
        try:
            measured[scene.name] = run.measure(scene, report)
        except (OSError, ValueError, MemoryError, RuntimeError) as error:
            text = str(error) or type(error).__name__
            failures.append(text if scene.name in text else f"{scene.name}: {text}")
            report(draws * len(run.rows))
            if on_error:
                on_error(failures[-1])
    if not measured:
        raise NothingMeasured(f"none of {len(scenes)} pictures could be measured; the first: {failures[0]}")
    values = {
        row: {m.key: np.array([scores.of(row, m.key) for scores in measured.values()]) for m in METRICS}
        for row in run.rows
    }
    own = {"scale": scale, "border": border, "draws": draws, **(settings or {})}
    return Table(values, tuple(measured), tuple(failures), _notes(list(measured.values())), own)


class _Scores:
    """What was measured on one scene: values of each draw, by row and metric, and why some are undefined."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.undefined: list[tuple[Metric, str]] = []

    def of(self, row: str, key: str) -> list[float]:
        return self.values[row, key]

    def add(self, row: str, metric: Metric, value: float, where: str, reason: str) -> None:
        if not math.isfinite(value):
            self.undefined.append((metric, f"{where} ({reason})"))
            value = math.nan
        self.values[row, metric.key].append(value)


@dataclass(frozen=True)
class _Run:
    """The networks and the protocol; measures one scene after the other."""

    upscalers: Mapping[str, Upscaler]
    scale: int
    border: int
    draws: int

    @property
    def rows(self) -> list[str]:
        return [BICUBIC, *self.upscalers]

    def measure(self, scene: Scene, report: Callable[[int], None]) -> _Scores:
        scores = _Scores()
        for number in range(self.draws):
            pair = scene.draw(number)
            for place, row in enumerate(self.rows, 1):
                self._measure(pair, row, scene.name, scores)
                report(number * len(self.rows) + place)
        return scores

    def _measure(self, pair: Pair, row: str, name: str, scores: _Scores) -> None:
        sr = self._upscaled(pair.lr, row)
        for metric in METRICS:
            reason = "infinite"
            try:
                value = metric.measure(sr, pair, self.scale, self.border)
            except ValueError as error:
                if metric.key != "niqe":  # which cannot judge flat and small pictures
                    raise
                value, reason = sr.new_tensor(math.nan), str(error)
            if value is None:
                scores.values[row, metric.key].append(math.nan)
            else:
                scores.add(row, metric, float(value), f"{name}, {row}", reason)

    def _upscaled(self, lr: Tensor, row: str) -> Tensor:
        if row == BICUBIC:
            return rounded(resize(lr, self.scale))
        return read(self.upscalers[row].upscale(lr))


def _offset(progress: Callable[[int, int], None] | None, before: int, total: int) -> Callable[[int], None]:
    return lambda done: progress(before + done, total) if progress else None


def _notes(measured: Sequence[_Scores]) -> tuple[str, ...]:
    reasons: dict[str, list[str]] = defaultdict(list)
    for scores in measured:
        for metric, reason in scores.undefined:
            reasons[metric.title].append(reason)
    return tuple(
        f"{title}: undefined for {len(found)} SR pictures, which its numbers leave out; the first: {found[0]}"
        for title, found in reasons.items()
    )


def _common_scale(upscalers: Mapping[str, Upscaler], scale: int | None) -> int:
    scales = {name: upscaler.scale for name, upscaler in upscalers.items()}
    if scale is not None:
        scales["--scale"] = scale
    if len(set(scales.values())) > 1:
        listed = ", ".join(f"{name} ×{value}" for name, value in scales.items())
        raise EvaluationError(f"different scales cannot share a table: {listed}; evaluate them separately")
    return next(iter(scales.values()), 4)


def _check(upscalers: Mapping[str, Upscaler], scenes: Sequence[Scene], border: int, draws: int) -> None:
    names = [scene.name for scene in scenes]
    if not names:
        raise EvaluationError("no pictures to evaluate on; name a folder that holds some")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise EvaluationError(f"two pictures are called {twice!r}; rename one")
    if BICUBIC in upscalers:
        raise EvaluationError(
            f"a network is called {BICUBIC!r}, as the first row always is; call it another name"
        )
    if border < 0 or draws < 1:
        raise EvaluationError(f"border is {border}, draws {draws}; expected 0 or more, and 1 or more")
    if draws > 1 and not any(scene.random for scene in scenes):
        raise EvaluationError(f"draws is {draws}, but nothing is random in these pairs; leave it at 1")


def _interval(values: np.ndarray) -> Interval | None:
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return None
    if len(known) == 1:
        return Interval(float(known[0]), math.nan, math.nan)
    return mean_interval(known)
