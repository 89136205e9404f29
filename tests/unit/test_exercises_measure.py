"""The exercises of notebook 09 accept what is right and tell each usual mistake from the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from otsr import metrics
from otsr.course.exercises import check

BOTH = [("rgb", 0), ("rgb", 4), ("y", 0), ("y", 4)]


def said(capsys: pytest.CaptureFixture[str], name: str, answer: Callable[..., Any]) -> str:
    check(name, answer)
    return capsys.readouterr().out


def nearest(sr: Tensor, hr: Tensor, claimed: float, choices: list[tuple[Any, int]]) -> tuple[Any, int]:
    return min(choices, key=lambda choice: abs(float(metrics.psnr(sr, hr, choice[1], choice[0])) - claimed))


def with_plain_mean(sr: Tensor, hr: Tensor, claimed: float) -> tuple[str, int]:
    """Takes the mean of the colours for luma."""
    grey = [x.mean(0, keepdim=True).expand(3, -1, -1) for x in (sr, hr)]
    values = {("rgb", border): float(metrics.psnr(sr, hr, border)) for border in (0, 4)}
    values |= {("y", border): float(metrics.psnr(*grey, border)) for border in (0, 4)}
    return min(values, key=lambda choice: abs(values[choice] - claimed))


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda sr, hr, c: nearest(sr, hr, c, [("rgb", 0), *BOTH[2:]]), "The channel is right"),
        (lambda sr, hr, c: nearest(sr, hr, c, [("rgb", 0), ("y", 0)]), "or your luma"),
        (with_plain_mean, "or your luma"),
        (lambda sr, hr, c: nearest(sr, hr, c, [("rgb", 4)]), "The border is right"),
        (lambda sr, hr, c: ("rgb", 0), "Compute all four PSNRs"),
        (lambda sr, hr, c: nearest(sr, hr, c, BOTH)[::-1], "in this order"),
        (lambda sr, hr, c: ("luma", 4), "The channel is 'rgb' or 'y'"),
        (lambda sr, hr, c: ("y", 2), "the border 0 or 4"),
        (lambda sr, hr, c: "y", "A pair (channel, border) is expected, your function returned str 'y'"),
        (lambda sr, hr, c: sr / None, "Your function stopped with TypeError"),
    ],
)
def test_wrong_settings_are_told_what_is_wrong(
    wrong: Callable[..., Any], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, "settings", wrong)
    assert text.startswith("settings: not yet. ")
    assert hint in text


def test_right_settings_are_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    answer = lambda sr, hr, claimed: nearest(sr, hr, claimed, BOTH)  # noqa: E731
    assert said(capsys, "settings", answer) == "settings: correct\n"


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda v, t: t.mean(1).max(), "they have chosen, which they must not"),
        (lambda v, t: v.mean(1).max(), "a winner's score"),
        (lambda v, t: t.max(0).mean(), "another checkpoint for each photo"),
        (lambda v, t: t.max(), "the luckiest pair of all"),
        (lambda v, t: t.mean(), "you have to choose one"),
        (lambda v, t: t[-1].mean(), "the last checkpoint"),
        (lambda v, t: t[v.mean(1).argmin()].mean(), "the worst one"),
        (lambda v, t: t[v.max(1).argmax()].mean(), "one single validation photo"),
        (lambda v, t: v.mean(1).argmax(), "the number of the checkpoint"),
        (lambda v, t: 20.0, "Each pile has one task"),
        (lambda v, t: t[0], "One number is expected, your function returned ndarray"),
        (lambda v, t: t.mean() / None, "Your function stopped with TypeError"),
    ],
)
def test_a_wrong_report_is_told_what_is_wrong(
    wrong: Callable[..., Any], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, "report", wrong)
    assert text.startswith("report: not yet. ")
    assert hint in text


def test_a_right_report_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    answer = lambda v, t: t[np.mean(v, axis=1).argmax()].mean()  # noqa: E731
    assert said(capsys, "report", answer) == "report: correct\n"
