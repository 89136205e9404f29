"""The exercises of notebook 06: the OT weight that a loss in decibels buys, and what a coin would have voted."""

from __future__ import annotations

import math
from typing import Any

from otsr.course.exercises.checking import call, exercise

_SAME = 1e-6


@exercise("budget")
def _budget(answer: Any) -> str | None:
    """The largest t in [0, 1] with 10·log10((D* + (t·P*)²) / D*) ≤ decibels: t = min(1, √(D*(10^(dB/10) − 1)) / P*)."""
    for decibels, D_star, P_star in ((1.0, 0.2, 0.9), (0.5, 0.24, 0.41), (0.0, 0.2, 0.3), (3.0, 0.1, 0.2)):
        got = _number(call(answer, decibels, D_star, P_star))
        if isinstance(got, str):
            return got
        bought = math.sqrt(D_star * (10 ** (decibels / 10) - 1)) / P_star
        if not abs(got - min(1.0, bought)) <= _SAME:
            asked = f"With {decibels:g} dB to spend, D* = {D_star:g} and P* = {P_star:g} yours is {got:.3f}."
            return f"{asked} {_budget_hint(got, decibels, D_star, P_star, bought)}"
    return None


def _budget_hint(got: float, decibels: float, D_star: float, P_star: float, bought: float) -> str:
    ratio = 10 ** (decibels / 10)
    spent = (got * P_star) ** 2
    usual = [
        (bought, "More than the whole way is not on offer: a weight ends at 1."),
        (bought**2, "(t P*)² is what you may add to D*: the root is missing."),
        (D_star * (ratio - 1) / P_star, "(t P*)² is what you may add to D*: the root is missing."),
        (1 - min(1.0, bought), "That is the weight of the best guess; the OT weight is the rest."),
        (
            math.sqrt(D_star * (10 ** (decibels / 20) - 1)) / P_star,
            "D is a mean square already: 10 dB are a factor of 10, not 20 dB.",
        ),
        (
            math.sqrt(D_star * ratio) / P_star,
            "That is the whole D that you may have; D* of it is there before you carry anything.",
        ),
        (math.sqrt(D_star * (ratio - 1)), "That is a distance; the weight is its share of P*."),
        (
            math.sqrt(ratio - 1) / P_star,
            "Decibels are a ratio: they multiply D*, whatever its size.",
        ),
    ]
    for value, hint in usual:
        if abs(got - min(1.0, value)) <= _SAME or abs(got - value) <= _SAME:
            return hint
    lost = 10 * math.log10((D_star + spent) / D_star)
    return f"That weight costs {lost:.2f} dB: put it into D = D* + (t P*)² and compare with D*."


@exercise("coin")
def _coin(answer: Any) -> str | None:
    """The chance that a fair coin, thrown n times, gives at least k: Σ_{j ≥ k} C(n, j) / 2ⁿ."""
    for k, n in ((4, 6), (6, 6), (0, 4), (14, 20), (3, 6)):
        got = _number(call(answer, k, n))
        if isinstance(got, str):
            return got
        expected = sum(math.comb(n, j) for j in range(k, n + 1)) / 2**n
        if not abs(got - expected) <= _SAME:
            return f"For {k} of {n} yours is {got:.4g}. {_coin_hint(got, k, n, expected)}"
    return None


def _coin_hint(got: float, k: int, n: int, expected: float) -> str:
    exactly = math.comb(n, k) / 2**n
    usual = [
        (expected - exactly, "A coin that gives exactly as many is as good as you: count it too."),
        (exactly, "That is the chance of exactly so many; more would have impressed you as well."),
        (1 - expected, "That is the chance of fewer. A small number shall speak against the coin."),
        (1 - expected + exactly, "You summed the other side: at most so many. It is at least that counts."),
        (min(1.0, 2 * expected), "You counted both sides. The question here is about one: at least so many."),
        (2 * expected, "You counted both sides. The question here is about one: at least so many."),
        (expected * 2**n, "That is how many sequences; a chance is a share of all of them."),
        (0.5**k, "That is one sequence of k throws; k of n can come in many orders."),
        (0.5**n, "That is one single sequence; k of n can come in many orders."),
    ]
    near = (hint for value, hint in usual if abs(got - value) <= _SAME)
    return next(near, "Count the sequences of n throws with at least k heads, and divide by all of them.")


def _number(value: Any) -> float | str:
    try:
        return float(value)
    except (TypeError, ValueError):
        return f"One number is expected, your function returned {type(value).__name__}."
