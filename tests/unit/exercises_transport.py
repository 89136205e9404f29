"""Answers to the exercises of notebooks 04, 06 and 07 that no table holds: judges, errors, other right ways."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.stats import binom
from torch import Tensor

Array = np.ndarray
KEPT = {"weights", "average", "adam", "step", "recipe"}


def judge(
    plan: Array,
    cost: Array,
    a: Array,
    b: Array,
    u: Array,
    v: Array,
    without: str = "",
    rounding: float = 1e-9,
) -> bool:
    """The right judge, or one that forgets a condition."""
    conditions = {
        "sign": (plan >= -rounding).all(),
        "rows": np.abs(plan.sum(1) - a).max() <= rounding,
        "columns": np.abs(plan.sum(0) - b).max() <= rounding,
        "routes": (u[:, None] + v <= cost + rounding).all(),
        "income": abs(a @ u + b @ v - (plan * cost).sum()) <= rounding,
    }
    return bool(all(held for name, held in conditions.items() if name != without))


def by_slackness(plan: Array, cost: Array, a: Array, b: Array, u: Array, v: Array) -> bool:
    """Right too: complementary slackness in place of income, where anything moves at all."""
    slack = np.abs((cost - u[:, None] - v)[plan > 1e-9])
    return bool(plan.any()) and judge(plan, cost, a, b, u, v, without="income") and bool(slack.max() < 1e-9)


def forgetting(condition: str) -> Callable[..., bool]:
    return lambda *arguments: judge(*arguments, without=condition)


def paired(x: Array, y: Array) -> Array:
    return np.sort(x) - np.sort(y)


def ratio(decibels: float) -> float:
    return 10 ** (decibels / 10)


def cut(values: Tensor, k: int) -> Tensor:
    """(B, C, windows, k²), by another way than the solution's."""
    return values.unfold(2, k, k).unfold(3, k, k).flatten(4).flatten(2, 3)


def moved(x: Tensor, y: Tensor) -> Tensor:
    return (x.sort().values - y.sort().values).abs()


def pieces(values: Tensor, k: int) -> Tensor:
    return values.reshape(*values.shape[:2], -1, k * k)


def rows(values: Tensor, k: int) -> Tensor:
    return values.unfold(2, k, k).unfold(3, k, k)


def heap(values: Tensor, k: int) -> Tensor:
    return cut(values, k).transpose(1, 2).flatten(2)


WRONG: dict[str, list[tuple[Any, str]]] = {
    "judge": [
        (forgetting("sign"), "accepts a plan with negative masses"),
        (forgetting("rows"), "accepts a plan that fills the holes by wrong amounts"),
        (forgetting("columns"), "accepts a plan that fetches only half of the first pile"),
        (forgetting("routes"), "accepts prices that overcharge a route"),
        (forgetting("income"), "accepts prices that earn less than the plan costs"),
        (
            lambda *arguments: judge(*arguments, rounding=0.0),
            "after rounding, at 1e-13: compare with a tolerance",
        ),
        (lambda plan, *rest: bool((plan > 0).all()) and judge(plan, *rest), "look at what you ask of plans"),
        (lambda plan, cost, a, b, u, v: judge(plan, cost, a, b, u, -v), "look at the signs"),
        (
            lambda plan, cost, a, b, u, v: bool(np.isclose(u.sum() + v.sum(), (plan * cost).sum())),
            "the mass that pays each price",
        ),
        (lambda plan, cost, a, b, u, v: np.allclose(u[:, None] + v, cost), "unused routes may have slack"),
        (lambda plan, cost, a, b, u, v: False, "refuses a plan with all sums right"),
        (lambda plan, cost, a, b, u, v: True, "accepts prices that earn less"),
        (lambda plan, cost, a, b, u, v: plan.sum(), "True or False is expected"),
        (lambda plan, cost, a, b, u, v: u[:, None] + v <= cost, ".all() makes one of many"),
        (lambda plan, cost, a, b, u, v: np.allclose(plan.sum(0), a), "Look at the axes"),
        (lambda plan, cost, a, b, u, v: (plan @ cost).sum() == 0, "(plan * cost).sum()"),
        (lambda plan, cost, a, b, u, v: (plan >= 0) and True, "one True or False of it"),
    ],
    "sorted-transport": [
        (lambda x, y: paired(x, y) ** 2, "take the mean of their squares"),
        (lambda x, y: x.sort() - y.sort(), "np.sort(x) returns a sorted copy"),
        (lambda x, y: sorted(x) - sorted(y), "np.sort(x) is an array"),
        (lambda x, y: torch.from_numpy(x).sort() - torch.from_numpy(y).sort(), "take its .values"),
        (lambda x, y: torch.sort(x), "x and y are NumPy arrays"),
        (lambda x, y: (x.sort(), y.sort(), ((x - y) ** 2).mean())[-1], "as x += … and x.sort() do"),
    ],
    "budget": [
        (lambda d, D, P: math.sqrt(D * (ratio(-d) - 1)) / P, "came out negative"),
        (lambda d, D, P: math.sqrt(D * ratio(d) - 1) / P, "look at signs and brackets"),
        (lambda d, D, P: min(1, P / math.sqrt(D * (ratio(d) - 1))), "or turn the fraction over"),
        (lambda d, D, P: torch.sqrt(D * (ratio(d) - 1)) / P, "These are plain numbers"),
    ],
    "windows": [
        (lambda x, y, k: moved(cut(x, k), cut(y, k)).mean(), "the loss divides it by the mean size of HR"),
        (lambda x, y, k: moved(x.flatten(2), y.flatten(2)).mean() / y.abs().mean(), "over the whole crop"),
        (lambda x, y, k: (x - y).abs().mean() / y.abs().mean(), "place by place"),
        (lambda x, y, k: moved(pieces(x, k), pieces(y, k)).mean() / y.abs().mean(), "not squares"),
        (lambda x, y, k: moved(rows(x, k), rows(y, k)).mean() / y.abs().mean(), "each row of a window"),
        (lambda x, y, k: moved(heap(x, k), heap(y, k)).mean() / y.abs().mean(), "sorted on its own"),
        (
            lambda x, y, k: moved(cut(x, k), cut(y, k)).square().mean() / y.abs().mean(),
            "You square the distance",
        ),
        (lambda x, y, k: moved(cut(x, k), cut(y, k)).sum() / y.abs().mean(), "a sum grows with the size"),
        (lambda x, y, k: moved(cut(x, k), cut(y, k)).mean() / x.abs().mean(), "not of SR's"),
        (lambda x, y, k: 0.5, "do it on paper"),
        (lambda x, y, k: float("nan"), "do it on paper"),
    ],
    "checkpoint": [
        (KEPT - {"weights"}, "nothing to go on with"),
        (KEPT - {"average"}, "it remembers many"),
        (KEPT - {"adam"}, "Adam's memory"),
        (KEPT - {"step"}, "functions of a number"),
        (KEPT - {"recipe"}, "changed the recipe"),
        (KEPT | {"batches"}, "made again from the seed and the step"),
        (KEPT | {"rate"}, "a function of the step and the recipe"),
        (KEPT | {"gradients"}, "computed anew in each step"),
        (KEPT | {"optimizer"}, "'optimizer' is not one of the eight words"),
        ("weights", "A set of words is expected"),
        (5, "A set of words is expected"),
    ],
}
RIGHT: list[tuple[str, Any]] = [
    ("judge", judge),
    ("judge", by_slackness),
    ("sorted-transport", lambda x, y: (paired(x, y) ** 2).mean()),
    ("budget", lambda d, D, P: min(1, math.sqrt(D * (ratio(d) - 1)) / P)),
    ("coin", lambda k, n: binom.sf(k - 1, n, 0.5)),
    ("windows", lambda x, y, k: moved(cut(x, k), cut(y, k)).mean() / y.abs().mean()),
    ("windows", lambda x, y, k: float(moved(cut(x, k), cut(y, k)).mean() / y.abs().mean())),
    *(("checkpoint", kept) for kept in (KEPT, sorted(KEPT), lambda: KEPT, lambda: tuple(KEPT))),
]
