"""The exercises of notebook 10: how strong may transport be for a price in decibels, and a better step along a flow."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from otsr.course.exercises.checking import call, exercise

Velocity = Callable[[Tensor, float], Tensor]


@exercise("strength")
def _strength(answer: Any) -> str | None:
    """The largest t in [0, 1] with 10 log10((mse + t² w2) / mse) at most `decibels`."""
    for mse, w2, decibels in ((0.8, 0.5, 1.0), (0.8, 0.5, 0.25), (2.0, 0.1, 1.0), (0.3, 3.0, 3.0)):
        value = call(answer, mse, w2, decibels)
        try:
            got = float(value)
        except (TypeError, ValueError):
            return f"One number is expected, your function returned {type(value).__name__}."
        free = math.sqrt((10 ** (decibels / 10) - 1) * mse / w2)
        expected = min(1.0, free)
        if not abs(got - expected) <= 1e-6:
            case = f"For mse {mse}, w2 {w2} and {decibels} dB the strength is {expected:.3f}, yours is {got:.3f}."
            return f"{case} {_strength_hint(got, mse, w2, decibels)}"
    return None


def _strength_hint(got: float, mse: float, w2: float, decibels: float) -> str:
    share = 10 ** (decibels / 10) - 1
    usual = [
        (math.sqrt(share * mse / w2), "Above 1 nothing is left to carry: you would leave the real patches."),
        (share * mse / w2, "The price grows with the square of the strength."),
        (math.sqrt(share * w2 / mse), "Which is the error without transport, and which is the price?"),
        (
            math.sqrt((share + 1) * mse / w2),
            "That strength makes the price alone so large: the first mse is already there.",
        ),
        (
            math.sqrt((10 ** (decibels / 20) - 1) * mse / w2),
            "Decibels of a squared error count ten to the factor of ten, not twenty.",
        ),
        (
            math.sqrt((math.exp(decibels / 10) - 1) * mse / w2),
            "Decibels belong to the logarithm to base ten.",
        ),
        (math.sqrt(decibels * mse / w2), "Decibels are a logarithm: turn them into a factor first."),
        (math.sqrt((1 - 1 / (share + 1)) * mse / w2), "The error may grow, it does not shrink."),
    ]
    for value, hint in usual:
        if min(abs(got - value), abs(got - min(1.0, value))) <= 1e-6:
            return hint
    return "Write the error at strength t, divide by the error at 0, and solve for t."


@exercise("heun")
def _heun(answer: Any) -> str | None:
    """x + dt · (v(x, t) + v(x + dt v(x, t), t + dt)) / 2, from t = 0 to 1."""

    def velocity(x: Tensor, t: float) -> Tensor:
        return x.flip(1) * (1 + t) + torch.sin(3 * x) + t**2

    start = torch.tensor([[0.3, -0.2], [1.0, 0.5], [-0.7, 0.9]], dtype=torch.float64)
    for steps in (1, 3, 5):
        given = start.clone()
        got = call(answer, velocity, given, steps)
        if not isinstance(got, Tensor) or got.shape != start.shape:
            found = f"{tuple(got.shape)}" if isinstance(got, Tensor) else type(got).__name__
            return f"A tensor {tuple(start.shape)} is expected for x of that shape, yours returned {found}."
        if not torch.equal(given, start):
            return "Your function changes the x that it was given: write x = x + …, not x += …"
        error = float((got.double() - _integrated(velocity, start, steps, _heun_step)).abs().max())
        if not error <= 1e-5:
            return f"With {steps} steps it is off by up to {error:.2g}. {_heun_hint(got, velocity, start)}".rstrip()
    return None


Step = Callable[[Velocity, Tensor, float, float], Tensor]


def _integrated(velocity: Velocity, x: Tensor, steps: int, step: Step) -> Tensor:
    for k in range(steps):
        x = x + step(velocity, x, k / steps, 1 / steps)
    return x


def _heun_step(v: Velocity, x: Tensor, t: float, dt: float) -> Tensor:
    first = v(x, t)
    return dt * (first + v(x + dt * first, t + dt)) / 2


def _heun_hint(got: Tensor, velocity: Velocity, start: Tensor) -> str:
    usual: list[tuple[Step, str]] = [
        (
            lambda v, x, t, dt: dt * v(x, t),
            "That is Euler's step: look ahead, and look at the velocity there.",
        ),
        (
            lambda v, x, t, dt: dt * (v(x, t) + v(x + dt * v(x, t), t)) / 2,
            "The second velocity is looked up at the wrong time.",
        ),
        (
            lambda v, x, t, dt: dt * (v(x, t) + v(x, t + dt)) / 2,
            "The second velocity is looked up at the wrong place: where would Euler have taken you?",
        ),
        (
            lambda v, x, t, dt: dt * (v(x, t) + v(x + dt * v(x, t), t + dt)),
            "You add the two velocities; take their mean.",
        ),
        (
            lambda v, x, t, dt: (v(x, t) + v(x + v(x, t) * dt, t + dt)) / 2,
            "Each step lasts only 1/steps.",
        ),
        (
            lambda v, x, t, dt: dt * (v(x, t) + v(x + v(x, t), t + dt)) / 2,
            "You look ahead by a whole unit of time instead of by one step.",
        ),
        (
            lambda v, x, t, dt: dt * v(x + dt * v(x, t), t + dt),
            "You use the velocity ahead alone; take the mean of both.",
        ),
        (
            lambda v, x, t, dt: dt * v(x + dt / 2 * v(x, t), t + dt / 2),
            "That is the midpoint rule, as good as Heun's; here the mean of the velocities at both ends is asked for.",
        ),
    ]
    for steps in (1, 3, 5):
        for step, hint in usual:
            if torch.allclose(got.double(), _integrated(velocity, start, steps, step), atol=1e-6):
                return hint
    return "One step: a velocity here, a velocity where Euler's step would end, and the mean of the two."
