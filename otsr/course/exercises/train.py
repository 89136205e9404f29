"""The exercises of notebook 07: transport in windows, and what a checkpoint must hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from otsr.course.exercises.checking import call, exercise

_RIGHT = 1e-5
_KEPT = {"weights", "average", "adam", "step", "recipe"}
_LEFT = {"batches", "rate", "gradients"}


@exercise("windows")
def _windows(answer: Any) -> str | None:
    """mean |sorted x − sorted y| in windows of side k that tile the features, over mean |y|."""
    drawing = torch.Generator().manual_seed(0)
    for k in (2, 4):
        x, y = (torch.rand(2, 3, 8, 12, generator=drawing) for _ in range(2))
        value = call(answer, x.clone(), y.clone(), k)
        if not isinstance(value, (int, float, Tensor)) or (isinstance(value, Tensor) and value.numel() != 1):
            found = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            return f"One number is expected, your function returned {found}."
        got, size = float(value), float(y.abs().mean())
        expected = _moved(x, y, k) / size
        if not abs(got - expected) <= _RIGHT:
            case = f"With x and y (2, 3, 8, 12) and k = {k}"
            return f"{case} it is {expected:.4f}, yours says {got:.4f}. {_hint(got, x, y, k)}"
    return None


def _tiles(values: Tensor, k: int) -> Tensor:
    """(B, C, windows, k²)."""
    b, c, h, w = values.shape
    return values.reshape(b, c, h // k, k, w // k, k).transpose(3, 4).reshape(b, c, -1, k * k)


def _moved(x: Tensor, y: Tensor, k: int, power: int = 1) -> float:
    return float((_tiles(x, k).sort().values - _tiles(y, k).sort().values).abs().pow(power).mean())


def _hint(got: float, x: Tensor, y: Tensor, k: int) -> str:
    size = float(y.abs().mean())
    right = _moved(x, y, k)
    whole = float((x.flatten(2).sort().values - y.flatten(2).sort().values).abs().mean())
    mixed = (v.reshape(2, 3, -1, k * k).sort().values for v in (x, y))  # rows cut into pieces: no squares
    rows = float(torch.sub(*mixed).abs().mean())
    colours = (
        _tiles(v, k).transpose(1, 2).flatten(2).sort().values for v in (x, y)
    )  # all channels in one heap
    heap = float(torch.sub(*colours).abs().mean())
    usual: list[tuple[float, str]] = [
        (
            right,
            "That is how far they move; the loss divides it by the mean size of HR's features, mean |y|.",
        ),
        (whole / size, "You sort over the whole crop: what is in one window may not pay for another."),
        (
            float((x - y).abs().mean()) / size,
            "You compare place by place: sort the values of each window first.",
        ),
        (
            rows / size,
            "Your pieces are no squares: a reshape alone cuts rows. Cut rows and columns, then permute.",
        ),
        (heap / size, "You sort all channels of a window in one heap; each channel has a line of its own."),
        (_moved(x, y, k, 2) / size, "You square the way; here it costs its length (W₁)."),
        (
            right * x.numel() / size,
            "You add up where the mean is meant: the loss would grow with the size of the crop.",
        ),
        (right / float(x.abs().mean()), "Divide by the size of HR's features y, not by those of SR."),
    ]
    for value, words in usual:
        if abs(got - value) <= _RIGHT * max(1.0, abs(value)):
            return words
    return "Take one channel of one window of 2×2 and do it on paper: four values here, four there."


@exercise("checkpoint")
def _checkpoint(answer: Any) -> str | None:
    """All that the next step depends on and that cannot be computed anew."""
    named = call(answer) if callable(answer) else answer
    if isinstance(named, str) or not isinstance(named, Iterable):
        return f'A set of words is expected, such as {{"weights", "rate"}}, not {type(named).__name__}.'
    chosen = {str(word) for word in named}
    unknown = sorted(chosen - _KEPT - _LEFT)
    if unknown:
        return f"{unknown[0]!r} is none of the eight words: {', '.join(sorted(_KEPT | _LEFT))}."
    reasons = {
        "weights": "Without the weights there is nothing to go on with.",
        "average": "The running average cannot be computed from the weights of one step: it remembers many.",
        "adam": "Look at the table above: Adam's memory of past gradients decides the next step too.",
        "step": "Batch, learning rate and decay are functions of a number. Which one?",
        "recipe": "How would a resumed training notice that somebody has changed the recipe?",
        "batches": "The batch of a step can be made again from the seed and the step: no need to keep it.",
        "rate": "The learning rate is a function of the step and the recipe: no need to keep it.",
        "gradients": "Gradients are computed anew in each step, before they are used: no need to keep them.",
    }
    for word, reason in reasons.items():
        if (word in _KEPT) != (word in chosen):
            return reason
    return None
