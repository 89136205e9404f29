"""Every exercise takes right answers, answers each usual mistake with its own hint, and leaves a stub alone.

Most mistakes stand in the tables of otsr.course.exercises themselves, each beside its hint; here stand the others:
wrong shapes and kinds, errors, judges. test_exercises_critic.py has those of the bug hunt.
"""

import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import test_exercises_critic as critic
import torch
from scipy.stats import binom, wasserstein_distance
from torch import Tensor
from torch.nn import functional as F

from otsr import metrics
from otsr.course.exercises import check, train
from otsr.course.exercises.camera import camera
from otsr.course.exercises.checking import CHECKS
from otsr.degradation import Degradation, NoisePool, kernels

BOTH = [("rgb", 0), ("rgb", 4), ("y", 0), ("y", 4)]
KEPT = {"weights", "average", "adam", "step", "recipe"}


def nearest(sr: Tensor, hr: Tensor, claimed: float, choices: list[tuple[Any, int]]) -> tuple[Any, int]:
    return min(choices, key=lambda choice: abs(float(metrics.psnr(sr, hr, choice[1], choice[0])) - claimed))


def blank(lr: Tensor, s: int) -> Tensor:
    """Of the right size."""
    return torch.zeros(3, s * lr.shape[1], s * lr.shape[2])


def gaps(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.sort(x) - np.sort(y)


def judge(*submission: np.ndarray, without: str = "slack", rounding: float = 1e-9) -> bool:
    """A right judge, unless it does without more than one of the last two conditions, or without another one."""
    plan, cost, a, b, u, v = submission
    conditions = {
        "sign": (plan >= -rounding).all(),
        "rows": np.abs(plan.sum(1) - a).max() <= rounding,
        "columns": np.abs(plan.sum(0) - b).max() <= rounding,
        "routes": (u[:, None] + v <= cost + rounding).all(),
        "income": abs(a @ u + b @ v - (plan * cost).sum()) <= rounding,
        "slack": np.abs((cost - u[:, None] - v)[plan > rounding]).max(initial=0) <= rounding,
    }
    return bool(all(held for name, held in conditions.items() if name not in without))


def windows(x: Tensor, y: Tensor, k: int) -> Tensor:
    """By another way than the solution's."""
    x, y = (one.unfold(2, k, k).unfold(3, k, k).flatten(4) for one in (x, y))
    return (x.sort().values - y.sort().values).abs().mean() / y.abs().mean()


WRONG: dict[str, list[tuple[Any, str]]] = {
    "psnr": [
        (lambda sr, hr: -10 * torch.log10((sr - hr).square()), "One number is expected"),
        (lambda sr, hr: "27.5", "One number is expected, your function returned str '27.5'"),
        (lambda sr, hr: (sr - hr).nonsense, "Your function stopped with AttributeError"),
        (lambda sr, hr: (sr - hr, None)[1], "Your function returns nothing"),  # and is no stub
        (27.5, "A function is expected, not float 27.5: give its name alone"),
    ],
    "degrade": [
        (lambda x, k, s, n: x, "A tensor (3, 24, 24) is expected, your function returned Tensor (3, 96, 96). Keep"),
        (lambda x, k, s, n: x[:, ::s], "downwards as well as to the right"),
        (lambda x, k, s, n: F.pad(x, (0, 1, 0, 1))[:, ::s, ::s], "start at pixel 2"),
        (lambda x, k, s, n: F.pad(x[:, ::s, ::s], (0, 1)), "your function returned Tensor (3, 24, 25).\n"),
        (lambda x, k, s, n: x[::s], "The first axis holds red, green and blue"),
        (lambda x, k, s, n: x[:, 8::s, 8::s], "Pixels are missing"),
        (lambda x, k, s, n: 3.0, "your function returned float"),
        (lambda x, k, s, n: n + x, "sample rows and columns first"),
    ],
    "line": [
        (lambda a, b: sorted(a) - sorted(b), "np.sort(a) is an array"),
        (lambda a, b: abs(gaps(a, b)), "the distance is their mean"),
        (lambda a, b: abs(gaps(a, b)).mean() if len(a) == len(b) else a + b, "as many entries"),
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
        (lambda sr, hr, c: ("y", 2), "the border 0 or 4"),
        (lambda sr, hr, c: (np.array(["y", "rgb"]), 4), "The channel is 'rgb' or 'y'"),
        (lambda sr, hr, c: "rgb", "A pair (channel, border) is expected"),
    ],
    "heun": [
        (lambda v, x, steps: x.add_(v(x, 0.0)), "changes what it was given"),
        (lambda v, x, steps: torch.stack([x, x]), "A tensor (3, 2) is expected"),
    ],
    "velocity": [(lambda f, z, t: (f(z, t) - z.mul_(2)) / (1 - t), "changes what it was given")],
    "judge": [
        (lambda *given: judge(*given, without="slack sign"), "accepts a plan with negative masses"),
        (lambda *given: judge(*given, without="slack rows"), "accepts a plan that fills the holes by wrong amounts"),
        (lambda *given: judge(*given, without="slack columns"), "accepts a plan that fetches only half of the first"),
        (lambda *given: judge(*given, without="slack routes"), "accepts prices that overcharge a route"),
        (lambda *given: judge(*given, without="slack income"), "accepts prices that earn less than the plan costs"),
        (lambda *given: judge(*given, rounding=0.0), "after rounding, at 1e-13: compare with a tolerance"),
        (lambda plan, *rest: bool((plan > 0).all()) and judge(plan, *rest), "look at what you ask of plans"),
        (lambda *given: judge(*given[:-1], -given[-1]), "look at the signs"),
        (lambda p, c, a, b, u, v: np.isclose(u.sum() + v.sum(), (p * c).sum()), "the mass that pays each price"),
        (lambda p, c, a, b, u, v: np.allclose(u[:, None] + v, c), "unused routes may have slack"),
        (lambda p, c, a, b, u, v: False, "refuses a plan with all sums right"),
        (lambda p, c, a, b, u, v: p.sum(), "True or False is expected"),
        (lambda p, c, a, b, u, v: u[:, None] + v <= c, ".all() makes one of many"),
        (lambda p, c, a, b, u, v: np.allclose(p.sum(0), a), "Look at the axes"),
        (lambda p, c, a, b, u, v: (p @ c).sum() == 0, "(plan * cost).sum()"),
        (lambda p, c, a, b, u, v: (p >= 0) and True, "one True or False of it"),
    ],
    "sorted-transport": [
        (lambda x, y: gaps(x, y) ** 2, "take the mean of their squares"),
        (lambda x, y: x.sort() - y.sort(), "np.sort(x) returns a sorted copy"),
        (lambda x, y: sorted(x) - sorted(y), "np.sort(x) is an array"),
        (lambda x, y: torch.from_numpy(x).sort() - torch.from_numpy(y).sort(), "take its .values"),
        (lambda x, y: torch.sort(x), "x and y are NumPy arrays"),
        (lambda x, y: (x.sort(), y.sort(), ((x - y) ** 2).mean())[-1], "as x += … and x.sort() do"),
    ],
    "budget": [
        (lambda d, D, P: math.sqrt(D * (10 ** (-d / 10) - 1)) / P, "came out negative. A loss makes D larger"),
        (lambda d, D, P: torch.sqrt(D * (10 ** (d / 10) - 1)) / P, "These are plain numbers"),
    ],
    "checkpoint": [
        *((KEPT - {word}, why) for word, why in train._KEPT.items()),
        *((KEPT | {word}, why) for word, why in train._LEFT.items()),
        (KEPT | {"optimizer"}, "'optimizer' is not one of the eight words"),
        ("weights", "A set of words is expected"),
        (5, "A set of words is expected"),
    ],
    **critic.WRONG,
}  # fmt: skip
RIGHT: list[tuple[str, Any]] = [
    ("psnr", lambda sr, hr: -10 * torch.log10((sr - hr).square().mean())),
    ("psnr", lambda sr, hr: 10 * math.log10(1 / float(((sr - hr) ** 2).mean()))),
    ("degrade", lambda x, k, s, n: camera(x.float(), k.float(), s, n.float())),
    ("unbias", lambda v, b, s: torch.tensor(v * s**2 / (s**2 - 1) - b)),
    ("line", wasserstein_distance),
    ("settings", lambda sr, hr, claimed: nearest(sr, hr, claimed, BOTH)),
    ("strength", lambda m, w, d: torch.tensor(min(1, math.sqrt((10 ** (d / 10) - 1) * m / w)))),
    ("judge", judge),
    ("judge", lambda *given: judge(*given, without="income")),
    ("sorted-transport", lambda x, y: (gaps(x, y) ** 2).mean()),
    ("coin", lambda k, n: binom.sf(k - 1, n, 0.5)),
    ("windows", windows),
    *(("checkpoint", kept) for kept in (KEPT, sorted(KEPT), lambda: KEPT, lambda: tuple(KEPT))),
    *critic.RIGHT,
]
"""Right answers of another kind than the notebook's solution, which is accepted where it stands."""
ASKED = {
    name: inspect.getclosurevars(judge).nonlocals
    for name, judge in CHECKS.items()
    if getattr(judge, "__qualname__", "").startswith("ask.")
}
"""Of each exercise that is a table: its arguments to `ask`."""


def wrong() -> Iterator[tuple[str, Callable[..., Any], str]]:
    """Of each exercise what the table knows, a number from nowhere, and what stands above."""
    for name, table in ASKED.items():
        rows = table["mistakes"]
        for i, (*values, hint) in enumerate(rows(*table["cases"]()[0])):
            for j in range(len(values)):
                yield name, lambda *given, rows=rows, i=i, j=j: rows(*given)[i][j], f" {hint}\n"
        yield name, lambda *given, right=table["right"]: right(*given) * math.nan, f" {table['otherwise']}\n"
    yield from ((name, answer, hint) for name, rows in WRONG.items() for answer, hint in rows)


@pytest.mark.parametrize(("name", "answer", "hint"), [*wrong()])
def test_each_wrong_answer_gets_its_own_hint(
    name: str, answer: Any, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    check(name, answer)
    said = capsys.readouterr().out
    assert said.startswith(f"{name}: not yet. ") and hint in said


@pytest.mark.parametrize(("name", "answer"), RIGHT)
def test_right_answers_are_accepted(name: str, answer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    check(name, answer)
    assert capsys.readouterr().out == f"{name}: correct\n"


@pytest.mark.parametrize("name", CHECKS)
def test_a_stub_is_not_attempted_yet(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for stub in (..., None, lambda *given: ..., lambda *given: None):
        check(name, stub)
    assert capsys.readouterr().out == 4 * f"{name}: not attempted yet\n"


def test_an_unknown_exercise_is_named() -> None:
    with pytest.raises(KeyError, match=r"no exercise 'psnrr'; there are: .*psnr"):
        check("psnrr", 1)


def test_the_right_camera_is_the_degradation_of_the_package() -> None:
    generator = torch.Generator().manual_seed(1)
    hr, kernel = torch.rand(3, 96, 96, generator=generator), kernels.gaussian(16, 1.5**2)
    patch = torch.randint(100, 156, (1, 3, 24, 24), generator=generator, dtype=torch.uint8)
    pool = NoisePool(patch, ["exercise"], [""])
    expected = Degradation(4, kernel, pool).apply(hr)
    assert torch.allclose(camera(hr, kernel, 4, pool.sample(1, 24)[0]), expected, atol=1e-6)


def test_the_stretch_that_is_asked_for_is_that_of_many_drawn_numbers() -> None:
    draw = torch.randn(3, 400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    A, B, s, t = 0.7, 2.0, 0.4, 0.6
    start = math.sqrt(A) * draw[0] + s * draw[1]
    truth = math.sqrt(A) * draw[0] + math.sqrt(B - A) * draw[2]
    spread = ((1 - t) * start + t * truth).std() / start.std()
    assert float(spread) == pytest.approx(ASKED["stretch"]["right"](A, B, s, t), rel=0.01)
