"""The exercises of notebook 04: judge whether prices prove a plan optimal, and transport on a line without a solver."""

from typing import Any

import numpy as np
import torch

from otsr.course.exercises.checking import CHECKS, ask, call, described
from otsr.transport.sliced import wasserstein_1d

_STOPS = {
    "broadcast": "Look at the axes: plan.sum(1) has a number a row, as a has; and u goes down the rows, u[:, None].",
    "core dimension": "@ pairs a with u, and b with v; plan and cost go cell by cell, (plan * cost).sum().",
    "ambiguous": "Each comparison gives a whole table; .all() makes one True or False of it.",
}


def _judge(answer: Any) -> str | None:
    """A plan and prices prove each other: all is moved, no route is overcharged, income equals cost."""
    for arguments, honest, words in _submissions():
        verdict = call(answer, *(array.copy() for array in arguments), stops=_STOPS)
        if not isinstance(verdict, bool | np.bool_):
            table = " .all() makes one of many." if isinstance(verdict, np.ndarray) else ""
            return f"True or False is expected, your function returned {described(verdict)}.{table}"
        if bool(verdict) != honest:
            return f"Your judge {'accepts' if verdict else 'refuses'} {words}."
    return None


CHECKS["judge"] = _judge


def _submissions() -> list[tuple[tuple[np.ndarray, ...], bool, str]]:
    """(plan, cost, a, b, u, v), whether it is a proof, and what it is in words.

    Masses, prices and slack are whole numbers, so that only the fourth submission asks for a tolerance. The first four
    come in an order that tells the conditions apart: the plan's own, the prices', slack, and rounding.
    """
    random = np.random.default_rng(3)
    used = np.eye(5, 4) + np.eye(5, 4, -1)
    plan = used * random.integers(1, 5, (5, 4))
    a, b = plan.sum(1), plan.sum(0)
    u, v = (random.integers(1, 6, n) * (-1.0) ** np.arange(n) for n in (5, 4))  # of both signs
    tight = u[:, None] + v
    cost = tight + (1 - used) * random.integers(1, 9, (5, 4))

    def free(moved: np.ndarray) -> tuple[np.ndarray, ...]:
        """A submission in which nothing costs anything, so that only the plan itself can be at fault."""
        return moved, 0 * cost, a, b, 0 * u, 0 * v

    rounding = 1e-13 * random.standard_normal(5)
    short = plan.copy()
    short[:, 0] *= 0.5
    short[:, 1] += short[:, 0]
    tilt = np.array([0.05 / a[0], -0.05 / a[1], 0, 0, 0])
    circle, swap = np.zeros_like(plan), np.zeros_like(plan)
    circle[:2, 2:] = [[1, -1], [-1, 1]]
    swap[:2, 0] = [-1, 1]
    return [
        (free(plan), True, "a plan with all sums right, where no route costs anything: look at what you ask of plans"),
        ((plan, tight, a, b, u, v), True, "prices that add up to the cost on every route: look at the signs, and at "
         "the mass that pays each price"),
        ((plan, cost, a, b, u, v), True, "an optimal plan with its prices: unused routes may have slack"),
        ((plan / 7, cost, a / 7, b / 7, u + rounding, v), True,
         "an optimal plan with its prices after rounding, at 1e-13: compare with a tolerance"),
        ((plan, cost, a, b, u + 0.3, v - 0.3), True, "prices all shifted, u by +0.3 and v by −0.3: a proof too"),
        ((plan, cost, a, b, u - 0.01, v), False, "prices that earn less than the plan costs: they prove nothing"),
        ((np.outer(a, b) / a.sum(), cost, a, b, u, v), False, "a plan that costs more than the prices earn"),
        (free(0 * plan), False, "a plan that moves nothing: compare its sums with a and b"),
        (free(short), False, "a plan that fetches only half of the first pile, and the other half from the second"),
        (free(plan + swap), False, "a plan that fills the holes by wrong amounts"),
        ((plan, cost, a, b, u + tilt, v), False, "prices that overcharge a route and give it back on another"),
        (free(plan + circle), False, "a plan with negative masses: nobody can carry less than nothing"),
    ]  # fmt: skip


def _clouds(count: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.random.default_rng(4).standard_normal((2, count))
    return x, 2 * y + 1


def _of_sorting(x: np.ndarray, y: np.ndarray) -> list[tuple[Any, ...]]:
    gaps, ways = np.sort(x) - np.sort(y), (x[:, None] - y) ** 2
    return [
        (((x - y) ** 2).mean(), "You pair the numbers as they come; sort both first."),
        (((np.sort(x) - np.sort(y)[::-1]) ** 2).mean(),
         "One side is sorted upwards, the other downwards: the dearest plan of all."),
        ((gaps**2).sum(), "Each point has mass 1/n: take the squares' mean, not their sum."),
        (abs(gaps).mean(), "That is the cost |x − y|; here it is (x − y)²."),
        ((gaps**2).mean() ** 0.5, "That is W2; its square is asked for."),
        (gaps.mean() ** 2, abs(gaps).mean() ** 2, "Square each difference first, then take the mean."),
        (np.linalg.norm(gaps), "norm is the root of the squares' sum; their mean is asked for."),
        (gaps.var(), "var leaves out the mean difference, and that way has to be paid too."),
        ((np.sort(x) ** 2 - np.sort(y) ** 2).mean(), "First the difference, then its square."),
        (((np.sort(x) - y) ** 2).mean(), ((x - np.sort(y)) ** 2).mean(), "You sort one side only; sort both."),
        (ways.mean(), "That pairs each number with all; each goes to one place alone."),
        (ways.min(1).mean(), ways.min(0).mean(),
         "Each number goes to its nearest place; some places are taken twice, others stay empty."),
        (((x.argsort() - y.argsort()) ** 2).mean(),
         "argsort gives places in the list; it is the numbers that travel: np.sort."),
        ((x.mean() - y.mean()) ** 2 + (x.std() - y.std()) ** 2,
         "That is the formula for Gaussians; these are numbers, and every one has its own way."),
        ((gaps**2).mean() / 2, "The factor ½ belongs to WGAN-QC's cost, not to this one."),
    ]  # fmt: skip


ask(
    "sorted-transport",
    cases=lambda: [_clouds(7), _clouds(400)],
    right=lambda x, y: wasserstein_1d(torch.from_numpy(x), torch.from_numpy(y), p=2),
    mistakes=_of_sorting,
    otherwise="On a line optimal ways do not cross: the smallest goes to the smallest, the next to the next.",
    case="For {0.size} numbers on each side it should be {right:.4f}, yours is {got:.4f}.",
    shape_hint=lambda *_: "Those are the single ways; take the mean of their squares.",
    stops={
        "NoneType": "x.sort() sorts x itself and returns nothing; np.sort(x) returns a sorted copy.",
        "return_types.sort": "A tensor's sort() gives values and places; take its .values.",
        "must be Tensor": "x and y are NumPy arrays: np.sort(x).",
        "'list'": "sorted(x) is a list, which cannot be subtracted; np.sort(x) is an array.",
    },
)  # fmt: skip
