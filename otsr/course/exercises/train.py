"""The exercises of notebook 07: transport in windows, and what a checkpoint must hold."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from otsr.course.exercises.checking import CHECKS, ask, call

_KEPT = {  # and what it means to forget it
    "weights": "Without the weights there is nothing to go on with.",
    "average": "The running average cannot be computed from the weights of one step: it remembers many.",
    "adam": "Look at the table above: Adam's memory of past gradients decides the next step too.",
    "step": "Batch, learning rate and decay are functions of a number. Which one?",
    "recipe": "How would a resumed training notice that somebody has changed the recipe?",
}
_LEFT = {  # and why
    "batches": "The batch of a step can be made again from the seed and the step: no need to keep it.",
    "rate": "The learning rate is a function of the step and the recipe: no need to keep it.",
    "gradients": "Gradients are computed anew in each step, before they are used: no need to keep them.",
}


def _features() -> tuple[Tensor, Tensor]:
    x, y = torch.rand(2, 2, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    return x, y / 2  # of another size


def _tiles(values: Tensor, k: int) -> Tensor:
    """(B, C, windows, k²)."""
    b, c, h, w = values.shape
    return values.reshape(b, c, h // k, k, w // k, k).transpose(3, 4).reshape(b, c, -1, k * k)


def _moved(x: Tensor, y: Tensor) -> Tensor:
    return (x.sort().values - y.sort().values).abs()


def _of_windows(x: Tensor, y: Tensor, k: int) -> list[tuple[Tensor, str]]:
    moved, size = _moved(_tiles(x, k), _tiles(y, k)), y.abs().mean()

    def cut(pieces: Callable[[Tensor], Tensor]) -> Tensor:
        return _moved(pieces(x), pieces(y)).mean() / size

    return [
        (moved.mean(), "That is how far they move; the loss divides it by the mean size of HR's features, mean |y|."),
        (cut(lambda v: v.flatten(2)), "You sort over the whole crop: what is in one window may not pay for another."),
        ((x - y).abs().mean() / size, "You compare place by place: sort each window first."),
        (cut(lambda v: v.reshape(*v.shape[:2], -1, k * k)),
         "Your pieces are not squares: a reshape alone cuts up rows. Split rows and columns, then transpose."),
        (cut(lambda v: v.unfold(2, k, k).unfold(3, k, k)),
         "You sort each row of a window on its own: flatten the k² values of a window first, then sort."),
        (cut(lambda v: _tiles(v, k).transpose(1, 2).flatten(2)),
         "You sort all channels of a window in one heap; each channel is sorted on its own."),
        (moved.square().mean() / size, "You square the distance; the cost here is the distance itself."),
        (moved.sum() / size, "Take the mean: a sum grows with the size of the crop."),
        (moved.mean() / x.abs().mean(), "Divide by the size of HR's features y, not of SR's."),
    ]  # fmt: skip


ask(
    "windows",
    cases=lambda: [(*_features(), 2), (*_features(), 4)],
    right=lambda x, y, k: _moved(_tiles(x, k), _tiles(y, k)).mean() / y.abs().mean(),
    mistakes=_of_windows,
    otherwise="Take one channel of one window of 2×2 and do it on paper: four values here, four there.",
    case="With windows of side k = {2} it is {right:.4f}, yours says {got:.4f}.",
)  # fmt: skip


def _checkpoint(answer: Any) -> str | None:
    """All that the next step depends on and that cannot be computed anew."""
    named = call(answer) if callable(answer) else answer
    if isinstance(named, str) or not isinstance(named, Iterable):
        return f'A set of words is expected, such as {{"weights", "rate"}}, not {type(named).__name__}.'
    chosen = {str(word) for word in named}
    words = _KEPT | _LEFT
    if unknown := sorted(chosen - set(words)):
        return f"{unknown[0]!r} is not one of the eight words: {', '.join(sorted(words))}."
    return next((reason for word, reason in words.items() if (word in _KEPT) != (word in chosen)), None)


CHECKS["checkpoint"] = _checkpoint
