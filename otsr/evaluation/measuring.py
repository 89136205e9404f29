"""Upscale scenes with every network, measure, and collect a table. One broken picture does not stop the others."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor, nn

from otsr.evaluation.protocol import METRICS, Scores, measure
from otsr.evaluation.report import BICUBIC, EvaluationError, Table
from otsr.evaluation.scenes import Scene, View, rounded
from otsr.images import read, resize
from otsr.inference import Upscaler


class NothingMeasured(EvaluationError):
    """Not one picture could be measured; the message has the first reason."""


def evaluate(
    networks: Mapping[str, nn.Module | Upscaler],
    scenes: Sequence[Scene],
    *,
    bicubic: bool = True,
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
        networks: by the name of their row; a module with an attribute `scale`, or an `Upscaler` with options of its
            own. Pictures that the scenes bring along (`Scene.made`) have rows before them.
        bicubic: whether bicubic interpolation is a row; it needs scenes that have an LR picture, as networks do.
        scale: where there is no network; else that of the networks.
        border: HR pixels left out on each side by PSNR and SSIM; None for the scale.
        draws: pairs made of each random scene. Their values are averaged within the scene, so that the interval
            is over scenes, not over draws of one.
        device, precision, tile: see `Upscaler`; fp32 by default, so that numbers do not depend on the machine.
        settings: added to the table's.
        progress: called with (pictures measured, in all).
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
    rows = _rows(upscalers, scenes, scale, bicubic)
    _check(scenes, border, draws)
    measured: dict[str, dict[str, list[Scores]]] = {}
    failures: list[str] = []
    each, total = draws * len(rows), len(scenes) * draws * len(rows)
    for number, scene in enumerate(scenes):

        def report(done: int, before: int = number * each) -> None:
            if progress:
                progress(before + done, total)

        try:
            measured[scene.name] = _measure(scene, rows, scale, border, draws, report)
        except (OSError, ValueError, MemoryError, RuntimeError) as error:
            text = str(error) or type(error).__name__
            failures.append(text if scene.name in text else f"{scene.name}: {text}")
            report(each)
            if on_error:
                on_error(failures[-1])
    if not measured:
        raise NothingMeasured(f"none of {len(scenes)} pictures could be measured; the first: {failures[0]}")
    own = {"scale": scale, "border": border, "draws": draws, **(settings or {})}
    return Table(_values(measured), tuple(measured), tuple(failures), _notes(measured), own)


Row = Callable[[Scene, View], Tensor]
"""Makes the SR picture of a view, as an 8-bit file holds it."""


def _rows(
    upscalers: Mapping[str, Upscaler], scenes: Sequence[Scene], scale: int, bicubic: bool
) -> dict[str, Row]:
    def interpolate(scene: Scene, view: View) -> Tensor:
        return rounded(resize(_lr(view), scale))

    def look_up(name: str, scene: Scene, view: View) -> Tensor:
        return rounded(read(scene.made[name]))

    def upscale(upscaler: Upscaler, scene: Scene, view: View) -> Tensor:
        return read(upscaler.upscale(_lr(view)))

    made = dict.fromkeys(name for scene in scenes for name in scene.made)
    twice = next((name for name in upscalers if name == BICUBIC or name in made), None)
    if twice is not None:
        raise EvaluationError(f"two rows would be called {twice!r}; call one another name")
    rows: dict[str, Row] = {BICUBIC: interpolate} if bicubic else {}
    rows |= {name: partial(look_up, name) for name in made}
    return rows | {name: partial(upscale, upscaler) for name, upscaler in upscalers.items()}


def _lr(view: View) -> Tensor:
    if view.lr is None:
        raise ValueError("there is no LR picture to upscale")
    return view.lr


def _measure(
    scene: Scene, rows: Mapping[str, Row], scale: int, border: int, draws: int, report: Callable[[int], None]
) -> dict[str, list[Scores]]:
    """Scores of each draw, by row."""
    scores: dict[str, list[Scores]] = {row: [] for row in rows}
    for draw in range(draws):
        view = scene.draw(draw)
        for place, (row, upscaled) in enumerate(rows.items(), 1):
            scores[row].append(measure(upscaled(scene, view), view.lr, view.hr, scale, border))
            report(draw * len(rows) + place)
    return scores


def _values(measured: Mapping[str, Mapping[str, Sequence[Scores]]]) -> dict[str, dict[str, np.ndarray]]:
    """By row and metric: (images, draws)."""
    return {
        row: {
            m.key: np.array(
                [[s.values.get(m.key, math.nan) for s in scores[row]] for scores in measured.values()]
            )
            for m in METRICS
        }
        for row in next(iter(measured.values()))
    }


def _notes(measured: Mapping[str, Mapping[str, Sequence[Scores]]]) -> tuple[str, ...]:
    """Which metrics are undefined on how many pictures, and why."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for name, rows in measured.items():
        for row, draws in rows.items():
            for scores in draws:
                for key, reason in scores.undefined.items():
                    reasons[key].append(f"{name}, {row} ({reason})")
    titles = {metric.key: metric.title for metric in METRICS}
    return tuple(
        f"{titles[key]}: undefined for {len(found)} SR pictures, which its numbers leave out; the first: {found[0]}"
        for key, found in reasons.items()
    )


def _common_scale(upscalers: Mapping[str, Upscaler], scale: int | None) -> int:
    scales = {name: upscaler.scale for name, upscaler in upscalers.items()}
    if scale is not None:
        scales["--scale"] = scale
    if len(set(scales.values())) > 1:
        listed = ", ".join(f"{name} ×{value}" for name, value in scales.items())
        raise EvaluationError(f"different scales cannot share a table: {listed}; evaluate them separately")
    return next(iter(scales.values()), 4)


def _check(scenes: Sequence[Scene], border: int, draws: int) -> None:
    names = [scene.name for scene in scenes]
    if not names:
        raise EvaluationError("no pictures to evaluate on; name a folder that holds some")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise EvaluationError(f"two pictures are called {twice!r}; rename one")
    if border < 0 or draws < 1:
        raise EvaluationError(f"border is {border}, draws {draws}; expected 0 or more, and 1 or more")
    if draws > 1 and not any(scene.random for scene in scenes):
        raise EvaluationError(f"draws is {draws}, but nothing is random in these pairs; leave it at 1")
