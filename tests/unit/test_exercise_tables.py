"""Every exercise takes right answers, answers each usual mistake with its own hint, and leaves a stub alone.

Most usual mistakes stand in the tables of otsr.course.exercises themselves, each beside its hint; the tables here hold
what is answered otherwise: wrong shapes and kinds, errors, judges.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import exercises_transport as transport
import numpy as np
import pytest
import test_exercises_critic as critic
import torch
from scipy.stats import wasserstein_distance
from torch import Tensor
from torch.nn import functional as F

from otsr import metrics
from otsr.course.exercises import check
from otsr.course.exercises.camera import camera
from otsr.course.exercises.checking import CHECKS
from otsr.degradation import Degradation, NoisePool, kernels

BOTH = [("rgb", 0), ("rgb", 4), ("y", 0), ("y", 4)]


def nearest(sr: Tensor, hr: Tensor, claimed: float, choices: list[tuple[Any, int]]) -> tuple[Any, int]:
    return min(choices, key=lambda choice: abs(float(metrics.psnr(sr, hr, choice[1], choice[0])) - claimed))


def blank(lr: Tensor, s: int) -> Tensor:
    """Of the right size."""
    return torch.zeros(3, s * lr.shape[1], s * lr.shape[2])


def paired(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return abs(np.sort(a) - np.sort(b)).mean() if len(a) == len(b) else a + b


def euler_in_place(v: Callable[..., Tensor], x: Tensor, steps: int) -> Tensor:
    for k in range(steps):
        x += v(x, k / steps) / steps
    return x


WRONG_KINDS: dict[str, list[tuple[Any, str]]] = {
    "psnr": [
        (lambda sr, hr: -10 * torch.log10((sr - hr).square()), "One number is expected"),
        (lambda sr, hr: (sr - hr).nonsense, "Your function stopped with AttributeError"),
    ],
    "degrade": [
        (lambda x, k, s, n: x, "A tensor (3, 24, 24) is expected"),
        (lambda x, k, s, n: x, "Keep every 4th pixel."),
        (lambda x, k, s, n: x[:, ::s], "downwards as well as to the right"),
        (lambda x, k, s, n: F.pad(x, (0, 1, 0, 1))[:, ::s, ::s], "start at pixel 2"),
        (lambda x, k, s, n: x[::s], "The first axis holds red, green and blue"),
        (lambda x, k, s, n: x[:, 8::s, 8::s], "Pixels are missing"),
        (lambda x, k, s, n: 3.0, "your function returned float"),
        (lambda x, k, s, n: n + x, "Your function stopped with RuntimeError"),
        (lambda x, k, s, n: n + x, "sample rows and columns first"),
    ],
    "line": [
        (lambda a, b: sorted(a) - sorted(b), "np.sort(a) is an array"),
        (lambda a, b: abs(np.sort(a) - np.sort(b)), "the distance is their mean"),
        (paired, "stopped with"),
        (paired, "as many entries"),
    ],
    "tiles": [
        (lambda e, lr, tile, overlap, s: e(lr), "One of your windows is 30×26"),
        (lambda e, lr, tile, overlap, s: e(lr[:, :, :tile]), "memory that was not asked for"),
        (lambda e, lr, tile, overlap, s: F.pad(blank(lr, s), (0, s)), "keep too much"),
        (lambda e, lr, tile, overlap, s: blank(lr, s)[:, 4:], "keep too little"),
        (lambda e, lr, tile, overlap, s: blank(lr, s).mT, "changed places"),
        (lambda e, lr, tile, overlap, s: blank(lr, 1), "s times as large"),
        (lambda e, lr, tile, overlap, s: F.pad(blank(lr, s), (0, 16)), "smaller"),
    ],
    "settings": [
        (lambda sr, hr, c: nearest(sr, hr, c, [("rgb", 0), *BOTH[2:]]), "The channel is right"),
        (lambda sr, hr, c: nearest(sr, hr, c, [("rgb", 0), ("y", 0)]), "or your luma"),
        (lambda sr, hr, c: nearest(sr, hr, c, [("rgb", 4)]), "The border is right"),
        (lambda sr, hr, c: ("rgb", 0), "Compute all four PSNRs"),
        (lambda sr, hr, c: nearest(sr, hr, c, BOTH)[::-1], "in this order"),
        (lambda sr, hr, c: ("luma", 4), "The channel is 'rgb' or 'y'"),
        (lambda sr, hr, c: ("y", 2), "the border 0 or 4"),
        (lambda sr, hr, c: (np.array(["y", "rgb"]), 4), "The channel is 'rgb' or 'y'"),
    ],
    "heun": [
        (euler_in_place, "changes what it was given"),
        (lambda v, x, steps: torch.stack([x, x]), "A tensor (3, 2) is expected"),
    ],
    "velocity": [
        (lambda f, z, t: (f(z, t) - z.mul_(2)) / (1 - t), "changes what it was given"),
        (lambda f, z, t: f(z, t)[0], "A tensor (3, 2) is expected"),
    ],
}
OTHER_KINDS: list[tuple[str, Any]] = [
    ("psnr", lambda sr, hr: -10 * torch.log10((sr - hr).square().mean())),
    ("psnr", lambda sr, hr: 10 * math.log10(1 / float(((sr - hr) ** 2).mean()))),
    ("degrade", lambda x, k, s, n: camera(x.float(), k.float(), s, n.float())),
    ("unbias", lambda v, b, s: torch.tensor(v * s**2 / (s**2 - 1) - b)),
    ("line", wasserstein_distance),
    ("settings", lambda sr, hr, claimed: nearest(sr, hr, claimed, BOTH)),
    ("strength", lambda m, w, d: torch.tensor(min(1, math.sqrt((10 ** (d / 10) - 1) * m / w)))),
]
"""Right answers that are of another kind than the notebook's solution, which is accepted where it stands."""
TABLES = (WRONG_KINDS, critic.WRONG, transport.WRONG)
WRONG = [(name, *row) for table in TABLES for name, rows in table.items() for row in rows]
RIGHT = [*OTHER_KINDS, *critic.RIGHT, *transport.RIGHT]
ASKED = {
    name: inspect.getclosurevars(judge).nonlocals
    for name, judge in CHECKS.items()
    if getattr(judge, "__qualname__", "").startswith("ask.")
}
"""Of each exercise that is a table: its arguments to `ask`."""


@pytest.mark.parametrize(
    ("name", "mistake", "hint"),
    [(name, *row) for name, table in ASKED.items() for row in table["mistakes"]],
)
def test_each_mistake_of_the_tables_gets_its_own_hint(
    name: str, mistake: Callable[..., Any], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    check(name, mistake)
    said = capsys.readouterr().out
    assert said.startswith(f"{name}: not yet. ") and said.endswith(f" {hint}\n")


@pytest.mark.parametrize(("name", "answer", "hint"), WRONG)
def test_every_other_wrong_answer_gets_its_own_hint_too(
    name: str, answer: Any, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    check(name, answer)
    said = capsys.readouterr().out
    assert said.startswith(f"{name}: not yet. ")
    assert hint in said


@pytest.mark.parametrize("name", ASKED)
def test_a_number_from_nowhere_gets_the_general_hint(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = ASKED[name]
    check(name, lambda *given: table["right"](*given) * float("nan"))
    assert capsys.readouterr().out.endswith(f" {table['otherwise']}\n")


@pytest.mark.parametrize(("name", "answer"), RIGHT)
def test_right_answers_are_accepted(name: str, answer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    check(name, answer)
    assert capsys.readouterr().out == f"{name}: correct\n"


@pytest.mark.parametrize("name", CHECKS)
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


def test_an_unknown_exercise_is_named() -> None:
    with pytest.raises(KeyError, match=r"no exercise 'psnrr'; there are: .*psnr"):
        check("psnrr", 1)


def test_the_right_camera_is_the_degradation_of_the_package() -> None:
    generator = torch.Generator().manual_seed(1)
    hr = torch.rand(3, 96, 96, generator=generator)
    patch = torch.randint(100, 156, (1, 3, 24, 24), generator=generator, dtype=torch.uint8)
    pool = NoisePool(patch, ["exercise"], [""])
    kernel = kernels.gaussian(16, 1.5**2)
    expected = Degradation(4, kernel, pool).apply(hr)
    assert torch.allclose(camera(hr, kernel, 4, pool.sample(1, 24)[0]), expected, atol=1e-6)


def test_the_stretch_that_is_asked_for_is_that_of_many_drawn_numbers() -> None:
    draw = torch.randn(3, 400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    A, B, s, t = 0.7, 2.0, 0.4, 0.6
    start = math.sqrt(A) * draw[0] + s * draw[1]
    truth = math.sqrt(A) * draw[0] + math.sqrt(B - A) * draw[2]
    spread = ((1 - t) * start + t * truth).std() / start.std()
    assert float(spread) == pytest.approx(ASKED["stretch"]["right"](A, B, s, t), rel=0.01)
