"""The exercises of notebook 11: how far an exact flow stretches its start, and the velocity in a denoiser's answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from otsr.course.exercises.checking import call, exercise

_SAME = 1e-6
Denoiser = Callable[[Tensor, float], Tensor]


@exercise("stretch")
def _stretch(answer: Any) -> str | None:
    """√((A + (1 − t)² σ² + t² (B − A)) / (A + σ²)), the spread at time t over the spread at the start."""
    for A, B, sigma, t in (
        (1.5, 4.0, 0.5, 0.5),
        (0.2, 1.0, 0.3, 1.0),
        (0.5, 0.9, 0.0, 0.25),
        (2.0, 3.0, 1.0, 0.0),
    ):
        value = call(answer, A, B, sigma, t)
        try:
            got = float(value)
        except (TypeError, ValueError):
            return f"One number is expected, your function returned {type(value).__name__}."
        expected = math.sqrt(_variance(A, B, sigma, t) / (A + sigma**2))
        if not abs(got - expected) <= _SAME:
            case = f"For A = {A:g}, B = {B:g}, σ = {sigma:g} and t = {t:g} yours is {got:.3f}."
            return f"{case} {_stretch_hint(got, A, B, sigma, t)}"
    return None


def _variance(A: float, B: float, sigma: float, t: float) -> float:
    return A + (1 - t) ** 2 * sigma**2 + t**2 * (B - A)


def _stretch_hint(got: float, A: float, B: float, sigma: float, t: float) -> str:
    here, start, noise = _variance(A, B, sigma, t), A + sigma**2, sigma**2
    usual = [
        (here / start, "So much grows the variance; the numbers themselves grow by its root."),
        (math.sqrt(here / A), "The start has the noise in it too: at t = 0 the factor must be 1."),
        (math.sqrt(here), "That is the spread at time t; divide it by the spread at the start."),
        (
            math.sqrt((A + (1 - t) * noise + t * (B - A)) / start),
            "The line weighs values by 1 − t and t; their variances are weighed by the squares of both.",
        ),
        (
            math.sqrt(((1 - t) ** 2 * start + t**2 * B) / start),
            "That is a random partner's variance. Each guess goes to its own truth, of which it is a part: it stays, "
            "and t² weighs only what is missing.",
        ),
        (
            math.sqrt((A + (1 - t) ** 2 * noise + t**2 * B) / start),
            "The real variance B holds the guess already: what comes in with t is only B − A.",
        ),
        (
            1 - t + t * math.sqrt(B / start),
            "That is the OT weight's way, even in time. The flow ends there too, but it keeps another time-table.",
        ),
        (math.sqrt(B / start), "That is the factor at the end, t = 1. Where is the flow at time t?"),
        (
            math.sqrt((A + t**2 * (B - A)) / start),
            "The noise of the start has not gone before t = 1: the line still holds 1 − t of it.",
        ),
        (
            math.sqrt((A + (1 - t) ** 2 * sigma + t**2 * (B - A)) / (A + sigma)),
            "σ is a standard deviation; variances add.",
        ),
    ]
    for value, hint in usual:
        if abs(got - value) <= _SAME:
            return hint
    return (
        "Write down the variance of (1 − t)(guess + noise) + t · truth, with truth = guess + what is missing."
    )


@exercise("velocity")
def _velocity(answer: Any) -> str | None:
    """(denoise(z, t) − z) / (1 − t): what is left of the way over what is left of the time."""

    def denoise(z: Tensor, t: float) -> Tensor:
        return torch.tanh(z) + 0.3 * t + z.flip(1) / 4

    start = torch.tensor([[0.3, -0.2], [1.0, 0.5], [-0.7, 0.9]], dtype=torch.float64)
    for t in (0.5, 0.2, 0.9):
        given = start.clone()
        got = call(answer, denoise, given, t)
        if not isinstance(got, Tensor) or got.shape != start.shape:
            found = f"{tuple(got.shape)}" if isinstance(got, Tensor) else type(got).__name__
            return f"A tensor {tuple(start.shape)} is expected for z of that shape, yours returned {found}."
        if not torch.equal(given, start):
            return "Your function changes the z that it was given: write z = z + …, not z += …"
        error = float((got.double() - (denoise(start, t) - start) / (1 - t)).abs().max())
        if not error <= 1e-5:
            return f"At t = {t:g} it is off by up to {error:.2g}. {_velocity_hint(got.double(), denoise, start, t)}"
    return None


def _velocity_hint(got: Tensor, denoise: Denoiser, z: Tensor, t: float) -> str:
    end = denoise(z, t)
    usual = [
        (end, "That is a place, where the way is believed to end. A velocity is a way over a time."),
        (end - z, "That is the way that is left. How much time is left for it?"),
        (
            (end - z) / t,
            "You divide by the time that has passed; the way ahead must fit into the time ahead.",
        ),
        ((z - end) / (1 - t), "You are going backwards: from here to the end, not from the end to here."),
        ((end - z) * (1 - t), "Less time left means that you must go faster, not slower."),
        (end - z / (1 - t), "Both ends of the difference belong over 1 − t; yours divides z alone."),
        (
            (end - (1 - t) * z) / t,
            "That solves the line for its other end. Start from v = x − n, and replace n.",
        ),
        (
            (denoise(z, 1 - t) - z) / (1 - t),
            "You asked the denoiser about another time than the one you are at.",
        ),
    ]
    for value, hint in usual:
        if torch.allclose(got, value, atol=1e-6):
            return hint
    return "On the line z = (1 − t) n + t x: write x − n with z, x and t alone, and let the denoiser say x."
