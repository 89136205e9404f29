"""Every exercise takes right answers, answers each usual mistake with its own hint, and leaves a stub alone."""

from __future__ import annotations

from typing import Any

import exercises_results as results
import exercises_transport as transport
import pytest
import test_exercises_after as after
import test_exercises_camera as camera
import test_exercises_critic as critic
from torch import Tensor

from otsr.course.exercises import check

TABLES = (after, camera, critic, results, transport)
WRONG = [(name, *row) for table in TABLES for name, rows in table.WRONG.items() for row in rows]
RIGHT = [answer for table in TABLES for answer in table.RIGHT]


@pytest.mark.parametrize(("name", "answer", "hint"), WRONG)
def test_each_usual_mistake_gets_its_own_hint(
    name: str, answer: Any, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    check(name, answer)
    said = capsys.readouterr().out
    assert said.startswith(f"{name}: not yet. ")
    assert hint in said


@pytest.mark.parametrize(("name", "answer"), RIGHT)
def test_right_answers_are_accepted(name: str, answer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    check(name, answer)
    assert capsys.readouterr().out == f"{name}: correct\n"


@pytest.mark.parametrize("name", sorted({name for name, *_ in WRONG}))
def test_a_stub_is_not_attempted_yet(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for stub in (..., None, lambda *given: ..., lambda *given: None):
        check(name, stub)
    assert capsys.readouterr().out == 4 * f"{name}: not attempted yet\n"


def forgetful(sr: Tensor, hr: Tensor) -> None:
    """Names nothing but its own variables."""
    error = sr - hr  # noqa: F841


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda *given: print(len(given)), "Your function returns nothing"),
        (forgetful, "Your function returns nothing"),
        (27.5, "A function is expected, not float 27.5: give its name alone"),
        (lambda sr, hr: "27.5", "One number is expected, your function returned str '27.5'"),
    ],
)
def test_what_is_no_answer_is_told_so(answer: Any, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    check("psnr", answer)
    assert f"psnr: not yet. {words}" in capsys.readouterr().out
