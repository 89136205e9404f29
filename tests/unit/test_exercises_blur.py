"""The exercises of notebook 02 tell what is wrong with a wrong answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from otsr.course import exercises


def said(capsys: pytest.CaptureFixture[str], name: str, answer: Any) -> str:
    exercises.check(name, answer)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda v, b, s: v / (1 - 1 / s**2), "still in it"),
        (lambda v, b, s: v / (1 - 1 / s**2) + b, "taken away, not added"),
        (lambda v, b, s: v * (1 - 1 / s**2) - b, "divide by the share"),
        (lambda v, b, s: (v - b) / (1 - 1 / s**2), "divide first"),
        (lambda v, b, s: 4 * v / 3 - b, "s² in place of 4"),
        (lambda v, b, s: 3 * v / 4 - b, "divide by the share"),
        (lambda v, b, s: v - b, "takes part of the work"),
        (lambda v, b, s: 1.0, "Set the photo's blur"),
        (lambda v, b, s: "much", "One number is expected"),
        (lambda v, b, s: v.sqrt(), "stopped with AttributeError"),
    ],
)
def test_a_wrong_variance_is_told_what_is_wrong(
    wrong: Callable[..., Any], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, "unbias", wrong)
    assert text.startswith("unbias: not yet. ")
    assert hint in text


def test_a_right_variance_is_accepted_as_number_and_as_tensor(capsys: pytest.CaptureFixture[str]) -> None:
    for kind in (float, torch.tensor):
        answer = lambda v, b, s, kind=kind: kind(v * s**2 / (s**2 - 1) - b)  # noqa: E731
        assert said(capsys, "unbias", answer) == "unbias: correct\n"


def root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt()[..., None, :] @ vectors.mT


def iterate(covariances: Tensor, steps: int, power: int = 2, undone: bool = True) -> Tensor:
    centre = covariances.mean(0)
    for _ in range(steps):
        outer = root(centre)
        inner = torch.stack([root(outer @ one @ outer) for one in covariances]).mean(0)
        undo = torch.linalg.inv(outer) if undone else torch.eye(2, dtype=centre.dtype)
        centre = undo @ torch.linalg.matrix_power(inner, power) @ undo
    return centre


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda c: c.mean(0), "average of the covariances"),
        (lambda c: root(c).mean(0), "a covariance is its square"),
        (lambda c: root(c).mean(0) @ root(c).mean(0), "iterate"),
        (lambda c: iterate(c, 1, power=1, undone=False), "on both sides"),
        (lambda c: iterate(c, 1, power=1), "to be squared"),
        (lambda c: iterate(c, 1), "That is the first step"),
        (lambda c: torch.eye(2, dtype=torch.float64), "from S = 3.5 I"),
        (lambda c: c, "your function returned (2, 2, 2)"),
        (lambda c: 2.975, "your function returned float"),
        (lambda c: c @ torch.ones(3), "Your function stopped with RuntimeError"),
    ],
)
def test_a_wrong_barycentre_is_told_what_is_wrong(
    wrong: Callable[[Tensor], Any], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, "barycentre", wrong)
    assert text.startswith("barycentre: not yet. ")
    assert hint in text


def test_a_right_barycentre_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "barycentre", lambda c: iterate(c, 60)) == "barycentre: correct\n"


@pytest.mark.parametrize("name", ["unbias", "barycentre"])
@pytest.mark.parametrize("answer", [..., lambda *arguments: None])
def test_a_stub_is_not_attempted_yet(name: str, answer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, name, answer) == f"{name}: not attempted yet\n"
