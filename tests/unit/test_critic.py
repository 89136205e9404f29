"""The critic's losses are the paper's. Mistakes of the published code that they rule out: `test_defects`."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from otsr.transport import barycentric_map, potentials, quadratic_cost
from otsr.transport.critic import critic_loss, regularity_loss


def batches(n: int = 12, m: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, 8, 8, generator=generator) * 2 - 1, torch.rand(
        m, 3, 8, 8, generator=generator
    ) * 2 - 1


def test_the_loss_is_the_formula_written_out() -> None:
    real, fake = batches(5, 7)
    labels = potentials(quadratic_cost(real, fake))
    y, x = torch.randn(5, 1), torch.randn(7, 1)
    expected = (sum(y.flatten()) / 5 - sum(labels.real) / 5) ** 2 / 2
    expected += sum((x[i, 0] - labels.fake[i]) ** 2 for i in range(7)) / 7 / 2
    assert torch.allclose(critic_loss(y, x, labels), expected.float(), atol=1e-6)


def test_scores_that_are_not_one_a_sample_are_refused() -> None:
    labels = potentials(quadratic_cost(*batches()))
    with pytest.raises(ValueError, match="one for each of 12"):
        critic_loss(torch.zeros(12, 1), torch.zeros(12, 12), labels)
    with pytest.raises(ValueError, match="one for each of 12"):
        critic_loss(torch.zeros(1), torch.zeros(12), labels)


@pytest.mark.parametrize(("n", "m"), [(9, 12), (12, 5)])
def test_batches_may_differ_in_size(n: int, m: int) -> None:
    real, fake = batches(n, m)
    labels = potentials(quadratic_cost(real, fake))
    assert torch.isfinite(critic_loss(torch.zeros(n), torch.zeros(m), labels))
    fake.requires_grad_()
    assert torch.isfinite(regularity_loss(fake, fake.flatten(1).sum(1), real, labels.plan))


@given(
    count=st.integers(1, 10), dim=st.integers(1, 20), K=st.floats(0.01, 10), seed=st.integers(0, 10_000)
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_slope_check_for_any_batch(count: int, dim: int, K: float, seed: int) -> None:
    """∇g(x_i) = K (ŷ(x_i) − x_i), here by finite differences of the c-transform g(x) = max_j h_j − c(x, y_j)."""
    generator = torch.Generator().manual_seed(seed)
    real, fake = (torch.randn(count, dim, generator=generator, dtype=torch.float64) for _ in range(2))
    labels = potentials(quadratic_cost(real, fake, K))
    expected = K * (barycentric_map(labels.plan, real) - fake)
    bound = labels.real[:, None] - quadratic_cost(real, fake, K)
    tight = bound.topk(min(2, count), 0).values
    inside = (
        (tight[0] - tight[-1] > 1e-3 * K) if count > 1 else torch.ones(1, dtype=torch.bool)
    )  # no kink nearby
    assert torch.allclose(bound.max(0).values, labels.fake, atol=1e-9)
    step = 1e-6
    for axis in range(dim):
        shift = step * torch.eye(dim, dtype=torch.float64)[axis]
        up, down = (
            (labels.real[:, None] - K / 2 * (real[:, None] - x).square().sum(-1)).max(0).values
            for x in (fake + shift, fake - shift)
        )
        slope = (up - down) / (2 * step)
        assert torch.allclose(slope[inside], expected[inside, axis], atol=1e-6 * max(K, 1))


def test_the_penalty_teaches_the_critic() -> None:
    torch.manual_seed(0)
    real, fake = batches()
    plan = potentials(quadratic_cost(real, fake)).plan
    critic = nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.Softplus(), nn.Linear(32, 1))
    regularity_loss(fake.requires_grad_(), critic(fake), real, plan).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in list(critic.parameters())[:-1])


def test_a_flat_critic_has_a_finite_gradient() -> None:
    real, fake = batches()
    plan = potentials(quadratic_cost(real, fake)).plan
    weight = torch.zeros(192, requires_grad=True)
    fake.requires_grad_()
    regularity_loss(fake, fake.flatten(1) @ weight, real, plan).backward()
    assert weight.grad is not None and torch.isfinite(weight.grad).all()
