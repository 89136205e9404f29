"""The exercises of notebook 10: how strong may transport be for a price in decibels, and a better step along a flow."""

from __future__ import annotations

import math
from collections.abc import Callable

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
    mistakes=[
        (_free, "Above 1 nothing is left to carry: you would leave the real patches."),
        (lambda mse, w2, dB: _gain(dB) * mse / w2, "The price grows with the square of the strength."),
        (lambda mse, w2, dB: _free(w2, mse, dB), "Which is the error without transport, and which is the price?"),
        (lambda mse, w2, dB: math.sqrt(10 ** (dB / 10) * mse / w2),
         "That strength makes the price alone so large: the first mse is already there."),
        (lambda mse, w2, dB: _free(mse, w2, dB / 2), "For a squared error 10 dB are a factor of ten, not 20."),
        (lambda mse, w2, dB: math.sqrt((math.exp(dB / 10) - 1) * mse / w2), "Decibels use powers of ten, not of e."),
        (lambda mse, w2, dB: math.sqrt(dB * mse / w2), "Decibels are a logarithm: turn them into a factor first."),
        (lambda mse, w2, dB: math.sqrt(-_gain(-dB) * mse / w2), "The error may grow, it does not shrink."),
    ],
    otherwise="Write the error at strength t, divide by the error at 0, and solve for t.",
    case="For mse {0}, w2 {1} and {2} dB the strength is {right:.5f}, yours is {got:.5f}.",
)  # fmt: skip


def _velocity(x: Tensor, t: float) -> Tensor:
    return x.flip(1) * (1 + t) + torch.sin(3 * x) + t**2


_START = torch.tensor([[0.3, -0.2], [1.0, 0.5], [-0.7, 0.9]], dtype=torch.float64)


def _walk(step: Callable[[Velocity, Tensor, float, float], Tensor]) -> Callable[..., Tensor]:
    """From t = 0 to 1 by x ← x + step(v, x, t, dt)."""

    def walk(v: Velocity, x: Tensor, steps: int) -> Tensor:
        for k in range(steps):
            x = x + step(v, x, k / steps, 1 / steps)
        return x

    return walk


ask(
    "heun",
    cases=lambda: [(_velocity, _START, steps) for steps in (1, 3, 5)],
    right=_walk(lambda v, x, t, dt: dt * (v(x, t) + v(x + dt * v(x, t), t + dt)) / 2),
    mistakes=[
        (_walk(lambda v, x, t, dt: dt * v(x, t)), "That is Euler's step: look ahead, and look at the velocity there."),
        (_walk(lambda v, x, t, dt: dt * (v(x, t) + v(x + dt * v(x, t), t)) / 2),
         "The second velocity is looked up at the wrong time."),
        (_walk(lambda v, x, t, dt: dt * (v(x, t) + v(x, t + dt)) / 2),
         "The second velocity is looked up at the wrong place: where would Euler have taken you?"),
        (_walk(lambda v, x, t, dt: dt * (v(x, t) + v(x + dt * v(x, t), t + dt))),
         "You add the two velocities; take their mean."),
        (_walk(lambda v, x, t, dt: (v(x, t) + v(x + v(x, t) * dt, t + dt)) / 2), "Each step lasts only 1/steps."),
        (_walk(lambda v, x, t, dt: dt * (v(x, t) + v(x + v(x, t), t + dt)) / 2),
         "You look ahead by a whole unit of time instead of by one step."),
        (_walk(lambda v, x, t, dt: dt * v(x + dt * v(x, t), t + dt)),
         "You use the velocity ahead alone; take the mean of both."),
        (_walk(lambda v, x, t, dt: dt * v(x + dt / 2 * v(x, t), t + dt / 2)),
         "That is the midpoint rule, as good as Heun's; here the mean of the velocities at both ends is asked for."),
    ],
    otherwise="One step: a velocity here, a velocity where Euler's step would end, and the mean of the two.",
    case="With {2} steps it is off by up to {off:.2g}.",
)  # fmt: skip
