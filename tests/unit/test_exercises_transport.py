"""The exercises of notebook 04: right answers pass, and each usual slip is told apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from otsr.course import exercises

Array = np.ndarray


def said(capsys: pytest.CaptureFixture[str], name: str, answer: Any) -> str:
    exercises.check(name, answer)
    return capsys.readouterr().out


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


def test_a_right_judge_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "judge", judge) == "judge: correct\n"


def test_a_judge_by_complementary_slackness_is_right_too(capsys: pytest.CaptureFixture[str]) -> None:
    def by_slackness(plan: Array, cost: Array, a: Array, b: Array, u: Array, v: Array) -> bool:
        slack = cost - u[:, None] - v
        return judge(plan, cost, a, b, u, v, without="income") and bool(
            np.abs(slack[plan > 1e-9]).max() < 1e-9
        )

    def that_moves_nothing_safely(plan: Array, *others: Array) -> bool:
        return bool(plan.any()) and by_slackness(plan, *others)

    assert said(capsys, "judge", that_moves_nothing_safely) == "judge: correct\n"


def forgetting(condition: str) -> Callable[..., bool]:
    return lambda *arguments: judge(*arguments, without=condition)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (forgetting("sign"), "accepts a plan with negative masses"),
        (forgetting("rows"), "accepts a plan that fills the holes by wrong amounts"),
        (forgetting("columns"), "accepts a plan that fetches only half of the first pile"),
        (forgetting("routes"), "accepts prices that overcharge a route"),
        (forgetting("income"), "accepts prices that earn less than the plan costs"),
        (lambda *arguments: judge(*arguments, rounding=0.0), "refuses an optimal plan with its prices"),
        (lambda plan, cost, a, b, u, v: False, "refuses an optimal plan"),
        (lambda plan, cost, a, b, u, v: plan.sum(), "True or False is expected"),
        (lambda plan: True, "stopped with TypeError"),
    ],
)
def test_each_forgotten_condition_has_its_own_message(
    capsys: pytest.CaptureFixture[str], wrong: Any, hint: str
) -> None:
    out = said(capsys, "judge", wrong)
    assert out.startswith("judge: not yet.")
    assert hint in out


def paired(x: Array, y: Array) -> Array:
    return np.sort(x) - np.sort(y)


def test_a_right_distance_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    right = said(capsys, "sorted-transport", lambda x, y: (paired(x, y) ** 2).mean())
    assert right == "sorted-transport: correct\n"


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda x, y: ((x - y) ** 2).mean(), "sort both first"),
        (lambda x, y: ((np.sort(x) - np.sort(y)[::-1]) ** 2).mean(), "the dearest plan of all"),
        (lambda x, y: (paired(x, y) ** 2).sum(), "not their sum"),
        (lambda x, y: np.abs(paired(x, y)).mean(), "That is the cost |x − y|"),
        (lambda x, y: np.sqrt((paired(x, y) ** 2).mean()), "its square is asked for"),
        (lambda x, y: paired(x, y).mean() ** 2, "not the other way round"),
        (lambda x, y: (paired(x, y) ** 2).mean() / 2, "belongs to WGAN-QC"),
        (lambda x, y: 0.0, "optimal ways do not cross"),
        (lambda x, y: paired(x, y) ** 2, "One number is expected"),
    ],
)
def test_each_slip_on_the_line_has_its_own_message(
    capsys: pytest.CaptureFixture[str], wrong: Any, hint: str
) -> None:
    out = said(capsys, "sorted-transport", wrong)
    assert out.startswith("sorted-transport: not yet.")
    assert hint in out


@pytest.mark.parametrize("name", ["judge", "sorted-transport"])
def test_stubs_are_not_attempted(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert said(capsys, name, lambda *arguments: ...) == f"{name}: not attempted yet\n"
