"""The exercises of notebook 03: the p-value of a permutation test, and the Wasserstein distance on the line."""

from __future__ import annotations

from typing import Any

import numpy as np

from otsr.course.exercises.checking import StoppedError, call, exercise


@exercise("p-value")
def _p_value(answer: Any) -> str | None:
    """p = (1 + #{shuffled ≥ observed}) / (1 + #shuffled): the observed order is one of the possible shuffles."""
    shuffled = np.array([0.4, 0.9, 0.5, 0.7, 0.6, 0.5, 0.3, 0.2, 0.6])
    for observed in (0.6, 1.0, 0.85, 0.1):  # with the first, each usual mistake gives another number
        got = _number(call(answer, observed, shuffled.copy()))
        if isinstance(got, str):
            return got
        expected = (1 + np.sum(shuffled >= observed)) / 10
        if not abs(got - expected) <= 1e-9:
            larger = int(np.sum(shuffled >= observed))
            asked = (
                f"Observed {observed}, and {larger} of 9 shuffles are at least as large: yours is {got:.3g}."
            )
            return f"{asked} {_p_value_hint(got, observed, shuffled)}"
    return None


def _p_value_hint(got: float, observed: float, shuffled: np.ndarray) -> str:
    count, n = int(np.sum(shuffled >= observed)), len(shuffled)
    strictly, below = int(np.sum(shuffled > observed)), int(np.sum(shuffled <= observed))
    usual = [
        (
            count / n,
            "The order that you observed is one of the possible ones: count it too, above and below.",
        ),
        (count / (n + 1), "You counted the observed order below, but not above."),
        ((count + 1) / n, "You counted the observed order above, but not below."),
        ((strictly + 1) / (n + 1), "A shuffle that is exactly as large speaks against you as well."),
        (
            strictly / n,
            "Shuffles that are exactly as large count too, and so does the observed order itself.",
        ),
        ((below + 1) / (n + 1), "You counted the other side: a LARGE distance speaks for a difference."),
        (below / n, "You counted the other side: a LARGE distance speaks for a difference."),
        (float(count), "That is how many; a p-value is a share of all orders."),
        (float(count + 1), "That is how many; a p-value is a share of all orders."),
    ]
    return next(
        (hint for value, hint in usual if abs(got - value) < 1e-9),
        "It is the share of all orders, observed and shuffled, whose distance is at least the observed one.",
    )


@exercise("line")
def _line(answer: Any) -> str | None:
    """W1 between n and k·n numbers of equal weight: mean |sorted(each of the n, k times) − sorted|."""
    for few, many in (
        ([0.0, 4.0], [6.0, -1.0]),
        ([3.0, -1.0, 0.5], [0.2, 4.0, -2.0, 1.0, 2.5, -0.5]),
        ([2.0], [7.0, 1.0, 0.0]),
    ):
        a, b = np.array(few), np.array(many)
        try:
            got = _number(call(answer, a.copy(), b.copy()))
        except StoppedError as error:
            lengths = "broadcast" in str(error)
            return f"{error}.{' Give the shorter list as many entries as the longer one.' if lengths else ''}"
        if isinstance(got, str):
            return got
        expected = float(abs(np.sort(np.repeat(a, len(b) // len(a))) - np.sort(b)).mean())
        if not abs(got - expected) <= 1e-6:
            asked = f"Between {few} and {many} it is {expected:.3f}, yours is {got:.3f}."
            return f"{asked} {_line_hint(got, a, b)}"
    return None


def _line_hint(got: float, a: np.ndarray, b: np.ndarray) -> str:
    repeated = np.repeat(a, len(b) // len(a))
    gaps = np.sort(repeated) - np.sort(b)
    usual = [
        (abs(gaps.mean()), "That is the distance of the means; take absolute values before you average."),
        (gaps.mean(), "Gaps to the left and to the right cancel: a distance has no sign."),
        (abs(gaps).sum(), "That is the sum; each number carries the same share of a mass of 1."),
        ((gaps**2).mean(), "You squared the gaps: here the cost is the distance itself."),
        (
            np.sqrt((gaps**2).mean()),
            "You squared the gaps and took the root: that is W2. Here the cost is the distance itself.",
        ),
        (abs(repeated - b).mean(), "Sort both first: smallest to smallest is the cheapest way to pair."),
        (
            abs(np.sort(np.tile(a, len(b) // len(a))) - b).mean(),
            "Sort both first: smallest to smallest is the cheapest way to pair.",
        ),
        (abs(a[:, None] - b).mean(), "That pairs everyone with everyone; each needs one partner only."),
    ]
    return next(
        (hint for value, hint in usual if abs(got - value) < 1e-6),
        "Give the shorter list as many entries as the longer one, sort both, and pair them in order.",
    )


def _number(value: Any) -> float | str:
    """The number that an answer is, or what to say when it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return f"One number is expected, your function returned {type(value).__name__}."
