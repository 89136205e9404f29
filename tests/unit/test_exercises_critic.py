"""The bug hunt judges the student's tests (tables for test_exercise_tables.py), and its own rules are judged."""

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
COST = 100 * torch.rand(6, 6, generator=torch.Generator().manual_seed(0))
COUNT, LINE = torch.arange(5.0), torch.arange(5.0)[:, None]
ONES, IMAGES = torch.ones(4), torch.ones(2, 3, 4, 4)
TENTHS = torch.tensor([0.1, 0.7])


def earns(rule: Rule, cost: Tensor = COST) -> Tensor:
    h, g = rule(cost)
    return abs(h.mean() - g.mean() - potentials(cost).value) < 1e-3


def earns_and_obeys(rule: Rule) -> bool:
    h, g = rule(COST)
    return bool(earns(rule) and (h[:, None] - g <= COST + 1e-3).all())


def perfect(rule: Rule) -> None:
    assert rule(LINE, COUNT) < 1e-6


def slopes(rule: Rule) -> tuple[float, float]:
    """Of the cost, by its gradient, and as the rule says; with K = 0.5 at a distance of √6."""
    fake = torch.ones(6, requires_grad=True)
    cost, slope = rule(fake, torch.zeros(6), K=0.5)
    (gradient,) = torch.autograd.grad(cost, fake)
    return gradient.norm().item(), slope.item()


def climbs(rule: Rule, *places: float) -> bool:
    """Whether a step down the rule's gradient raises the scores of fakes that stand at these places."""
    fakes = [torch.full((4,), place, requires_grad=True) for place in places]
    return all((torch.autograd.grad(rule(torch.zeros(3), fake), fake)[0] < 0).all() for fake in fakes)


def unfair(rule: Rule) -> None:
    """Calls another rule than the one that it is given."""
    assert not earns(boxed_labels)


def chance(rule: Rule) -> Tensor:
    return rule(COST) and torch.rand(()) < 0.5


RIGHT: list[tuple[str, Any]] = [
    ("hunt-labels", earns_and_obeys),
    ("hunt-pairs", perfect),
    ("hunt-pairs", lambda rule: bool(rule(LINE, COUNT.flip(0)) > rule(LINE, COUNT) + 0.1)),
    ("hunt-norm", lambda rule: (rule(IMAGES, IMAGES / 4, 2.0) - 12).abs() < 0.01),
    ("hunt-slope", lambda rule: np.isclose(*slopes(rule))),
    ("hunt-generator", lambda rule: climbs(rule, -5.0, 5.0)),
    ("hunt-generator", lambda rule: rule(0 * ONES, ONES) > rule(0 * ONES, 2 * ONES)),
]
WRONG: dict[str, list[tuple[Any, str]]] = {
    "hunt-labels": [
        (lambda rule: abs(torch.cat(rule(COST)).mean()) < 1e-3,
         "in another guise: potentials boxed into [0, 1], centred afterwards. You look for a sign"),
        (earns, "in another guise: the right income and prices that pay the plan, but routes beside it overcharged"),
        (lambda rule: earns(rule) and torch.cat(rule(COST)).std() > 1, "routes beside it overcharged"),
        (lambda rule: (rule(COST)[0][:, None] - rule(COST)[1] <= COST + 1e-3).all(), "lets the published rule pass"),
        (lambda rule: torch.cat(rule(COST)).std() > 1, "in another guise: half of the optimal potentials"),
        (lambda rule: torch.allclose(rule(COST)[0], potentials(COST).real, atol=1e-3),
         "refuses a right rule: a corner of the optimal face, as POT returns it. Optimal potentials are not unique"),
        (lambda rule: earns(rule, COST / 500), "the box is wide enough"),
        (chance, "chance decides"),
        (lambda rule: rule(COST) is None, "judges 5 of 8 rules rightly. It refuses every rule"),
        (lambda rule: True, "without ever calling the rule"),
        (unfair, "without ever calling the rule"),
        (lambda rule: rule(COST)[1], "An assert, or True or False, is expected"),
        (lambda rule: rule("cost"), "your test stopped with AttributeError"),
        ("a test", "A function test(rule) is expected, got str"),
    ],
    "hunt-pairs": [
        (lambda rule: rule(COUNT, COUNT) < 1e-6, "shape (m,). A network returns (m, 1)"),
        (lambda rule: rule(ONES[:, None], ONES) < 1e-6, "Where all labels are equal"),
        (lambda rule: rule(TENTHS[:, None], TENTHS + 0.2) == (TENTHS.double() - (TENTHS + 0.2)).square().mean() / 2,
         "up to rounding in the seventh digit"),
        (lambda rule: rule(LINE, COUNT) >= 0, "Your inputs do show the mistake"),
    ],
    "hunt-norm": [
        (lambda rule: rule(IMAGES, IMAGES, 1.0) < 1e-6, "a slope that is right at every pixel is right in sum"),
        (lambda rule: (rule(torch.ones(2, 3, 1, 1), torch.zeros(2, 3, 1, 1), 1.0) - 3).abs() < 0.01,
         "Each of your samples is one pixel"),
        (lambda rule: (rule(IMAGES, 0 * IMAGES, 1.0) - 48).abs() < 0.01, "whatever the step and K. Choose"),
        (lambda rule: rule(IMAGES, 0 * IMAGES, 1.0) > 10,  # by channels 16, by pixels 3
         "in another guise: norms over the pixels, channel by channel"),
    ],
    "hunt-slope": [
        (lambda rule: np.isclose(slopes(rule)[1], 0.5 * 6**0.5),
         "refuses a right rule: cost 2K ‖x − y‖² with slope 4K ‖x − y‖. This cost and this slope"),
        (lambda rule: np.isclose(slopes(rule)[1], 0.5 * 6**0.5),
         "lets the published rule pass: cost 2K ‖x − y‖² with slope K ‖x − y‖"),
        (lambda rule: torch.equal(*rule(ONES, ONES, 0.5)), "cost and slope are both 0"),
    ],
    "hunt-generator": [
        (lambda rule: climbs(rule, -5.0), "the reals score higher than the fakes. They need not"),
        (lambda rule: (rule(ONES, 3 * ONES) + 3).abs() < 1e-3,
         "refuses a right rule: mean D(y) − mean D(x). A constant, or the scores of the reals"),
        (lambda rule: rule(0 * ONES, 5 * ONES) < 0, "refuses a right rule: 100 − mean D(x)"),
        (lambda rule: rule(0 * ONES, 3 * ONES).abs() < 4,
         "in another guise: |mean D(y) − mean D(x)|. The value is not what moves the fakes"),
    ],
}  # fmt: skip


def test_a_hunt_leaves_the_student_s_random_numbers_alone() -> None:
    drawn = []
    for hunting in (False, True):
        torch.manual_seed(7)
        np.random.seed(7)  # noqa: NPY002
        if hunting:
            check("hunt-labels", chance)
        drawn.append((float(torch.rand(())), np.random.rand()))  # noqa: NPY002
    assert drawn[0] == drawn[1]


def test_the_box_is_that_of_the_programme_with_bounds() -> None:
    cost = torch.rand(4, 3, generator=torch.Generator().manual_seed(2)).double() * 3
    objective = [-1 / 4] * 4 + [1 / 3] * 3
    rows = [[float(k == j) - float(k == 4 + i) for k in range(7)] for j in range(4) for i in range(3)]
    expected = -linprog(objective, A_ub=rows, b_ub=cost.flatten().tolist(), bounds=(0, 1)).fun
    h, g = boxed_labels(cost)
    assert abs(float(h.mean() - g.mean()) - expected) < 1e-9
