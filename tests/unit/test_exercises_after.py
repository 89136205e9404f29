"""The exercises of notebook 11 accept what is right and tell each usual mistake from the others."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from otsr.course.exercises import check


def said(capsys: pytest.CaptureFixture[str], name: str, answer: Callable[..., Any]) -> str:
    check(name, answer)
    return capsys.readouterr().out


def at(A: float, B: float, s: float, t: float) -> float:
    return A + (1 - t) ** 2 * s**2 + t**2 * (B - A)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda A, B, s, t: at(A, B, s, t) / (A + s**2), "grow by its root"),
        (lambda A, B, s, t: math.sqrt(at(A, B, s, t) / A), "at t = 0 the factor must be 1"),
        (lambda A, B, s, t: math.sqrt(at(A, B, s, t)), "the spread at time t"),
        (lambda A, B, s, t: math.sqrt((A + (1 - t) * s**2 + t * (B - A)) / (A + s**2)), "squares of both"),
        (lambda A, B, s, t: math.sqrt(((1 - t) ** 2 * (A + s**2) + t**2 * B) / (A + s**2)), "random partner"),
        (lambda A, B, s, t: math.sqrt((A + (1 - t) ** 2 * s**2 + t**2 * B) / (A + s**2)), "only B − A"),
        (lambda A, B, s, t: 1 - t + t * math.sqrt(B / (A + s**2)), "the OT weight's way"),
        (lambda A, B, s, t: math.sqrt(B / (A + s**2)), "Where is the flow at time t?"),
        (lambda A, B, s, t: math.sqrt((A + t**2 * (B - A)) / (A + s**2)), "has not gone before t = 1"),
        (lambda A, B, s, t: math.sqrt(at(A, B, math.sqrt(s), t) / (A + s)), "variances add"),
        (lambda A, B, s, t: 7.0, "Write down the variance"),
        (lambda A, B, s, t: float("nan"), "Write down the variance"),
        (lambda A, B, s, t: "wide", "your function returned str"),
        (lambda A, B, s, t: A / 0, "Your function stopped with ZeroDivisionError"),
    ],
)
def test_a_wrong_stretch_is_told_what_is_wrong(
    wrong: Callable[..., Any], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, "stretch", wrong)
    assert text.startswith("stretch: not yet. ")
    assert hint in text


def test_the_stretch_of_many_drawn_numbers_is_the_one_asked_for() -> None:
    """The formula against the variance of points on lines between guesses and their truths."""
    draw = torch.randn(3, 400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    A, B, s, t = 0.7, 2.0, 0.4, 0.6
    start = math.sqrt(A) * draw[0] + s * draw[1]
    truth = math.sqrt(A) * draw[0] + math.sqrt(B - A) * draw[2]
    place = (1 - t) * start + t * truth
    assert float(place.var() / start.var()) == pytest.approx(at(A, B, s, t) / (A + s**2), rel=0.01)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda f, z, t: f(z, t), "A velocity is a way over a time"),
        (lambda f, z, t: f(z, t) - z, "How much time is left"),
        (lambda f, z, t: (f(z, t) - z) / t if t != 0.5 else (f(z, t) - z) * 2, "the time that has passed"),
        (lambda f, z, t: (z - f(z, t)) / (1 - t), "going backwards"),
        (lambda f, z, t: (f(z, t) - z) * (1 - t), "go faster"),
        (lambda f, z, t: f(z, t) - z / (1 - t), "divides z alone"),
        (lambda f, z, t: (f(z, t) - (1 - t) * z) / t, "its other end"),
        (lambda f, z, t: (f(z, 1 - t) - z) / (1 - t), "another time"),
        (lambda f, z, t: z * 0, "with z, x and t alone"),
        (lambda f, z, t: (f(z, t) - z.mul_(2)) / (1 - t), "changes the z"),
        (lambda f, z, t: f(z, t)[0], "A tensor (3, 2) is expected"),
        (lambda f, z, t: 3.0, "yours returned float"),
    ],
)
def test_a_wrong_velocity_is_told_what_is_wrong(
    wrong: Callable[..., Any], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, "velocity", wrong)
    assert text.startswith("velocity: not yet. ")
    assert hint in text


def test_right_answers_are_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    right = lambda A, B, s, t: math.sqrt(at(A, B, s, t) / (A + s**2))  # noqa: E731
    assert said(capsys, "stretch", right) == "stretch: correct\n"
    assert said(capsys, "velocity", lambda f, z, t: (f(z, t) - z) / (1 - t)) == "velocity: correct\n"
