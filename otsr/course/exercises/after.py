"""The exercises of notebook 11: how far an exact flow stretches its start, and the velocity in a denoiser's answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from otsr.course.exercises.checking import ask

Denoiser = Callable[[Tensor, float], Tensor]


def _now(A: float, B: float, sigma: float, t: float) -> float:
    """Variance at time t on the lines from guess + noise to truth, where guesses have A and truths B."""
    return A + (1 - t) ** 2 * sigma**2 + t**2 * (B - A)


def _mixtures() -> Iterator[tuple[float, float, float, float]]:
    draw = torch.rand(3, 4, generator=torch.Generator().manual_seed(11), dtype=torch.float64)
    drawn = ((1.2 + a, 2.5 + b, 0.2 + s / 2, 0.3 + t / 2) for a, b, s, t in draw.tolist())
    return iter(
        [(1.5, 4.0, 0.5, 0.5), (0.2, 1.0, 0.3, 1.0), (0.5, 0.9, 0.0, 0.25), (2.0, 3.0, 1.0, 0.0), *drawn]
    )


ask(
    "stretch",
    cases=_mixtures,
    right=lambda A, B, s, t: math.sqrt(_now(A, B, s, t) / (A + s**2)),
    mistakes=[
        (lambda A, B, s, t: math.sqrt(_now(A, B, s, 1 - t) / (A + s**2)),
         "You walk from the end to the start: at t = 0 only guess and noise are there, at t = 1 only the truth."),
        (lambda A, B, s, t: math.sqrt((A + s**2) / _now(A, B, s, t)),
         "Upside down: the spread now, over that at the start."),
        (lambda A, B, s, t: math.sqrt((A + (1 - t) ** 2 * s**2 + t * (B - A)) / (A + s**2)),
         "What is missing comes in with weight t, so its variance with t²."),
        (lambda A, B, s, t: math.sqrt((_now(A, B, s, t) - A + (1 - t) ** 2 * A) / (A + s**2)),
         "The guess is a part of its truth: it comes with 1 − t and with t, together whole."),
        (lambda A, B, s, t: math.sqrt((_now(A, B, s, t) + 2 * t**2 * A) / (A + s**2)),
         "A sign: what the guess cannot know has the variance B − A."),
        (lambda A, B, s, t: _now(A, B, s, t) / (A + s**2),
         "So much grows the variance; the numbers themselves grow by its root."),
        (lambda A, B, s, t: math.sqrt(_now(A, B, s, t) / A),
         "The start has the noise in it too: at t = 0 the factor must be 1."),
        (lambda A, B, s, t: math.sqrt(_now(A, B, s, t)),
         "That is the spread at time t; divide it by the spread at the start."),
        (lambda A, B, s, t: math.sqrt((A + (1 - t) * s**2 + t * (B - A)) / (A + s**2)),
         "The line weighs values by 1 − t and t; their variances are weighed by the squares of both."),
        (lambda A, B, s, t: math.sqrt(((1 - t) ** 2 * (A + s**2) + t**2 * B) / (A + s**2)),
         "That is a random partner's variance. Each guess goes to its own truth, of which it is a part: it stays, "
         "and t² weighs only what is missing."),
        (lambda A, B, s, t: math.sqrt((A + (1 - t) ** 2 * s**2 + t**2 * B) / (A + s**2)),
         "The real variance B holds the guess already: what comes in with t is only B − A."),
        (lambda A, B, s, t: 1 - t + t * math.sqrt(B / (A + s**2)),
         "That is the OT weight's way, even in time. The flow ends there too, but it keeps another timetable."),
        (lambda A, B, s, t: math.sqrt(B / (A + s**2)),
         "That is the factor at the end, t = 1. Where is the flow at time t?"),
        (lambda A, B, s, t: math.sqrt((A + t**2 * (B - A)) / (A + s**2)),
         "The noise of the start has not gone before t = 1: the line still holds 1 − t of it."),
        (lambda A, B, s, t: math.sqrt((A + (1 - t) ** 2 * s + t**2 * (B - A)) / (A + s)),
         "σ is a standard deviation; variances add."),
    ],
    otherwise="Write down the variance of (1 − t)(guess + noise) + t · truth, with truth = guess + what is missing.",
    case="For A = {0:.3g}, B = {1:.3g}, σ = {2:.3g} and t = {3:.3g} yours is {got:.3f}.",
)  # fmt: skip


def _denoise(z: Tensor, t: float) -> Tensor:
    return torch.tanh(z) + 0.3 * t + z.flip(1) / 4


def _places() -> Iterator[tuple[Denoiser, Tensor, float]]:
    z = torch.randn(3, 2, generator=torch.Generator().manual_seed(11), dtype=torch.float64)
    return ((_denoise, z, t) for t in (0.4, 0.25, 0.9, 0.0))


ask(
    "velocity",
    cases=_places,
    right=lambda f, z, t: (f(z, t) - z) / (1 - t),
    mistakes=[
        (lambda f, z, t: f(z, t),
         "That is a place, where the way is believed to end. A velocity is a way over a time."),
        (lambda f, z, t: f(z, t) - z, "That is the way that is left. How much time is left for it?"),
        (lambda f, z, t: (f(z, t) - z) / max(t, 1e-9),
         "You divide by the time that has passed; the way ahead must fit into the time ahead."),
        (lambda f, z, t: (z - f(z, t)) / (1 - t),
         "You are going backwards: from here to the end, not from the end to here."),
        (lambda f, z, t: (z - t * f(z, t)) / (1 - t), "That is n, where the line began; the velocity is x − n."),
        (lambda f, z, t: (f(z, t) - z) / (1 + t), "How much time is left at t? A sign."),
        (lambda f, z, t: (f(z, t) - z) * (1 - t), "Less time left means that you must go faster, not slower."),
        (lambda f, z, t: f(z, t) - z / (1 - t),
         "Both ends of the difference belong over 1 − t; yours divides z alone."),
        (lambda f, z, t: (f(z, t) - (1 - t) * z) / max(t, 1e-9),
         "That solves the line for its other end. Start from v = x − n, and replace n."),
        (lambda f, z, t: (f(z, 1 - t) - z) / (1 - t),
         "You asked the denoiser about another time than the one you are at."),
    ],
    otherwise="On the line z = (1 − t) n + t x: write x − n with z, x and t alone, and let the denoiser say x.",
    case="At t = {2:g} it is off by up to {off:.2g}.",
    near=1e-5,
)  # fmt: skip
