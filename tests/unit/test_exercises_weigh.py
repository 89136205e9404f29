"""The exercises of notebook 06 accept what is right and tell each usual mistake from the others."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from scipy.stats import binom

from otsr.course.exercises import check


def said(capsys: pytest.CaptureFixture[str], name: str, answer: Callable[..., Any]) -> str:
    check(name, answer)
    return capsys.readouterr().out


def ratio(decibels: float) -> float:
    return 10 ** (decibels / 10)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda d, D, P: math.sqrt(D * (ratio(d) - 1)) / P, "ends at 1"),
        (lambda d, D, P: min(1, D * (ratio(d) - 1) / P**2), "the root is missing"),
        (lambda d, D, P: min(1, D * (ratio(d) - 1) / P), "the root is missing"),
        (lambda d, D, P: 1 - min(1, math.sqrt(D * (ratio(d) - 1)) / P), "the OT weight is the rest"),
        (lambda d, D, P: min(1, math.sqrt(D * (10 ** (d / 20) - 1)) / P), "not 20 dB"),
        (lambda d, D, P: math.sqrt(D * ratio(d)) / P, "before you carry anything"),
        (lambda d, D, P: min(1, math.sqrt(D * (ratio(d) - 1))), "share of P*"),
        (lambda d, D, P: min(1, math.sqrt(ratio(d) - 1) / P), "they multiply D*"),
        (lambda d, D, P: 0.3, "That weight costs 1.35 dB"),
        (lambda d, D, P: [d], "your function returned list"),
        (lambda d, D, P: d / 0, "Your function stopped with ZeroDivisionError"),
    ],
)
def test_a_wrong_budget_is_told_what_is_wrong(
    wrong: Callable[..., Any], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, "budget", wrong)
    assert text.startswith("budget: not yet. ")
    assert hint in text


def test_a_right_budget_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    answer = lambda d, D, P: min(1, math.sqrt(D * (ratio(d) - 1)) / P)  # noqa: E731
    assert said(capsys, "budget", answer) == "budget: correct\n"


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda k, n: binom.sf(k, n, 0.5), "exactly as many is as good"),
        (lambda k, n: binom.pmf(k, n, 0.5), "exactly so many"),
        (lambda k, n: binom.cdf(k - 1, n, 0.5), "the chance of fewer"),
        (lambda k, n: binom.cdf(k, n, 0.5), "the other side"),
        (lambda k, n: min(1, 2 * binom.sf(k - 1, n, 0.5)), "both sides"),
        (lambda k, n: binom.sf(k - 1, n, 0.5) * 2**n, "how many sequences"),
        (lambda k, n: 0.5**k, "k of n can come in many orders"),
        (lambda k, n: 0.5**n, "one single sequence"),
        (lambda k, n: 0.42, "Count the sequences"),
        (lambda k, n: "few", "your function returned str"),
        (lambda k, n: k / 0, "Your function stopped with ZeroDivisionError"),
    ],
)
def test_a_wrong_chance_is_told_what_is_wrong(
    wrong: Callable[..., Any], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, "coin", wrong)
    assert text.startswith("coin: not yet. ")
    assert hint in text


def test_a_right_chance_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "coin", lambda k, n: binom.sf(k - 1, n, 0.5)) == "coin: correct\n"
