"""What notebook 11 writes from scratch is what the package, closed forms and known solutions say."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from otsr.transport import bures_wasserstein, gaussian_map
from otsr.transport.gaussian import moments

GLOBALS = ("LENS",)


def gaussians(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Guesses and truths of 64 numbers: independent, guess variance 1 to 2, what is missing 0.2 to 1.5."""
    generator = torch.Generator().manual_seed(seed)
    guess = torch.randn(count, 64, generator=generator) * torch.linspace(1, 2, 64).sqrt()
    missing = torch.randn(count, 64, generator=generator) * torch.linspace(1.5, 0.2, 64).sqrt()
    return guess, guess + missing


def exact(start: Tensor, t: float, sigma: float) -> Tensor:
    """Where the exact flow from guess + noise to truth is at time t: it stretches each number."""
    A, missing = torch.linspace(1, 2, 64), torch.linspace(1.5, 0.2, 64)
    return start * ((A + (1 - t) ** 2 * sigma**2 + t**2 * missing) / (A + sigma**2)).sqrt()


def exact_velocity(sigma: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    A, missing = torch.linspace(1, 2, 64), torch.linspace(1.5, 0.2, 64)

    def velocity(z: Tensor, t: Tensor, known: Tensor) -> Tensor:
        spread = A + (1 - t) ** 2 * sigma**2 + t**2 * missing
        return z * (t * missing - (1 - t) * sigma**2) / spread

    return velocity


@pytest.mark.slow
def test_a_taught_flow_between_gaussians_is_the_known_linear_map(written: Any) -> None:
    guess, truth = gaussians(6000)
    nothing = torch.zeros(len(guess), 1)
    flow = written.teach(guess, truth, nothing, nothing + 1, sigma=0.5, rounds=600)
    start = gaussians(1000, seed=1)[0] + 0.5 * torch.randn(
        1000, 64, generator=torch.Generator().manual_seed(2)
    )
    end = exact(start, 1, 0.5)
    error = written.follow(flow, start, nothing[:1000], 20)[-1] - end
    assert float(error.square().mean()) < 0.02 * float(end.square().mean())  # measured 0.014
    assert float(error.square().mean()) < 0.75 * float((start - end).square().mean())  # measured 0.5


def test_following_the_exact_velocity_leads_along_the_exact_way(written: Any) -> None:
    start = gaussians(20)[0]
    way = written.follow(exact_velocity(0.5), start, torch.zeros(20, 1), 2000)
    assert way.shape == (2001, 20, 64)
    for t in (0.25, 0.5, 1.0):
        torch.testing.assert_close(way[round(2000 * t)], exact(start, t, 0.5), atol=2e-3, rtol=0)


def test_the_exact_flow_without_noise_ends_at_the_optimal_map() -> None:
    """Where guesses and what is missing vary in the same directions, the flow is Gaussian transport."""
    A, missing = torch.linspace(1, 2, 64).double(), torch.linspace(1.5, 0.2, 64).double()
    mean = torch.zeros(64).double()
    transport = gaussian_map((mean, A.diag()), (mean, (A + missing).diag()))
    start = gaussians(5)[0]
    torch.testing.assert_close(exact(start, 1, 0.0), transport(start.double()).float(), atol=1e-4, rtol=0)


def test_random_pairs_of_gaussians_end_at_the_same_map(written: Any) -> None:
    A, missing = torch.linspace(1, 2, 64), torch.linspace(1.5, 0.2, 64)
    B = A + missing

    def velocity(z: Tensor, t: Tensor, known: Tensor) -> Tensor:  # E[truth − guess | place], both drawn apart
        return z * (t * B - (1 - t) * A) / ((1 - t) ** 2 * A + t**2 * B)

    start = gaussians(20)[0]
    end = written.follow(velocity, start, torch.zeros(20, 1), 2000)[-1]
    torch.testing.assert_close(end, exact(start, 1, 0.0), atol=5e-3, rtol=0)


def test_one_exact_step_from_the_guess_is_the_guess(written: Any) -> None:
    guess = gaussians(20)[0]
    torch.testing.assert_close(written.follow(exact_velocity(0.0), guess, torch.zeros(20, 1), 1)[-1], guess)


def test_the_exact_flow_lies_on_the_curve_and_its_detour_is_one(written: Any) -> None:
    guess, truth = (samples.double() for samples in gaussians(100_000))
    written.x_new, written.D_star = truth, float((guess - truth).square().sum(1).mean())
    written.P_star = float(bures_wasserstein(moments(guess), moments(truth)).sqrt())
    for t in (0.0, 0.5, 1.0):
        mixed = guess + t * (exact(guess.float(), 1, 0.0).double() - guess)
        assert written.detour(mixed) == pytest.approx(1, abs=0.06)
    draw = guess + (truth - guess)[torch.randperm(len(truth), generator=torch.Generator().manual_seed(3))]
    assert written.detour(draw) > 1.25


def test_its_best_guess_cannot_be_improved(written: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    seen = torch.randn(300, 36, generator=generator, dtype=torch.float64)
    truth = torch.randn(300, 64, generator=generator, dtype=torch.float64) + 1
    error = written.best_guess(truth, seen)(seen) - truth
    product = (seen - seen.mean(0)).T @ error
    torch.testing.assert_close(product, torch.zeros(36, 64, dtype=torch.float64), atol=1e-8, rtol=0)


def test_each_patch_lies_in_the_middle_of_its_lr_pixels(written: Any) -> None:
    hr = torch.zeros(24, 24)
    hr[8:16, 8:16] = 1
    assert written.middle(hr.reshape(1, -1)).tolist() == [[1.0] * 64]


def test_windows_are_degraded_to_the_lr_pixels_that_come_with_them(written: Any) -> None:
    path = written.photos("train")[:1]
    windows, seen = written.cut(path, 50, noise=0)
    lr = written.kernels.downsample(windows.float().view(-1, 1, 24, 24), written.LENS, 4)
    error = (
        lr[:, 0, 2:4, 2:4] - seen.view(-1, 6, 6)[:, 2:4, 2:4]
    ).abs()  # the border needs more than the window
    assert float(error.max()) < 0.02


def test_level_and_contrast_are_put_back(written: Any) -> None:
    star, x = (
        torch.rand(9, 64, generator=torch.Generator().manual_seed(k), dtype=torch.float64) for k in (0, 1)
    )
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


def test_its_psnr_and_its_perception_are_those_of_the_course(written: Any) -> None:
    assert written.psnr(torch.full((4,), 0.1), torch.zeros(4)) == pytest.approx(
        -10 * math.log10(0.01), abs=1e-4
    )
    first, second = (samples.double() for samples in gaussians(500))
    expected = float(bures_wasserstein(moments(first), moments(second)).sqrt())
    assert written.P(first, second) == pytest.approx(expected)
