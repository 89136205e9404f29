"""The exercises of notebook 03 accept what is right and tell each usual mistake from the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from otsr.course.exercises import check


def said(capsys: pytest.CaptureFixture[str], name: str, answer: Callable[..., Any]) -> str:
    check(name, answer)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda o, s: np.mean(s >= o), "count it too, above and below"),
        (lambda o, s: np.sum(s >= o) / (1 + len(s)), "below, but not above"),
        (lambda o, s: (1 + np.sum(s >= o)) / len(s), "above, but not below"),
        (lambda o, s: (1 + np.sum(s > o)) / (1 + len(s)), "exactly as large"),
        (lambda o, s: (1 + np.sum(s <= o)) / (1 + len(s)), "the other side"),
        (lambda o, s: np.mean(s <= o), "the other side"),
        (lambda o, s: 1 + np.sum(s >= o), "a share of all orders"),
        (lambda o, s: 0.123, "share of all orders, observed and shuffled"),
        (lambda o, s: s >= o, "your function returned ndarray"),
        (lambda o, s: o[0], "Your function stopped with TypeError"),
    ],
)
def test_a_wrong_p_value_is_told_what_is_wrong(
    wrong: Callable[..., Any], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, "p-value", wrong)
    assert text.startswith("p-value: not yet. ")
    assert hint in text


def test_a_right_p_value_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    answer = lambda o, s: (1 + np.sum(s >= o)) / (1 + len(s))  # noqa: E731
    assert said(capsys, "p-value", answer) == "p-value: correct\n"


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda a, b: abs(a.mean() - b.mean()), "distance of the means"),
        (lambda a, b: (np.sort(pad(a, b)) - np.sort(b)).mean(), "Gaps to the left"),
        (lambda a, b: abs(np.sort(pad(a, b)) - np.sort(b)).sum(), "That is the sum"),
        (lambda a, b: ((np.sort(pad(a, b)) - np.sort(b)) ** 2).mean(), "You squared the gaps"),
        (lambda a, b: ((np.sort(pad(a, b)) - np.sort(b)) ** 2).mean() ** 0.5, "that is W2"),
        (lambda a, b: abs(pad(a, b) - b).mean(), "Sort both first"),
        (lambda a, b: abs(a[:, None] - b).mean(), "pairs everyone with everyone"),
        (lambda a, b: 99.0, "as many entries as the longer one"),
        (lambda a, b: abs(np.sort(a) - np.sort(b)), "your function returned ndarray"),
        (lambda a, b: abs(np.sort(a) - np.sort(b)).mean() if len(a) == len(b) else a + b, "stopped with"),
        (lambda a, b: abs(np.sort(a) - np.sort(b)).mean() if len(a) == len(b) else a + b, "as many entries"),
    ],
)
def test_a_wrong_distance_is_told_what_is_wrong(
    wrong: Callable[..., Any], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, "line", wrong)
    assert text.startswith("line: not yet. ")
    assert hint in text


def pad(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.repeat(a, len(b) // len(a))


def test_scipy_s_distance_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "line", wasserstein_distance) == "line: correct\n"
