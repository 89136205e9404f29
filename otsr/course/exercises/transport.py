"""The exercises of notebook 04: judge whether prices prove a plan optimal, and transport on a line without a solver."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import ot
import torch

from otsr.course.exercises.checking import call, exercise
from otsr.transport.sliced import wasserstein_1d

Case = tuple[tuple[np.ndarray, ...], bool, str]


@exercise("judge")
def _judge(answer: Any) -> str | None:
    """A plan and prices prove each other: all is moved, no route is overcharged, income equals cost."""
    for arguments, honest, words in _submissions():
        verdict = call(answer, *(array.copy() for array in arguments))
        if not isinstance(verdict, bool | np.bool_):
            kind = type(verdict).__name__
            return f"True or False is expected, your function returned {kind}."
        if bool(verdict) != honest:
            return f"Your judge {'accepts' if verdict else 'refuses'} {words}."
    return None


def _submissions() -> Iterator[Case]:
    """(plan, cost, a, b, u, v), whether it is a proof, and what it is in words."""
    random = np.random.default_rng(3)
    a, b = random.dirichlet(np.full(5, 4.0)), random.dirichlet(np.full(4, 4.0))
    cost = (random.random((5, 1)) - random.random(4)) ** 2
    plan, log = ot.emd(a, b, cost, log=True)
    u, v = log["u"], log["v"]
    rounding = 1e-13 * random.standard_normal(5)
    yield (
        (plan, cost, a, b, u + rounding, v),
        True,
        "an optimal plan with its prices (after rounding, at 1e-13)",
    )
    yield (
        (plan, cost, a, b, u + 0.3, v - 0.3),
        True,
        "prices that are all shifted, u by +0.3 and v by −0.3: a proof too",
    )
    yield (
        (plan, cost, a, b, u - 0.01, v),
        False,
        "prices that earn less than the plan costs: they prove nothing",
    )
    yield (np.outer(a, b), cost, a, b, u, v), False, "a plan that costs more than the prices earn"
    yield (
        (0 * plan, 0 * cost, a, b, 0 * u, 0 * v),
        False,
        "a plan that moves nothing: compare its sums with a and b",
    )
    short = plan.copy()
    short[:, 0] *= 0.5
    short[:, 1] += short[:, 0]
    words = "a plan that fetches only half of the first pile, and the other half from the second"
    yield (short, 0 * cost, a, b, 0 * u, 0 * v), False, words
    wrong = np.outer(a[::-1], b)
    yield (wrong, 0 * cost, a, b, 0 * u, 0 * v), False, "a plan that fills the holes by wrong amounts"
    tilt = np.zeros(5)
    tilt[0], tilt[1] = 0.05 / a[0], -0.05 / a[1]
    yield (plan, cost, a, b, u + tilt, v), False, "prices that overcharge a route and give it back on another"
    circle = np.zeros_like(plan)
    circle[:2, :2] = [[1, -1], [-1, 1]]
    yield (
        (plan + circle, 0 * cost, a, b, 0 * u, 0 * v),
        False,
        "a plan with negative masses: its sums are right, yet nobody can carry less than nothing",
    )


@exercise("sorted-transport")
def _sorted_transport(answer: Any) -> str | None:
    """W2² between equally many numbers on the line: sort both, pair, mean square."""
    random = np.random.default_rng(4)
    for count in (7, 400):
        x, y = random.standard_normal(count), 2 * random.standard_normal(count) + 1
        expected = float(wasserstein_1d(torch.from_numpy(x), torch.from_numpy(y), p=2))
        value = call(answer, x.copy(), y.copy())
        try:
            got = float(value)
        except (TypeError, ValueError):
            return f"One number is expected, your function returned {type(value).__name__}."
        if abs(got - expected) > 1e-9:
            hint = _sorting_hint(got, x, y)
            return f"For {count} numbers on each side it should be {expected:.4f}, yours is {got:.4f}. {hint}"
    return None


def _sorting_hint(got: float, x: np.ndarray, y: np.ndarray) -> str:
    p, q = np.sort(x), np.sort(y)
    usual = [
        (np.mean((x - y) ** 2), "You pair the numbers as they come; sort both first."),
        (
            np.mean((p - q[::-1]) ** 2),
            "One side is sorted upwards, the other downwards: the dearest plan of all.",
        ),
        (np.sum((p - q) ** 2), "Each point carries mass 1/n: take the mean of the squares, not their sum."),
        (np.mean(np.abs(p - q)), "That is the cost |x − y|; here it is (x − y)²."),
        (np.sqrt(np.mean((p - q) ** 2)), "That is W2; its square is asked for."),
        (np.mean(p - q) ** 2, "Square each difference, then take the mean: not the other way round."),
        (np.mean((p - q) ** 2) / 2, "The factor ½ belongs to WGAN-QC's cost, not to this one."),
    ]
    for value, hint in usual:
        if abs(got - value) < 1e-9 * max(1.0, abs(value)):
            return hint
    return "On a line optimal ways do not cross: the smallest goes to the smallest, the next to the next."
