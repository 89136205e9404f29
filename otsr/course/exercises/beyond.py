"""The exercises of notebook 10: how strong may transport be for a price in decibels, and a better step along a flow."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from otsr.course.exercises.checking import ask

Velocity = Callable[[Tensor, float], Tensor]


def _free(mse: float, w2: float, decibels: float) -> float:
    """The t with 10 log10((mse + t² w2) / mse) = decibels."""
    return math.sqrt(_gain(decibels) * mse / w2)


def _gain(decibels: float) -> float:
    return 10 ** (decibels / 10) - 1


ask(
    "strength",
    cases=lambda: [(0.5, 0.8, 0.5), (0.8, 0.5, 0.25), (2.0, 0.1, 1.0), (0.3, 3.0, 3.0)],  # the first stays below 1
    right=lambda mse, w2, dB: min(1.0, _free(mse, w2, dB)),
    mistakes=lambda mse, w2, dB: [
        (_free(mse, w2, dB), "Above 1 nothing is left to carry: you would leave the real patches."),
        (_gain(dB) * mse / w2, "The price grows with the square of the strength."),
        (_free(w2, mse, dB), "Which is the error without transport, and which is the price?"),
        (math.sqrt(10 ** (dB / 10) * mse / w2),
         "That strength makes the price alone so large: the first mse is already there."),
        (_free(mse, w2, dB / 2), "For a squared error 10 dB are a factor of ten, not 20."),
        (math.sqrt((math.exp(dB / 10) - 1) * mse / w2), "Decibels use powers of ten, not of e."),
        (math.sqrt(dB * mse / w2), "Decibels are a logarithm: turn them into a factor first."),
        (math.sqrt(-_gain(-dB) * mse / w2), "The error may grow, it does not shrink."),
    ],
    otherwise="Write the error at strength t, divide by the error at 0, and solve for t.",
    case="For mse {0}, w2 {1} and {2} dB the strength is {right:.5f}, yours is {got:.5f}.",
)  # fmt: skip


def _velocity(x: Tensor, t: float) -> Tensor:
    return x.flip(1) * (1 + t) + torch.sin(3 * x) + t**2


_START = torch.tensor([[0.3, -0.2], [1.0, 0.5], [-0.7, 0.9]], dtype=torch.float64)


def _walk(v: Velocity, x: Tensor, steps: int, step: Callable[..., Tensor]) -> Tensor:
    """From t = 0 to 1 by x ← x + step(v, x, t, h), h = 1 / steps."""
    for k in range(steps):
        x = x + step(v, x, k / steps, 1 / steps)
    return x


_WRONG_STEPS: list[tuple[Callable[..., Tensor], str]] = [
    (lambda v, x, t, h: h * v(x, t), "That is Euler's step: look ahead, and look at the velocity there."),
    (lambda v, x, t, h: h * (v(x, t) + v(x + h * v(x, t), t)) / 2,
     "The second velocity is looked up at the wrong time."),
    (lambda v, x, t, h: h * (v(x, t) + v(x, t + h)) / 2,
     "The second velocity is looked up at the wrong place: where would Euler have taken you?"),
    (lambda v, x, t, h: h * (v(x, t) + v(x + h * v(x, t), t + h)), "You add the two velocities; take their mean."),
    (lambda v, x, t, h: (v(x, t) + v(x + h * v(x, t), t + h)) / 2, "Each step lasts only 1/steps."),
    (lambda v, x, t, h: h * (v(x, t) + v(x + v(x, t), t + h)) / 2,
     "You look ahead by a whole unit of time instead of by one step."),
    (lambda v, x, t, h: h * v(x + h * v(x, t), t + h), "You use the velocity ahead alone; take the mean of both."),
    (lambda v, x, t, h: h * v(x + h / 2 * v(x, t), t + h / 2),
     "That is the midpoint rule, as good as Heun's; here the mean of the velocities at both ends is asked for."),
]  # fmt: skip

ask(
    "heun",
    cases=lambda: [(_velocity, _START, steps) for steps in (1, 3, 5)],
    right=partial(_walk, step=lambda v, x, t, h: h * (v(x, t) + v(x + h * v(x, t), t + h)) / 2),
    mistakes=lambda v, x, steps: [(_walk(v, x, steps, step), hint) for step, hint in _WRONG_STEPS],
    otherwise="One step: a velocity here, a velocity where Euler's step would end, and the mean of the two.",
    case="With {2} steps it is off by up to {off:.2g}.",
)  # fmt: skip
