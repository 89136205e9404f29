"""Transport between finite sets agrees with linear programming, assignment, brute force and closed forms."""

import itertools

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment, linprog
from torch import Tensor

from otsr.transport import barycentric_map, potentials, quadratic_cost
from otsr.transport.discrete import centre_of_face


def batches(n: int, m: int, dim: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    real = torch.randn(n, dim, generator=generator, dtype=torch.float64) + 0.5
    return real, torch.randn(m, dim, generator=generator, dtype=torch.float64)


def constraints(n: int, m: int) -> np.ndarray:
    """Rows of h_j − g_i over the variables (h, g)."""
    return np.hstack([np.kron(np.eye(n), np.ones((m, 1))), -np.kron(np.ones((n, 1)), np.eye(m))])


def test_cost_is_the_formula_written_out() -> None:
    real, fake = torch.rand(4, 3, 8, 8), torch.rand(5, 3, 8, 8)
    for K, factor in ((None, 1 / (3 * 8 * 8)), (3.0, 3.0)):
        cost = quadratic_cost(real, fake, K)
        for j, i in itertools.product(range(4), range(5)):
            expected = factor / 2 * ((real[j].double() - fake[i].double()) ** 2).sum()
            assert abs(cost[j, i] - expected) < 1e-14 * factor * 192


def test_cost_survives_a_large_common_offset() -> None:
    """float32 products around 1000 would lose differences of 1e-3 completely."""
    real, fake = (1e-3 * batch for batch in batches(6, 6))
    assert torch.allclose(quadratic_cost(real + 1000, fake + 1000), quadratic_cost(real, fake), rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int64])
def test_cost_is_exact_for_the_values_given_in_any_precision(dtype: torch.dtype) -> None:
    """Sums of half precision would overflow at 65,504; a sample has more values than fit in the cache at once."""
    real, fake = ((1000 + 30 * batch).to(dtype) for batch in batches(9, 12, 5000))
    expected = (real[7].double() - fake[11].double()).square().sum() / (2 * 5000)
    assert abs(quadratic_cost(real, fake)[7, 11] - expected) < 1e-12 * expected


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_value_plan_and_map_are_those_of_the_assignment_problem(size: int) -> None:
    real, fake = batches(size, size)
    cost = quadratic_cost(real, fake)
    rows, columns = linear_sum_assignment(cost.numpy())
    result = potentials(cost)
    assert abs(float(result.value) - cost.numpy()[rows, columns].mean()) < 1e-12
    np.testing.assert_allclose(result.plan.numpy()[rows, columns], 1 / size)
    assert torch.equal(barycentric_map(result.plan, real), real[rows[np.argsort(columns)]])  # to the last bit


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


@pytest.mark.parametrize(("n", "m"), [(40, 40), (6, 9), (12, 8)])
def test_potentials_do_not_depend_on_the_solver(n: int, m: int) -> None:
    """From a plan and a corner that HiGHS happens to find, the same centre as from the network simplex."""
    cost = quadratic_cost(*batches(n, m), K=1.0)
    ours, rows, c = potentials(cost), constraints(n, m), cost.numpy()
    masses = np.concatenate([np.full(n, 1 / n), np.full(m, 1 / m)])
    plan = linprog(c.ravel(), A_eq=abs(rows).T, b_eq=masses).x.reshape(n, m)
    signs = np.concatenate([np.full(n, -1), np.full(m, 1)])
    corner = linprog(signs * masses, A_ub=rows, b_ub=c.ravel(), bounds=(None, None)).x
    theirs = np.concatenate(centre_of_face(c, plan, corner[n:]))
    np.testing.assert_allclose(torch.cat([ours.real, ours.fake]).numpy(), theirs - theirs.mean(), atol=1e-8)


@given(n=st.integers(1, 8), m=st.integers(1, 8), seed=st.integers(0, 10_000), whole=st.booleans())
@settings(max_examples=80, deadline=None)
def test_any_answer_is_certified_and_moves_with_its_samples(n: int, m: int, seed: int, whole: bool) -> None:
    """Any sizes, ties among them: marginals, feasibility, tightness, no gap."""
    generator = torch.Generator().manual_seed(seed)
    cost = torch.rand(n, m, generator=generator, dtype=torch.float64) * 5
    cost = cost.round() if whole else cost  # whole costs tie
    found = potentials(cost)
    assert abs(found.real.sum() + found.fake.sum()) < 1e-10
    masses = torch.cat([found.plan.sum(1) * n, found.plan.sum(0) * m])
    assert torch.allclose(masses, torch.ones_like(masses))
    slack = cost - (found.real[:, None] - found.fake)
    assert slack.min() > -1e-10 and slack[found.plan > 1e-9].abs().max() < 1e-10
    assert abs(found.real.mean() - found.fake.mean() - found.value) < 1e-10
    rows, columns = torch.randperm(n, generator=generator), torch.randperm(m, generator=generator)
    moved = potentials(cost[rows][:, columns])
    expected = torch.cat([found.real[rows], found.fake[columns]])
    assert torch.allclose(torch.cat([moved.real, moved.fake]), expected, atol=1e-9)


def test_a_plan_that_is_not_exact_yet_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    emd = ot.emd
    monkeypatch.setattr(ot, "emd", lambda *given, **options: emd(*given, **(options | {"numItermax": 1})))
    with pytest.raises(ValueError, match="did not finish"), pytest.warns(UserWarning):
        potentials(quadratic_cost(*batches(40, 40), K=1.0))


def test_senseless_arguments_are_named() -> None:
    for call, reason in (
        (lambda: quadratic_cost(torch.rand(3, 4), torch.rand(3, 5)), "equal samples"),
        (lambda: potentials(torch.ones(3)), "shape"),
        (lambda: potentials(torch.ones(0, 3)), "shape"),
        (lambda: potentials(torch.tensor([[1.0, float("nan")]])), r"cost\[0, 1\] is nan"),
        (lambda: potentials(torch.tensor([[1.0], [float("inf")]])), r"cost\[1, 0\] is inf"),
        (lambda: barycentric_map(torch.tensor([[1.0, 0.0]]), torch.rand(1, 2)), "fake 1 receives no mass"),
    ):
        with pytest.raises(ValueError, match=reason):
            call()


def test_whole_costs_and_samples_have_fractional_answers() -> None:
    real, cost = torch.tensor([[0], [3], [5]]), torch.tensor([[1, 4], [2, 2], [7, 1]])
    found, expected = potentials(cost), potentials(cost.double())
    assert torch.equal(found.plan, expected.plan) and torch.equal(found.real, expected.real)
    assert barycentric_map(found.plan, real).flatten().tolist() == pytest.approx([1, 13 / 3])


def test_where_a_fake_is_split_the_barycentric_map_is_the_mean_of_its_images() -> None:
    real, fake = batches(12, 4)
    plan = potentials(quadratic_cost(real, fake)).plan
    expected = torch.stack([real[plan[:, i] > 1e-9].mean(0) for i in range(4)])
    assert torch.allclose(barycentric_map(plan, real), expected)
