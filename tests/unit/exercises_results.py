"""The exercises of notebooks 08 to 10 tell the usual mistakes apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from otsr import metrics

Enlarge = Callable[[Tensor], Tensor]
BOTH = [("rgb", 0), ("rgb", 4), ("y", 0), ("y", 4)]


def field(layers: list[tuple[int, int]]) -> int:
    width, step = 1, 1
    for kernel, stride in layers:
        width += step * (kernel - 1)
        step *= stride
    return width


def own_stride(layers: list[tuple[int, int]]) -> int:
    width, step = 1, 1
    for kernel, stride in layers:
        step *= stride
        width += step * (kernel - 1)
    return width


def tiles(enlarge: Enlarge, lr: Tensor, tile: int, overlap: int, s: int) -> Tensor:
    height, width = lr.shape[1:]
    sr = torch.empty(3, s * height, s * width)
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            bottom, right = min(top + tile, height), min(left + tile, width)
            above, before = max(0, top - overlap), max(0, left - overlap)
            seen = enlarge(lr[:, above : bottom + overlap, before : right + overlap])
            y, x = s * (top - above), s * (left - before)
            kept = seen[:, y : y + s * (bottom - top), x : x + s * (right - left)]
            sr[:, s * top : s * bottom, s * left : s * right] = kept
    return sr


def padded(mode: str) -> Callable[..., Tensor]:
    def function(enlarge: Enlarge, lr: Tensor, tile: int, overlap: int, s: int) -> Tensor:
        height, width = lr.shape[1:]
        around = F.pad(lr[None], [overlap] * 4, mode=mode)[0]
        sr = torch.empty(3, s * height, s * width)
        for top in range(0, height, tile):
            for left in range(0, width, tile):
                bottom, right = min(top + tile, height), min(left + tile, width)
                seen = enlarge(around[:, top : bottom + 2 * overlap, left : right + 2 * overlap])
                cut = s * overlap
                sr[:, s * top : s * bottom, s * left : s * right] = seen[:, cut:-cut, cut:-cut]
        return sr

    return function


def one_overlap(enlarge: Enlarge, lr: Tensor, tile: int, overlap: int, s: int) -> Tensor:
    return tiles(enlarge, lr, tile, 1, s)


def strips(enlarge: Enlarge, lr: Tensor, tile: int, overlap: int, s: int) -> Tensor:
    parts = []
    for left in range(0, lr.shape[2], tile):
        right, before = min(left + tile, lr.shape[2]), max(0, left - overlap)
        seen = enlarge(lr[:, :, before : right + overlap])
        parts.append(seen[:, :, s * (left - before) : s * (right - before)])
    return torch.cat(parts, 2)


def nearest(sr: Tensor, hr: Tensor, claimed: float, choices: list[tuple[Any, int]]) -> tuple[Any, int]:
    return min(choices, key=lambda choice: abs(float(metrics.psnr(sr, hr, choice[1], choice[0])) - claimed))


def with_plain_mean(sr: Tensor, hr: Tensor, claimed: float) -> tuple[str, int]:
    """Takes the mean of the colours for luma."""
    grey = [x.mean(0, keepdim=True).expand(3, -1, -1) for x in (sr, hr)]
    values = {("rgb", border): float(metrics.psnr(sr, hr, border)) for border in (0, 4)}
    values |= {("y", border): float(metrics.psnr(*grey, border)) for border in (0, 4)}
    return min(values, key=lambda choice: abs(values[choice] - claimed))


def walk(step: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def answer(v: Callable[..., Tensor], x: Tensor, steps: int) -> Tensor:
        for k in range(steps):
            x = x + step(v, x, k / steps, 1 / steps)
        return x

    return answer


def in_place(v: Callable[..., Tensor], x: Tensor, steps: int) -> Tensor:
    for k in range(steps):
        x += v(x, k / steps) / steps
    return x


WRONG: dict[str, list[tuple[Any, str]]] = {
    "field": [
        (lambda layers: (field(layers) - 1) // 2, "one side only"),
        (lambda layers: field(layers) - 1, "one pixel: itself"),
        (lambda layers: sum(kernel for kernel, _ in layers), "adds 2 new pixels"),
        (lambda layers: math.prod(kernel for kernel, _ in layers), "do not multiply"),
        (lambda layers: 1 + sum(kernel - 1 for kernel, _ in layers), "2 input pixels apart"),
        (own_stride, "own stride spreads the layers after it"),
        (lambda layers: field(layers[::-1]), "not those after"),
        (lambda layers: 100, "Begin with one pixel"),
    ],
    "tiles": [
        (lambda e, lr, tile, overlap, s: e(lr), "One of your windows is 30×26"),
        (strips, "memory that was not asked for"),
        (lambda e, lr, tile, overlap, s: tiles(e, lr, tile, 0, s), "nothing beside it"),
        (one_overlap, "see 1 pixel beside their tile, not 3"),
        (padded("replicate"), "border of the picture is wrong"),
        (padded("reflect"), "border of the picture is wrong"),
        (padded("constant"), "border of the picture is wrong"),
        (lambda e, lr, tile, overlap, s: F.pad(tiles(e, lr, tile, overlap, s), (0, s)), "keep too much"),
        (lambda e, lr, tile, overlap, s: tiles(e, lr, tile, overlap, s)[:, 4:], "keep too little"),
        (lambda e, lr, tile, overlap, s: tiles(e, lr, tile, overlap, s).mT, "changed places"),
        (lambda e, lr, tile, overlap, s: tiles(e, lr, tile, overlap, s)[:, ::s, ::s], "s times as large"),
        (lambda e, lr, tile, overlap, s: F.pad(tiles(e, lr, tile, overlap, s), (0, 16)), "smaller"),
        (lambda e, lr, tile, overlap, s: tiles(e, lr, tile, overlap, s) + 1, "draw what it sees"),
    ],
    "settings": [
        (lambda sr, hr, c: nearest(sr, hr, c, [("rgb", 0), *BOTH[2:]]), "The channel is right"),
        (lambda sr, hr, c: nearest(sr, hr, c, [("rgb", 0), ("y", 0)]), "or your luma"),
        (with_plain_mean, "or your luma"),
        (lambda sr, hr, c: nearest(sr, hr, c, [("rgb", 4)]), "The border is right"),
        (lambda sr, hr, c: ("rgb", 0), "Compute all four PSNRs"),
        (lambda sr, hr, c: nearest(sr, hr, c, BOTH)[::-1], "in this order"),
        (lambda sr, hr, c: ("luma", 4), "The channel is 'rgb' or 'y'"),
        (lambda sr, hr, c: ("y", 2), "the border 0 or 4"),
        (lambda sr, hr, c: (np.array(["y", "rgb"]), 4), "The channel is 'rgb' or 'y'"),
    ],
    "report": [
        (lambda v, t: t.mean(1).max(), "they must not choose"),
        (lambda v, t: v.mean(1).max(), "a winner's score"),
        (lambda v, t: t.max(0).mean(), "another checkpoint for each photo"),
        (lambda v, t: t.max(), "the luckiest pair of all"),
        (lambda v, t: t.mean(), "you have to choose one"),
        (lambda v, t: t[-1].mean(), "the last checkpoint"),
        (lambda v, t: t[v.mean(1).argmin()].mean(), "the worst one"),
        (lambda v, t: t[v.max(1).argmax()].mean(), "one single validation photo"),
        (lambda v, t: v.mean(1).argmax(), "the number of the checkpoint"),
        (lambda v, t: t[v.mean(0).argmax()].mean(), "argmax names a photo"),
        (lambda v, t: 20.0, "Each pile has one task"),
    ],
    "strength": [
        (lambda m, w, d: math.sqrt((10 ** (d / 10) - 1) * m / w), "Above 1 nothing is left"),
        (lambda m, w, d: min(1, (10 ** (d / 10) - 1) * m / w), "square of the strength"),
        (lambda m, w, d: min(1, math.sqrt((10 ** (d / 10) - 1) * w / m)), "which is the price"),
        (lambda m, w, d: min(1, math.sqrt(10 ** (d / 10) * m / w)), "already there"),
        (lambda m, w, d: min(1, math.sqrt((10 ** (d / 20) - 1) * m / w)), "a factor of ten, not 20"),
        (lambda m, w, d: min(1, math.sqrt((math.exp(d / 10) - 1) * m / w)), "powers of ten"),
        (lambda m, w, d: min(1, math.sqrt(d / 2 * m / w)), "solve for t"),
        (lambda m, w, d: math.sqrt(d * m / w), "turn them into a factor"),
        (lambda m, w, d: min(1, math.sqrt((1 - 10 ** (-d / 10)) * m / w)), "does not shrink"),
        (lambda m, w, d: float("nan"), "solve for t"),
    ],
    "heun": [
        (walk(lambda v, x, t, d: d * v(x, t)), "Euler's step"),
        (walk(lambda v, x, t, d: d * (v(x, t) + v(x + d * v(x, t), t)) / 2), "wrong time"),
        (walk(lambda v, x, t, d: d * (v(x, t) + v(x, t + d)) / 2), "wrong place"),
        (walk(lambda v, x, t, d: d * (v(x, t) + v(x + d * v(x, t), t + d))), "take their mean"),
        (walk(lambda v, x, t, d: (v(x, t) + v(x + d * v(x, t), t + d)) / 2), "lasts only 1/steps"),
        (walk(lambda v, x, t, d: d * (v(x, t) + v(x + v(x, t), t + d)) / 2), "whole unit of time"),
        (walk(lambda v, x, t, d: d * v(x + d * v(x, t), t + d)), "velocity ahead alone"),
        (walk(lambda v, x, t, d: d * v(x + d / 2 * v(x, t), t + d / 2)), "midpoint rule"),
        (walk(lambda v, x, t, d: 3 * d * v(x, t)), "the mean of the two"),
        (in_place, "changes what it was given"),
        (lambda v, x, steps: torch.stack([x, x]), "A tensor (3, 2) is expected"),
    ],
}
RIGHT: list[tuple[str, Any]] = [
    ("field", field),
    ("tiles", tiles),
    ("settings", lambda sr, hr, claimed: nearest(sr, hr, claimed, BOTH)),
    ("report", lambda v, t: t[np.mean(v, axis=1).argmax()].mean()),
    ("strength", lambda m, w, d: min(1, math.sqrt((10 ** (d / 10) - 1) * m / w))),
    ("strength", lambda m, w, d: torch.tensor(min(1, math.sqrt((10 ** (d / 10) - 1) * m / w)))),
    ("heun", walk(lambda v, x, t, d: d * (v(x, t) + v(x + d * v(x, t), t + d)) / 2)),
]
