"""The exercises of notebook 04: judge whether prices prove a plan optimal, and transport on a line without a solver."""

from __future__ import annotations

from typing import Any

import numpy as np
import ot
import torch

from otsr.course.exercises.checking import CHECKS, ask, call, described
from otsr.transport.sliced import wasserstein_1d

_AXES = "Look at the axes: plan.sum(1) has a number a row, as a has; and u goes down the rows, u[:, None]."


def _judge(answer: Any) -> str | None:
    """A plan and prices prove each other: all is moved, no route is overcharged, income equals cost."""
    for arguments, honest, words in _submissions():
        verdict = call(answer, *(array.copy() for array in arguments), stops={"broadcast": _AXES})
        if not isinstance(verdict, bool | np.bool_):
            return f"True or False is expected, your function returned {described(verdict)}."
        if bool(verdict) != honest:
            return f"Your judge {'accepts' if verdict else 'refuses'} {words}."
    return None


CHECKS["judge"] = _judge


def _submissions() -> list[tuple[tuple[np.ndarray, ...], bool, str]]:
    """(plan, cost, a, b, u, v), whether it is a proof, and what it is in words."""
    random = np.random.default_rng(3)
    a, b = random.dirichlet(np.full(5, 4.0)), random.dirichlet(np.full(4, 4.0))
    cost = (random.random((5, 1)) - random.random(4)) ** 2
    plan, log = ot.emd(a, b, cost, log=True)
    u, v = log["u"], log["v"]

    def free(moved: np.ndarray) -> tuple[np.ndarray, ...]:
        """A submission in which nothing costs anything, so that only the plan itself can be at fault."""
        return moved, 0 * cost, a, b, 0 * u, 0 * v

    rounding = 1e-13 * random.standard_normal(5)
    short = plan.copy()
    short[:, 0] *= 0.5
    short[:, 1] += short[:, 0]
    tilt = np.array([0.05 / a[0], -0.05 / a[1], 0, 0, 0])
    circle = np.zeros_like(plan)
    circle[:2, :2] = [[1, -1], [-1, 1]]
    return [
        ((plan, cost, a, b, u + rounding, v), True, "an optimal plan with its prices (after rounding, at 1e-13)"),
        ((plan, cost, a, b, u + 0.3, v - 0.3), True, "prices all shifted, u by +0.3 and v by −0.3: a proof too"),
        ((plan, cost, a, b, u - 0.01, v), False, "prices that earn less than the plan costs: they prove nothing"),
        ((np.outer(a, b), cost, a, b, u, v), False, "a plan that costs more than the prices earn"),
        (free(0 * plan), False, "a plan that moves nothing: compare its sums with a and b"),
        (free(short), False, "a plan that fetches only half of the first pile, and the other half from the second"),
        (free(np.outer(a[::-1], b)), False, "a plan that fills the holes by wrong amounts"),
        ((plan, cost, a, b, u + tilt, v), False, "prices that overcharge a route and give it back on another"),
        (free(plan + circle), False, "a plan with negative masses: nobody can carry less than nothing"),
    ]  # fmt: skip


def _clouds(count: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.random.default_rng(4).standard_normal((2, count))
    return x, 2 * y + 1


def _gaps(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.sort(x) - np.sort(y)


ask(
    "sorted-transport",
    cases=lambda: [_clouds(7), _clouds(400)],
    right=lambda x, y: wasserstein_1d(torch.from_numpy(x), torch.from_numpy(y), p=2),
    mistakes=[
        (lambda x, y: np.mean((x - y) ** 2), "You pair the numbers as they come; sort both first."),
        (lambda x, y: np.mean((np.sort(x) - np.sort(y)[::-1]) ** 2),
         "One side is sorted upwards, the other downwards: the dearest plan of all."),
        (lambda x, y: np.sum(_gaps(x, y) ** 2), "Each point has mass 1/n: take the squares' mean, not their sum."),
        (lambda x, y: np.mean(np.abs(_gaps(x, y))), "That is the cost |x − y|; here it is (x − y)²."),
        (lambda x, y: np.sqrt(np.mean(_gaps(x, y) ** 2)), "That is W2; its square is asked for."),
        (lambda x, y: np.mean(_gaps(x, y)) ** 2, "Square each difference first, then take the mean."),
        (lambda x, y: np.mean((np.argsort(x) - np.argsort(y)) ** 2),
         "argsort gives places in the list; it is the numbers that travel: np.sort."),
        (lambda x, y: (x.mean() - y.mean()) ** 2 + (x.std() - y.std()) ** 2,
         "That is the formula for Gaussians; these are numbers, and every one has its own way."),
        (lambda x, y: np.mean(_gaps(x, y) ** 2) / 2, "The factor ½ belongs to WGAN-QC's cost, not to this one."),
    ],
    otherwise="On a line optimal ways do not cross: the smallest goes to the smallest, the next to the next.",
    case="For {0.size} numbers on each side it should be {right:.4f}, yours is {got:.4f}.",
    shape_hint=lambda *_: "Those are the single ways; take the mean of their squares.",
    stops={
        "NoneType": "x.sort() sorts x itself and returns nothing; np.sort(x) returns a sorted copy.",
        "'list'": "sorted(x) is a list, which cannot be subtracted; np.sort(x) is an array.",
    },
)  # fmt: skip
