"""What notebook 05 writes from scratch is what the package does, and its published rules are those that are checked."""

from functools import partial
from typing import Any

import pytest
import torch

from otsr import transport
from otsr.course.exercises import critic as hunt
from otsr.transport import potentials, quadratic_cost


@pytest.fixture
def batch() -> torch.Tensor:
    """Reals and fakes."""
    batch = torch.randn(2, 12, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return batch + torch.tensor([0.5, 0])[:, None, None, None, None]


@pytest.mark.parametrize("count", [1, 2, 12])
def test_its_labels_are_the_package_s(written: Any, batch: torch.Tensor, count: int) -> None:
    real, fake = batch[:, :count]
    cost = quadratic_cost(real, fake, 0.3)
    torch.testing.assert_close(written.quadratic(real, fake, 0.3), cost)
    expected = potentials(cost)
    for ours, name in zip(written.labels(cost), ("real", "fake", "plan"), strict=True):
        torch.testing.assert_close(ours, getattr(expected, name), atol=1e-9, rtol=0)


def test_its_losses_are_the_package_s(written: Any, batch: torch.Tensor) -> None:
    real, fake = batch[0], batch[1].requires_grad_()
    labels = potentials(quadratic_cost(real, fake).float())
    torch.manual_seed(0)
    layers = torch.nn.Linear(48, 8), torch.nn.SiLU(), torch.nn.Linear(8, 1)
    critic = torch.nn.Sequential(torch.nn.Flatten(), *layers)
    of_real, scores = critic(real), critic(fake)
    goal = transport.barycentric_map(labels.plan, real)
    theirs = transport.critic_loss(of_real, scores, labels)
    torch.testing.assert_close(written.regression(of_real, scores, labels.real, labels.fake), theirs)
    theirs = transport.regularity_loss(fake, scores, real, labels.plan)
    torch.testing.assert_close(written.slope_gap(fake, scores, goal, 1 / 48, 0.4), theirs)
    torch.testing.assert_close(written.climb(scores), transport.generator_loss(scores))


draw = partial(torch.randn, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("boxed_labels", [30 * draw(5, 4).abs()]),
        ("spread_loss", [draw(6, 1), draw(6)]),
        ("pixel_penalty", [draw(4, 3, 5, 5), draw(4, 3, 5, 5), 0.3]),
        ("cost_and_slope", [draw(9), draw(9), 0.3]),
        ("squared_gap", [draw(5), draw(6)]),
    ],
)
def test_the_rules_it_shows_are_those_that_are_hunted(written: Any, name: str, arguments: list) -> None:
    ours, theirs = getattr(written, name), getattr(hunt, name)
    torch.testing.assert_close(ours(*arguments), theirs(*arguments), rtol=0, atol=0)
    assert theirs in [next(iter(one.wrong.values())) for one in hunt.HUNTS.values()]


def test_its_worked_example_says_yes_and_no_as_the_text_says(written: Any) -> None:
    rules = written.quadratic, written.another_right_one, written.transposed
    tries = written.first_try, written.second_try, written.third_try
    verdicts = [" ".join(written.verdict(one, rule) for rule in rules) for one in tries]
    assert verdicts == ["yes yes yes", "yes no no", "yes yes no"]
