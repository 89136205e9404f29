"""The exercises of notebook 11 tell the usual mistakes apart."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch


def now(A: float, B: float, s: float, t: float) -> float:
    return A + (1 - t) ** 2 * s**2 + t**2 * (B - A)


WRONG: dict[str, list[tuple[Any, str]]] = {
    "stretch": [
        (lambda A, B, s, t: now(A, B, s, t) / (A + s**2), "the numbers by its square root"),
        (lambda A, B, s, t: math.sqrt(now(A, B, s, t) / A), "at t = 0 the factor must be 1"),
        (lambda A, B, s, t: math.sqrt(now(A, B, s, t)), "the spread at time t"),
        (lambda A, B, s, t: math.sqrt((A + (1 - t) * s**2 + t * (B - A)) / (A + s**2)), "squares of both"),
        (lambda A, B, s, t: math.sqrt((1 - t) ** 2 + t**2 * B / (A + s**2)), "random partner"),
        (lambda A, B, s, t: math.sqrt((now(A, B, s, t) + t**2 * A) / (A + s**2)), "only B − A"),
        (lambda A, B, s, t: 1 - t + t * math.sqrt(B / (A + s**2)), "the OT weight's way"),
        (lambda A, B, s, t: math.sqrt(B / A), "a flow without noise ends"),
        (lambda A, B, s, t: math.sqrt(B / (A + s**2)), "Where is the flow at time t?"),
        (lambda A, B, s, t: math.sqrt(now(A, B, 0, t) / (A + s**2)), "has not gone before t = 1"),
        (lambda A, B, s, t: math.sqrt(now(A, B, math.sqrt(s), t) / (A + s)), "variances add"),
        (lambda A, B, s, t: math.sqrt(now(A, B, s, 1 - t) / (A + s**2)), "from the end to the start"),
        (lambda A, B, s, t: math.sqrt((A + s**2) / now(A, B, s, t)), "Upside down"),
        (lambda A, B, s, t: math.sqrt((now(A, B, s, t) + (t - t**2) * (B - A)) / (A + s**2)), "with t²"),
        (lambda A, B, s, t: math.sqrt((now(A, B, s, t) + (t**2 - 2 * t) * A) / (A + s**2)), "together whole"),
        (
            lambda A, B, s, t: math.sqrt((now(A, B, s, t) + 2 * t**2 * A) / (A + s**2)),
            "has the variance B − A",
        ),
        (lambda A, B, s, t: 7.0, "Write down the variance"),
        (lambda A, B, s, t: float("nan"), "Write down the variance"),
    ],
    "velocity": [
        (lambda f, z, t: (z - t * f(z, t)) / (1 - t), "where the line began"),
        (lambda f, z, t: (f(z, t) - z) / (1 + t), "Check a sign"),
        (lambda f, z, t: f(z, t), "A velocity is a way over a time"),
        (lambda f, z, t: f(z, t) - z, "How much time is left"),
        (lambda f, z, t: (f(z, t) - z) / t, "the time that has passed"),
        (lambda f, z, t: (z - f(z, t)) / (1 - t), "going backwards"),
        (lambda f, z, t: (f(z, t) - z) * (1 - t), "go faster"),
        (lambda f, z, t: f(z, t) - z / (1 - t), "divides z alone"),
        (lambda f, z, t: (f(z, t) - (1 - t) * z) / t, "its other end"),
        (lambda f, z, t: (f(z, 1 - t) - z) / (1 - t), "another time"),
        (lambda f, z, t: z * 0, "with z, x and t alone"),
        (lambda f, z, t: (f(z, t) - z.mul_(2)) / (1 - t), "changes what it was given"),
        (lambda f, z, t: f(z, t)[0], "A tensor (3, 2) is expected"),
    ],
}
RIGHT: list[tuple[str, Any]] = [
    ("stretch", lambda A, B, s, t: math.sqrt(now(A, B, s, t) / (A + s**2))),
    ("velocity", lambda f, z, t: (f(z, t) - z) / (1 - t)),
]


def test_the_stretch_that_is_asked_for_is_that_of_many_drawn_numbers() -> None:
    draw = torch.randn(3, 400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    A, B, s, t = 0.7, 2.0, 0.4, 0.6
    start = math.sqrt(A) * draw[0] + s * draw[1]
    truth = math.sqrt(A) * draw[0] + math.sqrt(B - A) * draw[2]
    spread = ((1 - t) * start + t * truth).std() / start.std()
    assert float(spread) == pytest.approx(dict(RIGHT)["stretch"](A, B, s, t), rel=0.01)
