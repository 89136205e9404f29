"""What notebook 11 writes from scratch is what the package, closed forms and known solutions say."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from otsr.transport import bures_wasserstein
from otsr.transport.gaussian import moments

GLOBALS = ("LENS",)

A, MISSING = torch.linspace(1, 2, 64), torch.linspace(1.5, 0.2, 64)  # variances of 64 independent numbers


def gaussians(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Guesses, and truths: a guess and what it misses."""
    generator = torch.Generator().manual_seed(seed)
    guess, missing = (torch.randn(count, 64, generator=generator) * one.sqrt() for one in (A, MISSING))
    return guess, guess + missing


def spread(t: Any, sigma: float) -> Tensor:
    """Variance at time t on the lines from guess + noise to truth."""
    return A + (1 - t) ** 2 * sigma**2 + t**2 * MISSING


def exact(start: Tensor, t: float, sigma: float) -> Tensor:
    """Where the exact flow from guess + noise to truth is at time t: it stretches each number."""
    return start * (spread(t, sigma) / spread(0, sigma)).sqrt()


def exact_velocity(sigma: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    return lambda z, t, known: z * (t * MISSING - (1 - t) * sigma**2) / spread(t, sigma)


@pytest.mark.slow
def test_a_taught_flow_between_gaussians_is_the_known_linear_map(written: Any) -> None:
    guess, truth = gaussians(6000)
    nothing = torch.zeros(len(guess), 1)
    flow = written.teach(guess, truth, nothing, nothing + 1, sigma=0.5, rounds=600)
    noise = torch.randn(1000, 64, generator=torch.Generator().manual_seed(2))
    start = gaussians(1000, seed=1)[0] + 0.5 * noise
    end = exact(start, 1, 0.5)
    error = (written.follow(flow, start, nothing[:1000], 20)[-1] - end).square().mean()
    assert error < 0.02 * end.square().mean()  # measured 0.014
    assert error < 0.75 * (start - end).square().mean()  # measured 0.5


def test_following_a_velocity_leads_along_its_way(written: Any) -> None:
    start, known = gaussians(20)[0], torch.zeros(20, 1)
    way = written.follow(exact_velocity(0.5), start, known, 2000)
    assert way.shape == (2001, 20, 64)
    for t in (0.25, 0.5, 1.0):
        torch.testing.assert_close(way[round(2000 * t)], exact(start, t, 0.5), atol=2e-3, rtol=0)
    one_step = written.follow(exact_velocity(0.0), start, known, 1)[-1]
    torch.testing.assert_close(one_step, start)  # the guess


def test_between_gaussians_random_pairs_lead_where_true_pairs_do(written: Any) -> None:
    guess, truth = gaussians(20_000)
    stranger = truth[torch.randperm(len(truth), generator=torch.Generator().manual_seed(3))]

    def learned(ends: Tensor) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """The velocity that regression finds: linear in each number, as all are Gaussian."""

        def velocity(z: Tensor, t: Tensor, known: Tensor) -> Tensor:
            at = float(t.flatten()[0])
            between = (1 - at) * guess + at * ends
            return z * ((ends - guess) * between).mean(0) / between.square().mean(0)

        return velocity

    start, known = gaussians(20, seed=1)[0], torch.zeros(20, 1)
    for ends in (truth, stranger):
        end = written.follow(learned(ends), start, known, 100)[-1]
        torch.testing.assert_close(end, exact(start, 1, 0.0), atol=0.05, rtol=0.05)


def test_the_exact_flow_lies_on_the_curve_and_its_detour_is_one(written: Any) -> None:
    guess, truth = (samples.double() for samples in gaussians(100_000))
    written.x_new, written.D_star = truth, float((guess - truth).square().sum(1).mean())
    written.P_star = float(bures_wasserstein(moments(guess), moments(truth)).sqrt())
    for t in (0.0, 0.5, 1.0):
        mixed = guess + t * (exact(guess.float(), 1, 0.0).double() - guess)
        assert written.detour(mixed) == pytest.approx(1, abs=0.06)
    draw = guess + (truth - guess)[torch.randperm(len(truth), generator=torch.Generator().manual_seed(3))]
    assert written.detour(draw) > 1.25


def test_patches_are_the_middles_of_windows_that_come_with_their_lr_pixels(written: Any) -> None:
    hr = torch.zeros(24, 24)
    hr[8:16, 8:16] = 1
    assert written.middle(hr.reshape(1, -1)).tolist() == [[1.0] * 64]
    windows, seen = written.cut(written.photos("train")[:1], 50, noise=0)
    lr = written.kernels.downsample(windows.float().view(-1, 1, 24, 24), written.LENS, 4)
    seen = seen.float().view(-1, 6, 6)[:, 2:4, 2:4]  # the border needs more than the window
    torch.testing.assert_close(lr[:, 0, 2:4, 2:4], seen, atol=0.02, rtol=0)


def test_level_and_contrast_are_put_back(written: Any) -> None:
    star, x = torch.rand(2, 9, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    level, contrast = written.exposure(star)
    guess, truth, _, size = written.prepare(star, x)
    torch.testing.assert_close(level + contrast * truth, x, atol=1e-5, rtol=0)
    torch.testing.assert_close(guess.mean(1), torch.zeros(9), atol=1e-5, rtol=0)
    torch.testing.assert_close(size.double(), contrast, atol=1e-6, rtol=0)


def test_a_dial_at_zero_is_the_guess_and_at_one_is_euler(written: Any) -> None:
    start, guess = gaussians(8)
    known = torch.zeros(8, 1)
    ends = [written.pulled(exact_velocity(0.5), start, known, guess, weight, 7) for weight in (0, 1)]
    torch.testing.assert_close(ends[0], guess, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ends[1], written.follow(exact_velocity(0.5), start, known, 7)[-1])


def test_its_perception_is_that_of_the_course(written: Any) -> None:
    first, second = (samples.double() for samples in gaussians(500))
    expected = float(bures_wasserstein(moments(first), moments(second)).sqrt())
    assert written.P(first, second) == pytest.approx(expected)
