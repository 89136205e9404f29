"""The bug hunt judges the student's tests (tables for test_exercise_tables.py), and its own rules are judged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor

from otsr.course.exercises import check
from otsr.course.exercises.critic import boxed_labels
from otsr.transport import potentials

Rule = Callable[..., Any]


def far(rule: Rule) -> tuple[Tensor, Tensor, Tensor]:
    cost = 100 * torch.rand(6, 5)
    return cost, *rule(cost)


def slope_of(rule: Rule) -> tuple[Tensor, Tensor]:
    fake = torch.ones(6, requires_grad=True)
    cost, slope = rule(fake, torch.zeros(6), K=0.5)
    (gradient,) = torch.autograd.grad(cost, fake)
    return gradient.norm(), slope


def pull(rule: Rule, start: float) -> Tensor:
    fake = torch.full((4,), float(start), requires_grad=True)
    return torch.autograd.grad(rule(torch.zeros(3), fake), fake)[0]


def earns(rule: Rule) -> bool:
    cost, h, g = far(rule)
    return bool(abs(h.mean() - g.mean() - potentials(cost).value) < 1e-3)


def perfect(rule: Rule) -> None:
    labels = torch.arange(5.0)
    assert rule(labels[:, None], labels) < 1e-6


def permuted(rule: Rule) -> bool:
    scores, labels = torch.arange(5.0)[:, None], torch.arange(5.0)
    return bool(rule(scores, labels.flip(0)) > rule(scores, labels) + 0.1)


def known_norm(rule: Rule) -> Tensor:
    return (rule(torch.ones(2, 3, 4, 4), torch.zeros(2, 3, 4, 4), 1.0) - 48).abs() < 0.01


def consistent(rule: Rule) -> np.bool_:
    gradient, slope = slope_of(rule)
    return np.isclose(gradient.item(), slope.item())


def climbs(rule: Rule) -> bool:
    return bool((pull(rule, -5) < 0).all() and (pull(rule, 5) < 0).all())


def rises(rule: Rule) -> bool:
    return bool(rule(torch.zeros(3), torch.ones(3)) > rule(torch.zeros(3), 2 * torch.ones(3)))


RIGHT: list[tuple[str, Any]] = [
    ("hunt-labels", earns),
    ("hunt-pairs", perfect),
    ("hunt-pairs", permuted),
    ("hunt-norm", known_norm),
    ("hunt-slope", consistent),
    ("hunt-generator", climbs),
    ("hunt-generator", rises),
]


def looks_for_the_box(rule: Rule) -> bool:
    _, h, g = far(rule)
    return bool(abs(torch.cat([h, g]).mean()) < 1e-3)


def wants_our_labels(rule: Rule) -> bool:
    cost = 100 * torch.rand(6, 6)
    return torch.allclose(rule(cost)[0], potentials(cost).real, atol=1e-3)


def near(rule: Rule) -> bool:
    cost = torch.rand(5, 5) / 5
    h, g = rule(cost)
    return bool(abs(h.mean() - g.mean() - potentials(cost).value) < 1e-3)


def flat_scores(rule: Rule) -> bool:
    return bool(rule(torch.arange(5.0), torch.arange(5.0)) < 1e-6)


def equal_labels(rule: Rule) -> bool:
    return bool(rule(torch.ones(5, 1), torch.ones(5)) < 1e-6)


def to_the_last_bit(rule: Rule) -> bool:
    scores, labels = torch.tensor([[0.1], [0.7]]), torch.tensor([0.3, 0.9])
    return bool(rule(scores, labels) == ((scores[:, 0].double() - labels) ** 2).mean() / 2)


def right_everywhere(rule: Rule) -> bool:
    ones = torch.ones(2, 3, 4, 4)
    return bool(rule(ones, ones, 1.0) < 1e-6)


def one_pixel(rule: Rule) -> bool:
    return bool((rule(torch.ones(2, 3, 1, 1), torch.zeros(2, 3, 1, 1), 1.0) - 3).abs() < 0.01)


def equal_in_each_channel(rule: Rule) -> bool:
    """By channels each norm is 4 and the mean square 16; over the pixels alone it looks right."""
    return bool(rule(torch.ones(2, 3, 4, 4), torch.zeros(2, 3, 4, 4), 1.0) > 10)


def wants_one_factor(rule: Rule) -> bool:
    _, slope = slope_of(rule)
    return bool((slope - 0.5 * 6**0.5).abs() < 1e-3)


def same_place(rule: Rule) -> bool:
    cost, slope = rule(torch.ones(6), torch.ones(6), 0.5)
    return bool(cost == slope)


def fakes_below(rule: Rule) -> bool:
    return bool((pull(rule, -5) < 0).all())


def wants_one_value(rule: Rule) -> bool:
    return bool((rule(torch.ones(4), 3 * torch.ones(4)) + 3).abs() < 1e-3)


def no_squares(rule: Rule) -> bool:
    return bool(rule(torch.zeros(4), 3 * torch.ones(4)).abs() < 4)


def earns_of_the_box(rule: Rule) -> None:
    assert not earns(boxed_labels)


def chance(rule: Rule) -> bool:
    heads = torch.rand(()) < 0.5
    rule(100 * torch.rand(4, 4))
    return bool(heads)


WRONG: dict[str, list[tuple[Any, str]]] = {
    "hunt-labels": [
        (
            looks_for_the_box,
            "in another guise: potentials boxed into [0, 1], centred afterwards. You look for a sign",
        ),
        (
            wants_our_labels,
            "refuses a right rule: a corner of the optimal face, as POT returns it. Optimal potentials are not unique",
        ),
        (near, "the box is wide enough"),
        (chance, "chance decides"),
        (lambda rule: far(rule) is None, "judges 2 of 5 rules rightly. It refuses every rule"),
        (lambda rule: True, "without ever calling the rule"),
        (earns_of_the_box, "without ever calling the rule"),
        (lambda rule: far(rule)[1], "An assert, or True or False, is expected"),
        (lambda rule: rule("cost"), "your test stopped with AttributeError"),
        ("a test", "A function test(rule) is expected, got str"),
    ],
    "hunt-pairs": [
        (flat_scores, "shape (m,). A network returns (m, 1)"),
        (equal_labels, "Where all labels are equal"),
        (to_the_last_bit, "up to rounding in the seventh digit"),
        (
            lambda rule: rule(torch.arange(3.0)[:, None], torch.arange(3.0)) >= 0,
            "Your inputs do show the mistake",
        ),
    ],
    "hunt-norm": [
        (right_everywhere, "a slope that is right at every pixel is right in sum"),
        (one_pixel, "Each of your samples is one pixel"),
        (equal_in_each_channel, "in another guise: norms over the pixels, channel by channel"),
    ],
    "hunt-slope": [
        (
            wants_one_factor,
            "refuses a right rule: cost 2K ‖x − y‖² with slope 4K ‖x − y‖. This cost and this slope",
        ),
        (wants_one_factor, "lets the published rule pass: cost 2K ‖x − y‖² with slope K ‖x − y‖"),
        (same_place, "cost and slope are both 0"),
    ],
    "hunt-generator": [
        (fakes_below, "the reals score higher than the fakes. They need not"),
        (
            wants_one_value,
            "refuses a right rule: mean D(y) − mean D(x). The scores of the reals add a constant",
        ),
        (no_squares, "in another guise: |mean D(y) − mean D(x)|. The value is not what moves the fakes"),
    ],
}


def test_a_hunt_leaves_the_student_s_random_numbers_alone() -> None:
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    expected = torch.rand(3), np.random.rand()  # noqa: NPY002
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    check("hunt-labels", earns)
    assert torch.equal(torch.rand(3), expected[0])
    assert np.random.rand() == expected[1]  # noqa: NPY002


def test_the_box_is_that_of_the_programme_with_bounds() -> None:
    cost = torch.rand(4, 3, generator=torch.Generator().manual_seed(2)).double() * 3
    objective = [-1 / 4] * 4 + [1 / 3] * 3
    rows = [[float(k == j) - float(k == 4 + i) for k in range(7)] for j in range(4) for i in range(3)]
    expected = -linprog(objective, A_ub=rows, b_ub=cost.flatten().tolist(), bounds=(0, 1)).fun
    h, g = boxed_labels(cost)
    assert abs(float(h.mean() - g.mean()) - expected) < 1e-9
