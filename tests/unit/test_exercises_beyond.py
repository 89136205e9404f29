"""The exercises of notebook 10 tell what is wrong with a wrong answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from otsr.course import exercises


def said(capsys: pytest.CaptureFixture[str], name: str, answer: Any) -> str:
    exercises.check(name, answer)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda m, w, d: math.sqrt((10 ** (d / 10) - 1) * m / w), "Above 1 nothing is left"),
        (lambda m, w, d: min(1, (10 ** (d / 10) - 1) * m / w), "square of the strength"),
        (lambda m, w, d: min(1, math.sqrt((10 ** (d / 10) - 1) * w / m)), "which is the price"),
        (lambda m, w, d: min(1, math.sqrt(10 ** (d / 10) * m / w)), "already there"),
        (lambda m, w, d: min(1, math.sqrt((10 ** (d / 20) - 1) * m / w)), "not twenty"),
        (lambda m, w, d: min(1, math.sqrt((math.exp(d / 10) - 1) * m / w)), "base ten"),
        (lambda m, w, d: min(1, math.sqrt(d / 2 * m / w)), "solve for t"),
        (lambda m, w, d: math.sqrt(d * m / w), "turn them into a factor"),
        (lambda m, w, d: min(1, math.sqrt((1 - 10 ** (-d / 10)) * m / w)), "does not shrink"),
        (lambda m, w, d: "half", "One number is expected"),
        (lambda m, w, d: math.sqrt(-m), "stopped with ValueError"),
        (lambda m, w, d: float("nan"), "solve for t"),
    ],
)
def test_a_wrong_strength_is_told_what_is_wrong(
    wrong: Callable[..., Any], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, "strength", wrong)
    assert text.startswith("strength: not yet. ")
    assert hint in text


def test_a_right_strength_is_accepted_as_number_and_as_tensor(capsys: pytest.CaptureFixture[str]) -> None:
    for kind in (float, torch.tensor):
        answer = lambda m, w, d, kind=kind: kind(min(1, math.sqrt((10 ** (d / 10) - 1) * m / w)))  # noqa: E731
        assert said(capsys, "strength", answer) == "strength: correct\n"


def walk(step: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def answer(v: Callable[..., torch.Tensor], x: torch.Tensor, steps: int) -> torch.Tensor:
        for k in range(steps):
            x = x + step(v, x, k / steps, 1 / steps)
        return x

    return answer


def in_place(v: Callable[..., torch.Tensor], x: torch.Tensor, steps: int) -> torch.Tensor:
    for k in range(steps):
        x += v(x, k / steps) / steps
    return x


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (walk(lambda v, x, t, d: d * v(x, t)), "Euler's step"),
        (walk(lambda v, x, t, d: d * (v(x, t) + v(x + d * v(x, t), t)) / 2), "wrong time"),
        (walk(lambda v, x, t, d: d * (v(x, t) + v(x, t + d)) / 2), "wrong place"),
        (walk(lambda v, x, t, d: d * (v(x, t) + v(x + d * v(x, t), t + d))), "take their mean"),
        (walk(lambda v, x, t, d: (v(x, t) + v(x + d * v(x, t), t + d)) / 2), "lasts only 1/steps"),
        (walk(lambda v, x, t, d: d * (v(x, t) + v(x + v(x, t), t + d)) / 2), "whole unit of time"),
        (walk(lambda v, x, t, d: d * v(x + d * v(x, t), t + d)), "velocity ahead alone"),
        (walk(lambda v, x, t, d: d * v(x + d / 2 * v(x, t), t + d / 2)), "midpoint rule"),
        (walk(lambda v, x, t, d: 3 * d * v(x, t)), "the mean of the two"),
        (in_place, "changes the x"),
        (lambda v, x, steps: torch.stack([x, x]), "A tensor (3, 2) is expected"),
        (lambda v, x, steps: 3.0, "yours returned float"),
    ],
)
def test_a_wrong_heun_is_told_what_is_wrong(
    wrong: Callable[..., Any], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, "heun", wrong)
    assert text.startswith("heun: not yet. ")
    assert hint in text


def test_a_right_heun_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    answer = walk(lambda v, x, t, d: d * (v(x, t) + v(x + d * v(x, t), t + d)) / 2)
    assert said(capsys, "heun", answer) == "heun: correct\n"
