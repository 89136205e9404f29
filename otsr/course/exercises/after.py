"""The exercises of notebook 11: how far an exact flow stretches its start, and the velocity in a denoiser's answer."""

import math

import torch
from torch import Tensor

from otsr.course.exercises.checking import ask


def _now(A: float, B: float, s: float, t: float) -> float:
    """Variance at time t on the lines from guess + noise to truth, where guesses have A, truths B and noise s²."""
    return A + (1 - t) ** 2 * s**2 + t**2 * (B - A)


def _grown(variance: float, A: float, s: float) -> float:
    return math.sqrt(variance / (A + s**2))


ask(
    "stretch",
    cases=lambda: [
        (1.5, 4.0, 0.5, 0.5), (0.2, 1.0, 0.3, 1.0), (0.5, 0.9, 0.0, 0.25), (2.0, 3.0, 1.0, 0.0), (1.7, 2.8, 0.4, 0.7),
    ],
    right=lambda A, B, s, t: _grown(_now(A, B, s, t), A, s),
    mistakes=lambda A, B, s, t: [
        (_grown(_now(A, B, s, 1 - t), A, s),
         "You walk from the end to the start: at t = 0 only guess and noise are there, at t = 1 only the truth."),
        (1 / _grown(_now(A, B, s, t), A, s), "Upside down: divide the spread now by the spread at the start."),
        (_grown(A + (1 - t) ** 2 * s**2 + t * (B - A), A, s),
         "What is missing comes in with weight t, so its variance with t²."),
        (_grown((1 - t) ** 2 * (A + s**2) + t**2 * (B - A), A, s),
         "The guess is a part of its truth: it comes with 1 − t and with t, together whole."),
        (_grown(_now(A, B, s, t) + 2 * t**2 * A, A, s),
         "Check a sign: what the guess cannot know has the variance B − A."),
        (_now(A, B, s, t) / (A + s**2), "The variance grows by that factor, the numbers by its square root."),
        ((_now(A, B, s, t) / A) ** 0.5, "The start has noise too: at t = 0 the factor must be 1."),
        (_now(A, B, s, t) ** 0.5, "That is the spread at time t; divide it by that at the start."),
        (_grown(A + (1 - t) * s**2 + t * (B - A), A, s),
         "The line weighs values by 1 − t and t; their variances are weighed by the squares of both."),
        (_grown((1 - t) ** 2 * (A + s**2) + t**2 * B, A, s),
         "That is a random partner's variance. Each guess goes to its own truth, of which it is a part: it stays, "
         "and t² weighs only what is missing."),
        (_grown(_now(A, B, s, t) + t**2 * A, A, s),
         "The real variance B holds the guess already: what comes in with t is only B − A."),
        (1 - t + t * _grown(B, A, s),
         "That is the OT weight's way, even in time. The flow ends there too, but it keeps another timetable."),
        ((B / A) ** 0.5, "That is where a flow without noise ends. Yours starts with noise, and is only at time t."),
        (_grown(B, A, s), "That is the factor at the end, t = 1. Where is the flow at time t?"),
        (_grown(_now(A, B, 0, t), A, s),
         "The noise of the start has not gone before t = 1: the line still holds 1 − t of it."),
        (_grown(_now(A, B, s**0.5, t), A, s**0.5), "σ is a standard deviation; variances add."),
    ],
    otherwise="Write down the variance of (1 − t)(guess + noise) + t · truth, with truth = guess + what is missing.",
    case="For A = {0:.3g}, B = {1:.3g}, σ = {2:.3g} and t = {3:.3g} yours is {got:.3f}.",
)  # fmt: skip


def _denoise(z: Tensor, t: float) -> Tensor:
    return torch.tanh(z) + 0.3 * t + z.flip(1) / 4


def _places() -> Tensor:
    return torch.randn(3, 2, generator=torch.Generator().manual_seed(11), dtype=torch.float64)


ask(
    "velocity",
    cases=lambda: [(_denoise, _places(), t) for t in (0.4, 0.25, 0.9, 0.0)],
    right=lambda f, z, t: (f(z, t) - z) / (1 - t),
    mistakes=lambda f, z, t: [
        (f(z, t), "That is a place, where the way is thought to end. A velocity is a way over a time."),
        (f(z, t) - z, "That is the way that is left. How much time is left for it?"),
        ((f(z, t) - z) / max(t, 1e-9),
         "You divide by the time that has passed; the way ahead must fit into the time ahead."),
        ((z - f(z, t)) / (1 - t), "You are going backwards: go from here to the end."),
        ((z - t * f(z, t)) / (1 - t), "That is n, where the line began; the velocity is x − n."),
        ((f(z, t) - z) / (1 + t), "Check a sign: how much time is left at t?"),
        ((f(z, t) - z) * (1 - t), "Less time left means that you must go faster, not slower."),
        (f(z, t) - z / (1 - t), "The whole difference belongs over 1 − t; yours divides z alone."),
        ((f(z, t) - (1 - t) * z) / max(t, 1e-9),
         "That solves the line for its other end. Start from v = x − n, and replace n."),
        ((f(z, 1 - t) - z) / (1 - t), "You asked the denoiser about another time than your own."),
    ],
    otherwise="On the line z = (1 − t) n + t x: write x − n with z, x and t alone, and let the denoiser say x.",
    case="At t = {2:g} it is off by up to {off:.2g}.",
)  # fmt: skip
