"""Transport between finite sets agrees with linear programming, assignment, brute force and closed forms."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import ot
import pytest
import torch
from scipy.optimize import linear_sum_assignment, linprog
from torch import Tensor

from otsr.transport import barycentric_map, potentials, quadratic_cost, sinkhorn_divergence, unbalanced_plan


def batches(n: int, m: int, dim: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    real = torch.randn(n, dim, generator=generator, dtype=torch.float64) + 0.5
    return real, torch.randn(m, dim, generator=generator, dtype=torch.float64)


def constraints(n: int, m: int) -> np.ndarray:
    """Rows of h_j − g_i over the variables (h, g)."""
    return np.hstack([np.kron(np.eye(n), np.ones((m, 1))), -np.kron(np.ones((n, 1)), np.eye(m))])


def test_cost_is_the_formula_written_out() -> None:
    real, fake = torch.rand(4, 3, 8, 8), torch.rand(5, 3, 8, 8)
    cost = quadratic_cost(real, fake)
    for j in range(4):
        for i in range(5):
            expected = ((real[j].double() - fake[i].double()) ** 2).sum() / (2 * 3 * 8 * 8)
            assert abs(cost[j, i] - expected) < 1e-14


def test_cost_survives_a_large_common_offset() -> None:
    """float32 products around 1000 would lose differences of 1e-3 completely."""
    real, fake = batches(6, 6)
    exact = quadratic_cost(real * 1e-3, fake * 1e-3)
    assert torch.allclose(quadratic_cost(real * 1e-3 + 1000, fake * 1e-3 + 1000), exact, rtol=1e-6)


def test_cost_refuses_samples_of_different_shapes() -> None:
    with pytest.raises(ValueError, match="equal samples"):
        quadratic_cost(torch.rand(3, 4), torch.rand(3, 5))


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_value_and_plan_are_those_of_the_assignment_problem(size: int) -> None:
    cost = quadratic_cost(*batches(size, size))
    rows, columns = linear_sum_assignment(cost.numpy())
    result = potentials(cost)
    assert abs(float(result.value) - cost.numpy()[rows, columns].mean()) < 1e-12
    np.testing.assert_allclose(result.plan.numpy()[rows, columns], 1 / size)


def test_value_is_the_best_of_all_720_pairings_of_six_points() -> None:
    cost = quadratic_cost(*batches(6, 6)).numpy()
    best = min(cost[list(order), range(6)].mean() for order in permutations(range(6)))
    assert abs(float(potentials(torch.from_numpy(cost)).value) - best) < 1e-12


@pytest.mark.parametrize(("n", "m"), [(64, 64), (5, 9), (9, 5), (1, 4), (12, 30)])
def test_potentials_are_feasible_optimal_tight_on_the_plan_and_centred(n: int, m: int) -> None:
    cost = quadratic_cost(*batches(n, m), K=1.0)
    result = potentials(cost)
    slack = cost - (result.real[:, None] - result.fake)
    assert slack.min() > -1e-12
    assert slack[result.plan > 1e-9].abs().max() < 1e-12
    assert abs(result.real.mean() - result.fake.mean() - result.value) < 1e-12
    assert abs(result.real.sum() + result.fake.sum()) < 1e-10


def test_value_agrees_with_highs_for_weighted_samples() -> None:
    cost = quadratic_cost(*batches(7, 4), K=1.0)
    a, b = torch.rand(7, dtype=torch.float64), torch.rand(4, dtype=torch.float64)
    a, b = a / a.sum(), b / b.sum()
    program = linprog(
        -np.concatenate([a, -b]), A_ub=constraints(7, 4), b_ub=cost.numpy().ravel(), bounds=(None, None)
    )
    assert abs(float(potentials(cost, a, b).value) + program.fun) < 1e-10


def test_potentials_are_the_centre_of_the_optimal_face() -> None:
    """Against HiGHS: for every node r, the highest and the lowest optimal potentials that vanish at r."""
    cost = quadratic_cost(*batches(6, 6, dim=2), K=1.0)
    result = potentials(cost)
    objective = np.concatenate([np.full(6, 1 / 6), np.full(6, -1 / 6)])
    extremes = []
    for root in range(12):
        for sign in (1, -1):
            program = linprog(
                -sign * np.ones(12), A_ub=constraints(6, 6), b_ub=cost.numpy().ravel(), bounds=(None, None),
                A_eq=np.vstack([objective, np.eye(12)[root]]), b_eq=[float(result.value), 0],
            )  # fmt: skip
            extremes.append(program.x)
    centre = np.mean(extremes, axis=0)
    np.testing.assert_allclose(torch.cat([result.real, result.fake]), centre - centre.mean(), atol=1e-9)


def test_potentials_do_not_depend_on_the_order_of_the_samples() -> None:
    cost = quadratic_cost(*batches(40, 40), K=1.0)
    generator = torch.Generator().manual_seed(1)
    rows, columns = torch.randperm(40, generator=generator), torch.randperm(40, generator=generator)
    plain, shuffled = potentials(cost), potentials(cost[rows][:, columns])
    assert torch.allclose(shuffled.real, plain.real[rows], atol=1e-10)
    assert torch.allclose(shuffled.fake, plain.fake[columns], atol=1e-10)


def test_corners_of_the_optimal_face_depend_on_the_solver() -> None:
    """Why a canonical choice is needed: two exact solvers return labels that differ by whole units."""
    cost = quadratic_cost(*batches(40, 40), K=1.0).numpy()
    _, simplex = ot.emd([], [], cost, log=True)
    objective = -np.concatenate([np.ones(40), -np.ones(40)]) / 40
    highs = linprog(objective, A_ub=constraints(40, 40), b_ub=cost.ravel(), bounds=(None, None)).x
    ours = np.concatenate([simplex["u"], -simplex["v"]])
    assert abs(objective @ (ours - highs)) < 1e-9
    assert np.abs((ours - ours.mean()) - (highs - highs.mean())).max() > 0.1


def test_ties_are_no_trouble() -> None:
    result = potentials(torch.ones(4, 4, dtype=torch.float64))
    assert torch.allclose(result.real, torch.full((4,), 0.5).double())
    assert torch.allclose(result.fake, torch.full((4,), -0.5).double())
    assert float(potentials(torch.zeros(3, 5)).value) == 0


def test_device_and_dtype_are_those_of_the_cost() -> None:
    result = potentials(torch.rand(3, 4))
    assert all(part.dtype == torch.float32 for part in (result.real, result.fake, result.plan, result.value))


@pytest.mark.parametrize(
    ("cost", "reason"),
    [
        (torch.ones(3), "shape"),
        (torch.ones(0, 3), "shape"),
        (torch.tensor([[1.0, float("nan")]]), r"cost\[0, 1\] is nan"),
        (torch.tensor([[1.0], [float("inf")]]), r"cost\[1, 0\] is inf"),
    ],
)
def test_bad_costs_are_named(cost: Tensor, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        potentials(cost)


def test_weights_must_fit() -> None:
    cost = torch.rand(2, 3)
    with pytest.raises(ValueError, match="equal sums"):
        potentials(cost, torch.tensor([1.0, 1.0]))
    with pytest.raises(ValueError, match="fake_weights must be 3"):
        potentials(cost, None, torch.tensor([1.0, -1.0, 1.0]))


def test_the_map_of_a_permutation_plan_is_the_permutation() -> None:
    real, fake = batches(16, 16)
    plan = potentials(quadratic_cost(real, fake)).plan
    assert torch.allclose(barycentric_map(plan, real), real[plan.argmax(0)])


def test_the_map_needs_mass_everywhere() -> None:
    with pytest.raises(ValueError, match="fake 1 receives no mass"):
        barycentric_map(torch.tensor([[1.0, 0.0]]), torch.rand(1, 2))


def test_gradient_of_the_value_is_what_the_map_says() -> None:
    """∂W/∂x_i = K/m (x_i − ŷ(x_i)), here against POT's own differentiable emd2."""
    real, fake = batches(10, 10)
    fake.requires_grad_()
    cost = ot.dist(real, fake) / 2
    weights = torch.full((10,), 0.1, dtype=torch.float64)
    ot.emd2(weights, weights, cost).backward()
    plan = potentials(quadratic_cost(real, fake.detach(), K=1.0)).plan
    expected = (fake.detach() - barycentric_map(plan, real)) / 10
    assert torch.allclose(fake.grad, expected, atol=1e-9)


def test_sinkhorn_divergence_vanishes_between_equal_sets_and_tends_to_the_exact_value() -> None:
    real, fake = batches(30, 30, dim=2)
    assert abs(float(sinkhorn_divergence(real, real.clone(), 0.05))) < 1e-9
    exact = float(potentials(quadratic_cost(real, fake)).value)
    coarse, fine = (float(sinkhorn_divergence(real, fake, epsilon)) for epsilon in (0.5, 0.01))
    assert abs(fine - exact) < abs(coarse - exact) and abs(fine - exact) < 0.05 * exact


def test_sinkhorn_divergence_agrees_with_pot() -> None:
    """POT regularises ‖x − y‖² without the half: twice our ε gives twice our value."""
    real, fake = batches(12, 9, dim=2)
    across, within_real, within_fake = (
        float(ot.solve_sample(x, y, reg=0.4, reg_type="KL", tol=1e-8, max_iter=20_000).value) / 2
        for x, y in ((real, fake), (real, real), (fake, fake))
    )
    ours = float(sinkhorn_divergence(real, fake, 0.2, K=1.0))
    assert abs(ours - (across - within_real / 2 - within_fake / 2)) < 1e-6


def test_gradient_of_the_sinkhorn_divergence_matches_finite_differences() -> None:
    real, fake = batches(8, 8, dim=2)
    fake.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: sinkhorn_divergence(real, x, 0.3, K=1.0), fake, eps=1e-5, atol=1e-6
    )


def test_outliers_stay_alone_when_carrying_them_costs_more_than_the_reach() -> None:
    real = torch.tensor([[0.0], [1.0], [2.0], [50.0]], dtype=torch.float64)
    fake = torch.tensor([[0.1], [1.1], [2.1]], dtype=torch.float64)
    plan = unbalanced_plan(quadratic_cost(real, fake, K=2.0), reach=1.0)
    assert plan[3].sum() == 0
    assert torch.allclose(plan[:3].diagonal(), torch.full((3,), 0.25).double())
    with pytest.raises(ValueError, match="reach"):
        unbalanced_plan(torch.rand(2, 2), 0.0)
