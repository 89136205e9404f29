"""What is measured on a picture, and how: one protocol for `otsr evaluate` and for the validation of a training.

SR pictures come rounded to 8 bits, as a person would get them. PSNR and SSIM are taken on MATLAB's luma, without
`scale` pixels on each side; ST-LPIPS, NIQE and patch-SWD on whole pictures; LR consistency by MATLAB's bicubic,
without one LR pixel. A blurred and noisy LR picture is not what its truth shrinks to, so a network that removes noise
scores lower in LR consistency: read that column beside the others.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from otsr import metrics
from otsr.evaluation.scenes import EvaluationError, Scene, View, rounded
from otsr.images import read, resize
from otsr.inference import Upscaler
from otsr.metrics import Interval, mean_interval

BICUBIC = "bicubic"  # the row that a table begins with


class NothingMeasured(EvaluationError):
    """Not one picture could be measured."""


@dataclass(frozen=True)
class Metric:
    """A column of the table."""

    key: str  # name in Python and JSON
    title: str  # name for people
    higher: bool  # more is better
    digits: int  # behind the point
    against: Literal["truth", "input", "nothing"]  # what SR is compared with
    value: Callable[[Tensor, Tensor, int], Tensor]  # of (sr, what it is compared with, scale)

    @property
    def heading(self) -> str:
        """The title with an arrow to the better side."""
        return f"{self.title} {'↑' if self.higher else '↓'}"


def _niqe(sr: Tensor) -> Tensor:
    try:
        return metrics.niqe(sr)
    except ValueError:  # too small or too flat to judge
        return torch.tensor(math.nan)


METRICS = (
    Metric("psnr_y", "PSNR-Y", True, 2, "truth", lambda sr, hr, scale: metrics.psnr(sr, hr, scale, "y")),
    Metric("ssim_y", "SSIM-Y", True, 4, "truth", lambda sr, hr, scale: metrics.ssim(sr, hr, scale, "y")),
    Metric("st_lpips", "ST-LPIPS", False, 4, "truth", lambda sr, hr, _: metrics.st_lpips(sr, hr)),
    Metric("niqe", "NIQE", False, 3, "nothing", lambda sr, *_: _niqe(sr)),
    Metric("patch_swd", "patch-SWD", False, 4, "truth", lambda sr, hr, _: metrics.patch_swd(sr, hr)),
    Metric(
        "lr_consistency", "LR consistency", True, 2, "input",
        lambda sr, lr, scale: metrics.lr_consistency(sr, lr, scale, border=1),
    ),
)  # fmt: skip


def measure(sr: Tensor, lr: Tensor | None, hr: Tensor | None, scale: int) -> dict[str, float]:
    """Every metric that has what it needs, by its key; NaN where undefined (PSNR of equal pictures, NIQE of flat).

    Args:
        sr: (3, H, W) in [0, 1], rounded to 8 bits.
        lr: (3, H/scale, W/scale), what SR was made from, if known.
        hr: (3, H, W), the truth, if known.
    """
    others = {"truth": hr, "input": lr, "nothing": sr}
    scores = {}
    for metric in METRICS:
        if (other := others[metric.against]) is not None:
            score = float(metric.value(sr, other, scale))
            scores[metric.key] = score if math.isfinite(score) else math.nan
    return scores


@dataclass(frozen=True)
class Table:
    """What was measured."""

    values: dict[str, dict[str, np.ndarray]]  # by row and metric: (images, draws), NaN where undefined
    images: tuple[str, ...]  # names, in the order of the values
    failures: tuple[str, ...]  # pictures that are not in it, and why
    settings: dict[str, Any]  # scale, border, draws, and what a caller adds, for the JSON

    @property
    def rows(self) -> list[str]:
        """Bicubic, what other programs made, then the networks in the order given."""
        return list(self.values)

    @property
    def metrics(self) -> list[Metric]:
        """Those that had what they need."""
        return [metric for metric in METRICS if metric.key in next(iter(self.values.values()))]

    def per_image(self, row: str, key: str) -> np.ndarray:
        """(images,) mean over the draws of each picture; NaN where a draw is undefined."""
        if row not in self.values:
            raise EvaluationError(f"no row is called {row!r}; there are {', '.join(self.rows)}")
        return self.values[row][key].mean(axis=1)

    def interval(self, row: str, key: str) -> Interval:
        """Mean over pictures with its 95 % bootstrap interval; NaN is what cannot be known."""
        return _interval(self.per_image(row, key))

    def difference(self, row: str, against: str, key: str) -> Interval:
        """Mean of row − against, picture by picture, with its interval: what decides between two methods."""
        return _interval(self.per_image(row, key) - self.per_image(against, key))


def _interval(values: np.ndarray) -> Interval:
    known = values[np.isfinite(values)]
    if len(known) > 1:
        return mean_interval(known)
    return Interval(float(known[0]) if len(known) else math.nan, math.nan, math.nan)


def evaluate(
    networks: Mapping[str, Upscaler], scenes: Sequence[Scene], *, scale: int = 4, draws: int = 1,
    on_error: Callable[[str], None] = lambda _: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Table:  # fmt: skip
    """Measure bicubic interpolation, pictures that other programs made (`Scene.made`), and networks on each scene.

    Args:
        networks: by the name of their row, in fp32 if numbers shall not depend on the machine.
        draws: views of each scene. Their values are averaged within the scene: the interval is over scenes.
        on_error: told of each picture that had to be left out, when it happens.
        progress: told how many scenes are done, and how many there are.

    Raises EvaluationError: no scenes, scenes or rows of the same name, or networks of another scale.
    NothingMeasured: no picture could be measured.
    """
    _check(networks, scenes, scale)
    found: dict[str, dict[str, list[dict[str, float]]]] = {}  # by scene and row, the scores of each draw
    failures = []
    for done, scene in enumerate(scenes, 1):
        rows: dict[str, list[dict[str, float]]] = {}
        try:
            for number in range(draws):
                view = scene.draw(number)
                for row, sr in _pictures(scene, view, networks, scale):
                    rows.setdefault(row, []).append(measure(sr, view.lr, view.hr, scale))
        except (OSError, ValueError, MemoryError, RuntimeError) as error:
            text = str(error) or type(error).__name__
            failures.append(text if scene.name in text else f"{scene.name}: {text}")
            on_error(failures[-1])
        else:
            found[scene.name] = rows
        progress(done, len(scenes))
    if not found:
        raise NothingMeasured(f"none of {len(scenes)} pictures could be measured; the first: {failures[0]}")
    first = next(iter(found.values()))
    values = {
        row: {key: np.array([[draw[key] for draw in rows[row]] for rows in found.values()]) for key in scores[0]}
        for row, scores in first.items()
    }
    settings = {"scale": scale, "border": scale, "draws": draws}
    return Table(values, tuple(found), tuple(failures), settings)


def _pictures(scene: Scene, view: View, networks: Mapping[str, Upscaler], scale: int) -> Iterator[tuple[str, Tensor]]:
    """The SR picture of each row, as an 8-bit file holds it."""
    if view.lr is not None:
        yield BICUBIC, rounded(resize(view.lr, scale))
    for row, path in scene.made.items():
        yield row, rounded(read(path))
    for row, network in networks.items():
        if view.lr is None:
            raise ValueError("there is no LR picture to upscale")
        yield row, read(network.upscale(view.lr))


def _check(networks: Mapping[str, Upscaler], scenes: Sequence[Scene], scale: int) -> None:
    names = [scene.name for scene in scenes]
    rows = [BICUBIC, *{row for scene in scenes for row in scene.made}, *networks]
    if not names:
        raise EvaluationError("no pictures to evaluate on; name a folder that holds some")
    for what, kind in ((names, "pictures"), (rows, "rows")):
        if twice := [name for name in what if what.count(name) > 1]:
            raise EvaluationError(f"two {kind} would be called {twice[0]!r}; rename one")
    for name, network in networks.items():
        if network.scale != scale:
            raise EvaluationError(f"{name} enlarges by {network.scale}, not by {scale}; measure it apart")
