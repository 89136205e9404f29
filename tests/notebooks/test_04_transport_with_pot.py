"""What notebook 04 writes from scratch is what the package, POT and closed forms say."""

from typing import Any

import numpy as np
import ot
import pytest
import torch
from scipy.optimize import linprog

from otsr.transport import barycentric_map, gaussian_map


@pytest.fixture
def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Weights a (7,) and b (5,), cost (7, 5) between points of the plane, and the targets (7, 2)."""
    random = np.random.default_rng(0)
    targets, sources = random.random((7, 2)), random.random((5, 2))
    return random.dirichlet(np.ones(7)), random.dirichlet(np.ones(5)), ot.dist(targets, sources), targets


def test_pot_s_plan_solves_its_programme_and_its_map_is_the_package_s(written: Any, problem: Any) -> None:
    a, b, cost, targets = problem
    plan = ot.emd(a, b, cost)
    np.testing.assert_allclose(written.linear_programme(a, b, cost).x.reshape(cost.shape), plan, atol=1e-9)
    theirs = barycentric_map(torch.from_numpy(plan), torch.from_numpy(targets))
    np.testing.assert_allclose(written.barycentric(plan, targets), theirs.numpy(), atol=1e-12)


@pytest.mark.parametrize("epsilon", [1.0, 0.05])
def test_its_sinkhorn_is_pot_s(written: Any, problem: Any, epsilon: float) -> None:
    a, b, cost, _ = problem
    plan, sweeps = written.sinkhorn(a, b, cost, epsilon, tolerance=1e-12)
    theirs = ot.sinkhorn(a, b, cost, epsilon, method="sinkhorn_log", stopThr=1e-12, numItermax=20_000)
    np.testing.assert_allclose(plan, theirs, atol=1e-9)
    assert 1 < sweeps < 20_000


@pytest.mark.parametrize("epsilon", [2.0, 0.5])
def test_its_sinkhorn_flattens_gaussians_as_the_closed_form_says(written: Any, epsilon: float) -> None:
    wide, narrow = np.linspace(-10, 10, 201), np.linspace(-5, 5, 101)
    to, start = written.normal(wide, 2), written.normal(narrow, 1)
    plan, _ = written.sinkhorn(to, start, (wide[:, None] - narrow) ** 2, epsilon)
    line = written.barycentric(plan, wide)
    slope = (start * narrow * line).sum() / (start * narrow**2).sum()
    assert slope == pytest.approx(np.sqrt(4 + (epsilon / 4) ** 2) - epsilon / 4, abs=1e-3)


def test_its_brenier_map_is_the_package_s_and_the_cheapest_that_matches_the_covariance(written: Any) -> None:
    A, B = (one @ one.T + 0.1 * np.eye(3) for one in np.random.default_rng(1).standard_normal((2, 3, 3)))
    zero, best = torch.zeros(3, dtype=torch.float64), written.brenier(A, B)
    theirs = gaussian_map((zero, torch.from_numpy(A)), (zero, torch.from_numpy(B))).matrix
    np.testing.assert_allclose(best, theirs.numpy(), atol=1e-9)
    for ends in ([1, 1, 1], [1, -1, 1], [1, 1, -1]):
        M = written.along_axes(A, B, ends)
        np.testing.assert_allclose(M @ A @ M.T, B, atol=1e-9)
        assert np.trace(M @ A) < np.trace(best @ A)  # the cost is tr A + tr B − 2 tr M A


@pytest.mark.parametrize("reach", [0.05, 0.4, 10.0])
def test_its_plan_that_leaves_mass_behind_solves_the_linear_programme(written: Any, reach: float) -> None:
    random = np.random.default_rng(2)
    cost = ot.dist(random.random((6, 2)), random.random((9, 2)))
    plan = written.leave_behind(cost, reach)
    limits = np.vstack([np.kron(np.eye(6), np.ones(9)), np.kron(np.ones(6), np.eye(9))])
    masses = np.concatenate([np.full(6, 1 / 6), np.full(9, 1 / 9)])
    best = linprog((cost - reach).ravel(), A_ub=limits, b_ub=masses)  # reach/2 · (1 − carried) on each side
    assert plan.min() >= 0 and (limits @ plan.ravel() <= masses + 1e-12).all()
    assert ((cost - reach) * plan).sum() == pytest.approx(best.fun, abs=1e-12)


def test_its_count_of_pivots_is_the_least_that_suffices(written: Any) -> None:
    random = np.random.default_rng(3)
    cost, even = ot.dist(random.random((30, 2)), random.random((30, 2))), np.full(30, 1 / 30)
    count = written.pivots(cost)
    assert ot.emd(even, even, cost, numItermax=count, log=True)[1]["warning"] is None
    with pytest.warns(UserWarning):
        assert ot.emd(even, even, cost, numItermax=count - 1, log=True)[1]["warning"] is not None


def test_its_bricks_are_twelve_and_close_to_the_histogram(written: Any) -> None:
    photo = np.random.default_rng(4).beta(2, 5, (50, 40))
    bricks = written.bricks(photo)
    assert bricks.sum() == 12
    assert np.abs(bricks - np.histogram(photo, 6, (0, 1))[0] / photo.size * 12).max() < 1
