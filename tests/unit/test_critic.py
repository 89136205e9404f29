"""The critic's losses are the paper's, and none of the published code's mistakes can be made with them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from otsr.transport import barycentric_map, potentials, quadratic_cost
from otsr.transport.critic import critic_loss, generator_loss, regularity_loss


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


def test_labels_of_images_are_neither_constant_nor_boxed() -> None:
    """Boxed into [0, 1] beside costs far above 1, every label would be 1 for reals and 0 for fakes."""
    real, fake = batches()
    labels = potentials(quadratic_cost(real, fake, K=4.0))
    assert labels.fake.std() > 0.1 and labels.real.std() > 0.1
    assert labels.real.max() - labels.fake.min() > 1


def test_the_loss_changes_when_the_labels_are_permuted() -> None:
    """(B, 1) − (B,) would broadcast to (B, B), whose mean square does not see the order."""
    labels = potentials(quadratic_cost(*batches()))
    scores = labels.fake.float()[:, None]
    right = critic_loss(torch.zeros(12, 1), scores, labels)
    wrong = critic_loss(torch.zeros(12, 1), scores.roll(1, 0), labels)
    assert wrong > right + 1e-4


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


def test_slope_and_displacement_are_measured_over_the_whole_sample() -> None:
    """Not over channels only, pixel by pixel."""
    real, fake = batches()
    plan = potentials(quadratic_cost(real, fake)).plan
    fake.requires_grad_()
    direction = torch.randn(3, 8, 8)
    loss = regularity_loss(fake, (fake * direction).sum((1, 2, 3)), real, plan, K=0.25, gamma=0.4)
    step = (barycentric_map(plan, real) - fake.detach()).flatten(1).norm(dim=1)
    assert torch.allclose(loss, 0.4 / (2 * 0.5) * (direction.norm() - 0.25 * step).square().mean(), rtol=1e-5)


@pytest.mark.parametrize("K", [1 / 192, 1.0, 3.0])
def test_the_slope_asked_for_is_that_of_the_optimal_potential(K: float) -> None:
    """A potential of the batch, extended by the c-transform, has slope K‖ŷ − x‖: the penalty vanishes on it.

    The published code asks for K‖x − y‖ beside a cost whose potential has slope 4K‖x − y‖.
    """
    real, fake = batches()
    labels = potentials(quadratic_cost(real, fake, K))

    def potential(x: Tensor) -> Tensor:  # g(x) = max_j h_j − c(x, y_j)
        return (
            (labels.real.to(x)[:, None] - K / 2 * torch.cdist(real.flatten(1), x.flatten(1)) ** 2)
            .max(0)
            .values
        )

    fake.requires_grad_()
    assert regularity_loss(fake, potential(fake), real, labels.plan, K) < 1e-6 * K**1.5
    assert regularity_loss(fake, 4 * potential(fake), real, labels.plan, K) > 0.01 * K**1.5


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


def test_the_potential_points_where_the_plan_carries() -> None:
    real, fake = batches()
    labels = potentials(quadratic_cost(real, fake, 1.0))
    fake.requires_grad_()
    extended = (
        (labels.real.to(fake)[:, None] - torch.cdist(real.flatten(1), fake.flatten(1)) ** 2 / 2).max(0).values
    )
    (gradient,) = torch.autograd.grad(extended.sum(), fake)
    assert torch.allclose(gradient, barycentric_map(labels.plan, real) - fake.detach(), atol=1e-4)


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


def test_the_penalty_needs_a_fake_that_requires_grad() -> None:
    real, fake = batches()
    with pytest.raises(ValueError, match="requires_grad_"):
        regularity_loss(fake, fake.sum((1, 2, 3)), real, potentials(quadratic_cost(real, fake)).plan)


def test_the_generator_always_climbs() -> None:
    """(mean D(y) − mean D(x))² would pull fakes down once they score above the reals."""
    scores = torch.tensor([5.0, 9.0], requires_grad=True)
    generator_loss(scores).backward()
    assert (scores.grad < 0).all()
