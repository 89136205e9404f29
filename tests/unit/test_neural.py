"""Learned maps agree with maps known in closed form; where theory says that a way fails, it is seen to fail."""

import pytest
import torch
from torch import Tensor

from otsr.transport import gaussian_map, l2_uvp, neural
from otsr.transport.gaussian import moments, square_root
from otsr.transport.neural import Sampler, fit_critic_map, fit_map

MEAN = torch.tensor([2.0, -1.0])
COVARIANCE = torch.tensor([[2.0, 0.8], [0.8, 0.6]])


def standard(count: int, generator: torch.Generator) -> Tensor:
    return torch.randn(count, 2, generator=generator)


def gaussian(count: int, generator: torch.Generator) -> Tensor:
    return MEAN + standard(count, generator) @ square_root(COVARIANCE).float()


def truth(x: Tensor) -> Tensor:
    return gaussian_map((torch.zeros(2), torch.eye(2)), (MEAN, COVARIANCE))(x.double())


def two_lumps(count: int, generator: torch.Generator) -> Tensor:
    """A mixture of two Gaussians of deviation ½, at (−2, 0) and (2, 0)."""
    side = 4.0 * torch.randint(0, 2, (count, 1), generator=generator) - 2
    return standard(count, generator) * 0.5 + side * torch.tensor([[1.0, 0.0]])


def merge(x: Tensor) -> Tensor:
    """The optimal map from `two_lumps` to `standard`, axis by axis: quantiles to quantiles, Φ⁻¹(F(x₁)) and 2 x₂."""
    quantile = torch.special.ndtr(2 * (x[:, :1].double() + torch.tensor([-2.0, 2.0]))).mean(1)
    return torch.stack([torch.special.ndtri(quantile), 2 * x[:, 1].double()], 1)


def samples(draw: Sampler, count: int = 2000) -> Tensor:
    return draw(count, torch.Generator().manual_seed(99))


def test_the_game_finds_a_map_that_no_linear_map_comes_near() -> None:
    found = fit_map(two_lumps, standard, 2, steps=400, batch=128, width=48)
    x = samples(two_lumps)
    linear = gaussian_map(moments(x), moments(merge(x)))
    assert l2_uvp(found, merge, x) < 3 < l2_uvp(lambda x: linear(x.double()), merge, x) / 2


def test_the_critics_gradient_points_along_the_map() -> None:
    found = fit_critic_map(standard, gaussian, 2, steps=500, batch=48, width=48)
    x = samples(standard)
    assert l2_uvp(found, truth, x) < 0.65 * l2_uvp(lambda x: x + MEAN, truth, x)
    with torch.no_grad():  # a map can be asked for where no gradients are kept
        assert torch.equal(found(x), found(x))


def test_the_answer_is_an_average_over_a_game_that_begins_with_the_identity(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The map moves by 1 in each step. Step t weighs as C(t + 8, 8), and the mean of these weights is 0.9 · steps."""

    def move(optimiser: torch.optim.Optimizer, _: Tensor) -> None:
        bias = optimiser.param_groups[0]["params"][-1]
        bias.data += 1 / 4 if len(bias) == 2 else 0  # four times a step, and not the potential's

    monkeypatch.setattr(neural, "_descend", move)
    x = samples(standard, 8)
    assert torch.equal(fit_map(standard, gaussian, 2, steps=0)(x), x)
    torch.testing.assert_close(fit_map(standard, gaussian, 2, steps=20)(x), x + 18)


def test_the_same_seed_gives_the_same_map() -> None:
    maps = [fit_map(standard, gaussian, 2, steps=3, batch=16, seed=seed) for seed in (1, 1, 2)]
    moved = [found(samples(standard, 8)) for found in maps]
    assert torch.equal(moved[0], moved[1]) and not torch.equal(moved[0], moved[2])
    state = torch.random.get_rng_state()
    fit_critic_map(standard, gaussian, 2, steps=2, batch=8)
    assert torch.equal(torch.random.get_rng_state(), state)  # no global randomness is used


def test_the_error_of_a_map_is_0_at_the_truth_and_100_at_the_mean() -> None:
    x = samples(standard, 50_000)
    assert l2_uvp(truth, truth, x) == 0
    assert abs(l2_uvp(lambda s: truth(s).mean(0).expand(len(s), 2), truth, x) - 100) < 1e-6
    off = l2_uvp(lambda s: truth(s) + torch.tensor([1.0, 0.0]), truth, x)
    assert abs(off - 100 / float(COVARIANCE.trace())) < 1


def test_samples_that_are_not_finite_end_the_game() -> None:
    with pytest.raises(ValueError, match="the loss is nan"):
        fit_map(standard, lambda n, g: standard(n, g) * torch.nan, 2, steps=1, batch=16)
