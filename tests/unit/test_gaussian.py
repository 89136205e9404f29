"""Gaussian transport agrees with POT, and with samples."""

import ot
import pytest
import torch
from torch import Tensor

from otsr.transport import bures_wasserstein, gaussian_map
from otsr.transport.gaussian import moments, square_root


def gaussian(dim: int, seed: int, rank: int | None = None) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(dim, rank or dim, generator=generator, dtype=torch.float64)
    return torch.randn(dim, generator=generator, dtype=torch.float64), factor @ factor.T / dim


@pytest.mark.parametrize("dim", [1, 2, 16, 128])
def test_the_map_carries_mean_and_covariance_and_is_symmetric(dim: int) -> None:
    source, target = gaussian(dim, 0), gaussian(dim, 1)
    found = gaussian_map(source, target)
    T = found.matrix
    assert torch.allclose(T, T.T, atol=1e-6) and torch.allclose(T @ source[1] @ T.T, target[1], atol=1e-6)
    assert torch.allclose(found(source[0]), target[0]) and not found.noise.any()


def test_the_distance_is_pots_squared_and_what_the_map_costs() -> None:
    (m1, A), (m2, B) = gaussian(6, 4), gaussian(6, 5)
    found = float(bures_wasserstein((m1, A), (m2, B)))
    theirs = ot.gaussian.bures_wasserstein_distance(m1.numpy(), m2.numpy(), A.numpy(), B.numpy())
    assert abs(found - theirs**2) < 1e-8
    step = torch.eye(6, dtype=torch.float64) - gaussian_map((m1, A), (m2, B)).matrix
    assert abs(float((m1 - m2).square().sum() + (step @ A @ step.T).trace()) - found) < 1e-8


def test_a_degenerate_source_reaches_the_target_with_noise_at_the_optimal_cost() -> None:
    """The conditional mean of a lossy measurement is degenerate; a deterministic map would miss the target."""
    (m1, A), (m2, B) = gaussian(6, 8, rank=3), gaussian(6, 9)
    found = gaussian_map((m1, A), (m2, B))
    T, noise = found.matrix, found.noise
    assert torch.linalg.eigvalsh(noise).min() > -1e-9 and noise.trace() > 0.1
    assert torch.allclose(T @ A @ T.T + noise, B, atol=1e-6)
    cost = (m1 - m2).square().sum() + A.trace() + B.trace() - 2 * (T @ A).trace()
    assert abs(float(cost - bures_wasserstein((m1, A), (m2, B)))) < 1e-6
    generator = torch.Generator().manual_seed(0)
    samples = m1 + torch.randn(40_000, 6, generator=generator, dtype=torch.float64) @ square_root(A)
    mean, covariance = moments(found(samples, generator))
    assert (mean - m2).abs().max() < 0.05 and (covariance - B).abs().max() < 0.1
    generator.manual_seed(1)
    narrow = found(samples[:9].float(), generator)
    assert narrow.dtype == torch.float64 and narrow.isfinite().all()  # that of the map


def test_senseless_moments_are_refused() -> None:
    zero, eye, skew = torch.zeros(2), torch.eye(2), torch.tensor([[1.0, 0.5], [0.0, 1.0]])
    for mean, covariance, words in (
        (zero, torch.diag(torch.tensor([1.0, -1.0])), "semi-definite"),
        (zero, skew, "not symmetric"),
        (torch.zeros(3), eye, r"expected \(d,\)"),
        (torch.zeros(3), torch.eye(3), "3 dimensions, target in 2"),
    ):
        with pytest.raises(ValueError, match=words):
            gaussian_map((mean, covariance), (zero, eye))
    with pytest.raises(ValueError, match="n of at least 2"):
        moments(torch.zeros(1, 3))
