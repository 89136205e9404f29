"""What notebook 05 writes from scratch is what the package does, and its published rules are those that are checked."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from otsr.course.exercises import critic as hunt
from otsr.transport import (
    barycentric_map,
    critic_loss,
    generator_loss,
    potentials,
    quadratic_cost,
    regularity_loss,
)


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    real, fake = torch.randn(2, 12, 3, 4, 4, generator=generator)
    return real + 0.5, fake


@pytest.mark.parametrize("count", [1, 2, 12])
def test_its_labels_are_the_package_s(
    written: Any, batch: tuple[torch.Tensor, torch.Tensor], count: int
) -> None:
    real, fake = (one[:count] for one in batch)
    cost = quadratic_cost(real, fake, 0.3)
    torch.testing.assert_close(written.quadratic(real, fake, 0.3), cost)
    expected = potentials(cost)
    for ours, name in zip(written.labels(cost), ("real", "fake", "plan"), strict=True):
        torch.testing.assert_close(ours, getattr(expected, name), atol=1e-9, rtol=0)


def test_its_losses_are_the_package_s(written: Any, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    real, fake = batch
    labels = potentials(quadratic_cost(real, fake).float())
    torch.manual_seed(0)
    layers = torch.nn.Linear(48, 8), torch.nn.SiLU(), torch.nn.Linear(8, 1)
    critic = torch.nn.Sequential(torch.nn.Flatten(), *layers)
    fake.requires_grad_()
    scores = critic(fake)
    torch.testing.assert_close(
        written.regression(critic(real), scores, labels.real, labels.fake),
        critic_loss(critic(real), scores, labels),
    )
    torch.testing.assert_close(
        written.slope_gap(fake, scores, barycentric_map(labels.plan, real), 1 / 48, 0.4),
        regularity_loss(fake, scores, real, labels.plan),
    )
    torch.testing.assert_close(written.climb(scores), generator_loss(scores))


INPUTS = {
    "boxed_labels": lambda draw: (30 * draw(5, 4).abs(),),
    "spread_loss": lambda draw: (draw(6, 1), draw(6)),
    "pixel_penalty": lambda draw: (draw(4, 3, 5, 5), draw(4, 3, 5, 5), 0.3),
    "cost_and_slope": lambda draw: (draw(9), draw(9), 0.3),
    "squared_gap": lambda draw: (draw(5), draw(6)),
}


@pytest.mark.parametrize("name", INPUTS)
def test_the_rules_it_shows_are_those_that_are_hunted(written: Any, name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    arguments = INPUTS[name](lambda *shape: torch.randn(*shape, generator=generator))
    ours, theirs = (getattr(place, name) for place in (written, hunt))
    torch.testing.assert_close(ours(*arguments), theirs(*arguments), rtol=0, atol=0)
    assert theirs in [next(iter(one.wrong.values())) for one in hunt.HUNTS.values()]


def test_its_worked_example_says_yes_and_no_as_the_text_says(written: Any) -> None:
    rules = written.quadratic, written.another_right_one, written.transposed
    tries = written.first_try, written.second_try, written.third_try
    verdicts = [" ".join(written.verdict(one, rule) for rule in rules) for one in tries]
    assert verdicts == ["yes yes yes", "yes no no", "yes yes no"]
