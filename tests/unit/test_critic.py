"""The critic's losses are the paper's. Mistakes of the published code that they rule out: `test_defects`."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from otsr.transport import potentials, quadratic_cost
from otsr.transport.critic import critic_loss, regularity_loss


def batches(n: int = 12, m: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(2 * torch.rand(count, 3, 8, 8, generator=generator) - 1 for count in (n, m))  # type: ignore[return-value]


def test_the_loss_is_the_formula_written_out() -> None:
    real, fake = batches(5, 7)
    labels = potentials(quadratic_cost(real, fake))
    y, x = torch.randn(5, 1), torch.randn(7, 1)
    expected = (sum(y.flatten()) / 5 - sum(labels.real) / 5) ** 2 / 2
    expected += sum((x[i, 0] - labels.fake[i]) ** 2 for i in range(7)) / 7 / 2
    assert torch.allclose(critic_loss(y, x, labels), expected.float(), atol=1e-6)


def test_scores_that_are_not_one_a_sample_are_refused() -> None:
    labels = potentials(quadratic_cost(*batches()))
    for scores in (torch.zeros(12, 12), torch.zeros(1)):
        with pytest.raises(ValueError, match="one for each of 12"):
            critic_loss(torch.zeros(12, 1), scores, labels)


def test_the_penalty_teaches_the_critic() -> None:
    torch.manual_seed(0)
    real, fake = batches(9, 12)
    plan = potentials(quadratic_cost(real, fake)).plan
    critic = nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.Softplus(), nn.Linear(32, 1))
    regularity_loss(fake.requires_grad_(), critic(fake), real, plan).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in list(critic.parameters())[:-1])


def test_a_flat_critic_has_a_finite_gradient() -> None:
    real, fake = batches()
    plan = potentials(quadratic_cost(real, fake)).plan
    weight = torch.zeros(192, requires_grad=True)
    regularity_loss(fake.requires_grad_(), fake.flatten(1) @ weight, real, plan).backward()
    assert weight.grad is not None and torch.isfinite(weight.grad).all()
