"""The exercises of notebook 07 accept what is right and tell each usual mistake from the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from otsr.course.exercises import check

KEPT = {"weights", "average", "adam", "step", "recipe"}


def said(capsys: pytest.CaptureFixture[str], name: str, answer: Any) -> str:
    check(name, answer)
    return capsys.readouterr().out


def cut(values: Tensor, k: int) -> Tensor:
    """(B, C, windows, k²), by another way than the solution's."""
    return values.unfold(2, k, k).unfold(3, k, k).flatten(4).flatten(2, 3)


def moved(x: Tensor, y: Tensor) -> Tensor:
    return (x.sort().values - y.sort().values).abs()


def pieces(values: Tensor, k: int) -> Tensor:
    return values.reshape(*values.shape[:2], -1, k * k)


def heap(values: Tensor, k: int) -> Tensor:
    return cut(values, k).transpose(1, 2).flatten(2)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda x, y, k: moved(cut(x, k), cut(y, k)).mean(), "the loss divides it by the mean size of HR"),
        (lambda x, y, k: moved(x.flatten(2), y.flatten(2)).mean() / y.abs().mean(), "over the whole crop"),
        (lambda x, y, k: (x - y).abs().mean() / y.abs().mean(), "place by place"),
        (lambda x, y, k: moved(pieces(x, k), pieces(y, k)).mean() / y.abs().mean(), "no squares"),
        (lambda x, y, k: moved(heap(x, k), heap(y, k)).mean() / y.abs().mean(), "a line of its own"),
        (lambda x, y, k: moved(cut(x, k), cut(y, k)).square().mean() / y.abs().mean(), "You square the way"),
        (lambda x, y, k: moved(cut(x, k), cut(y, k)).sum() / y.abs().mean(), "where the mean is meant"),
        (lambda x, y, k: moved(cut(x, k), cut(y, k)).mean() / x.abs().mean(), "not by those of SR"),
        (lambda x, y, k: 0.5, "do it on paper"),
        (lambda x, y, k: float("nan"), "do it on paper"),
        (lambda x, y, k: moved(cut(x, k), cut(y, k)), "your function returned a tensor (2, 3, "),
        (lambda x, y, k: "little", "your function returned str"),
        (lambda x, y, k: x.reshape(k, -1, 7), "Your function stopped with RuntimeError"),
    ],
)
def test_a_wrong_transport_in_windows_is_told_what_is_wrong(
    wrong: Callable[..., Any], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, "windows", wrong)
    assert text.startswith("windows: not yet. ")
    assert hint in text


def test_a_right_transport_in_windows_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    answer = lambda x, y, k: moved(cut(x, k), cut(y, k)).mean() / y.abs().mean()  # noqa: E731
    assert said(capsys, "windows", answer) == "windows: correct\n"
    assert said(capsys, "windows", lambda *given: float(answer(*given))) == "windows: correct\n"


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (KEPT - {"weights"}, "nothing to go on with"),
        (KEPT - {"average"}, "it remembers many"),
        (KEPT - {"adam"}, "Adam's memory"),
        (KEPT - {"step"}, "functions of a number"),
        (KEPT - {"recipe"}, "changed the recipe"),
        (KEPT | {"batches"}, "made again from the seed and the step"),
        (KEPT | {"rate"}, "a function of the step and the recipe"),
        (KEPT | {"gradients"}, "computed anew in each step"),
        (KEPT | {"optimizer"}, "'optimizer' is none of the eight words"),
        ("weights", "A set of words is expected"),
        (5, "A set of words is expected"),
    ],
)
def test_a_wrong_checkpoint_is_told_what_is_missing_or_too_much(
    wrong: Any, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, "checkpoint", lambda: wrong)
    assert text.startswith("checkpoint: not yet. ")
    assert hint in text


@pytest.mark.parametrize("answer", [KEPT, sorted(KEPT), lambda: KEPT, lambda: tuple(KEPT)])
def test_a_right_checkpoint_is_accepted_as_a_set_or_any_other_collection(
    answer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, "checkpoint", answer) == "checkpoint: correct\n"


@pytest.mark.parametrize("name", ["windows", "checkpoint"])
def test_a_stub_is_not_attempted_yet(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, name, lambda *given: ...) == f"{name}: not attempted yet\n"
