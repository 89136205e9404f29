"""What notebook 10 writes from scratch is what the package, closed forms and plain algebra say."""

from typing import Any

import pytest
import torch

from otsr.transport import (
    barycentric_map,
    bures_wasserstein,
    gaussian_map,
    l2_uvp,
    potentials,
    quadratic_cost,
)
from otsr.transport.gaussian import moments

GLOBALS = ("LENS", "sharp", "koala", "lr")


@pytest.fixture(scope="module")
def stats(written: Any) -> Any:
    written.sharp = written.sharp[:6]  # six photos are enough to test algebra
    return written.learn(noise=1 / 255)


def test_patches_cover_the_picture_each_in_the_middle_of_its_lr_surroundings(written: Any) -> None:
    koala, hr = written.koala, torch.zeros(3, 64, 64)
    torch.testing.assert_close(written.paste(written.hr_patches(koala), koala.shape[1:]), koala)
    hr[:, 24:32, 40:48] = 1  # one whole patch
    number = written.hr_patches(hr).sum(1).argmax()
    surroundings = written.lr_patches(torch.nn.functional.avg_pool2d(hr, 4))[number].view(3, 6, 6)
    assert surroundings[:, 2:4, 2:4].min() == 1
    assert surroundings.sum() == 12


def test_its_guess_is_least_squares_and_carried_has_the_real_moments(written: Any, stats: Any) -> None:
    draw = torch.Generator().manual_seed(0)
    low = [written.lr_patches(written.shrink(hr, draw, 1 / 255))[::7] for hr in written.sharp]
    x, y = torch.cat([written.hr_patches(hr)[::7] for hr in written.sharp]).double(), torch.cat(low).double()
    x, y = x - stats.mean_x, y - stats.mean_y
    guessed = y @ stats.guess.T
    torch.testing.assert_close(guessed, y @ torch.linalg.lstsq(y, x).solution, atol=1e-6, rtol=0)
    carried = guessed @ stats.T.T
    torch.testing.assert_close(moments(carried)[1] + stats.lost, moments(x)[1], atol=1e-4, rtol=0)
    closed = gaussian_map(moments(guessed), moments(x)).matrix
    assert (carried - guessed @ closed.T).square().mean() < 1e-8


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_a_strength_goes_that_part_of_the_way(written: Any, stats: Any, strength: float) -> None:
    start, part, end = (written.patches_of(written.lr, stats, t) for t in (0, strength, 1))
    torch.testing.assert_close(part, start + strength * (end - start))
    assert written.enlarge(written.lr, stats, strength).shape == written.koala.shape


def test_its_price_is_what_the_formula_says_on_the_photos_of_the_moments(written: Any, stats: Any) -> None:
    distance = float(bures_wasserstein((stats.mean_x, stats.A), (stats.mean_x, stats.B)))
    written.stats, written.distance = stats, distance
    measured, formula = written.price(written.sharp, (0, 0.5, 1))
    for t in (0.5, 1):
        assert written.decibels(measured[t]) == pytest.approx(written.decibels(formula[t]), abs=0.03)


def test_its_measure_of_maps_is_the_package_s(written: Any) -> None:
    samples = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    maps = (lambda x: 2 * x + 0.1, lambda x: x**3)
    assert written.unexplained(*maps, samples) == pytest.approx(l2_uvp(*maps, samples), rel=1e-4)


def test_its_problem_has_a_symmetric_positive_derivative_as_brenier_s_maps_have(written: Any) -> None:
    cloud, _, push = written.problem(4)
    for x in cloud(5, torch.Generator().manual_seed(0)):
        slope = torch.autograd.functional.jacobian(lambda point: push(point[None])[0], x)
        torch.testing.assert_close(slope, slope.T)
        assert torch.linalg.eigvalsh(slope).min() > 0


def test_its_pairs_are_the_package_s_optimal_map(written: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = written.noise(60, generator), written.crescents(60, generator)
    theirs = barycentric_map(potentials(quadratic_cost(y, x)).plan, y)
    torch.testing.assert_close(written.by_plan(x, y), theirs)
    assert written.independent(x, y) is y


def test_its_euler_converges_to_the_flow(written: Any) -> None:
    start = torch.ones(3, 2, dtype=torch.float64)
    way = written.euler(lambda x, t: -x + t, start, 2000)
    assert way.shape == (2001, 3, 2)
    torch.testing.assert_close(way[-1], torch.full_like(start, 2 / torch.e), atol=1e-3, rtol=0)


def test_its_three_numbers_name_what_is_wrong(written: Any) -> None:
    koala, detail = written.koala, written.detail(written.koala)
    assert (written.contrast(koala), written.agreement(koala)) == pytest.approx((1, 1), abs=1e-4)
    assert written.misfit(koala) == 0
    assert written.contrast(koala - detail / 2) < 0.7  # blurred
    made_up = koala - detail + detail.flip(2)
    assert written.contrast(made_up) > 0.7 and written.agreement(made_up) < 0.3  # hallucinated
    assert written.misfit(koala + 0.05) == pytest.approx(0.05 * 255, rel=1e-3)  # biased
