"""Transport on the line and along directions agrees with POT, closed forms and the exact plan."""

import ot
import pytest
import torch
from torch import Tensor

from otsr.transport import potentials, sliced_wasserstein, wasserstein_1d
from otsr.transport.sliced import _Sorted, unit_directions


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
@pytest.mark.parametrize(("n", "m"), [(7, 7), (5, 8), (9, 6), (1, 4)])
def test_sorting_solves_the_linear_program(n: int, m: int, p: float) -> None:
    x, y = normal(n), normal(m, seed=1) + 0.3
    cost = (y[:, None] - x).abs() ** p
    assert abs(float(wasserstein_1d(x, y, p) - potentials(cost).value)) < 1e-12


def test_any_axis_may_hold_the_samples() -> None:
    x, y = normal(4, 6, 5), normal(4, 9, 5, seed=1)
    found = wasserstein_1d(x, y, dim=1)
    assert found.shape == (4, 5) and torch.allclose(found[2, 3], wasserstein_1d(x[2, :, 3], y[2, :, 3]))


@pytest.mark.parametrize("p", [1, 2, 2.5])
@pytest.mark.parametrize("m", [6, 9])
def test_gradients_reach_both_sides(p: float, m: int) -> None:
    x, y = normal(2, 6).requires_grad_(), normal(2, m, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: wasserstein_1d(a, b, p), (x, y))


@pytest.mark.parametrize("p", [1, 1.5, 2])
def test_the_gradient_of_equal_samples_is_zero_not_nan(p: float) -> None:
    x = normal(8).requires_grad_()
    wasserstein_1d(x, x.detach().clone(), p).backward()
    assert torch.equal(x.grad, torch.zeros(8).double())


def test_the_repeatable_sort_has_the_values_and_the_gradient_of_torchs() -> None:
    x = normal(5, 40).round(decimals=1).requires_grad_()  # with values that occur more than once
    weight = normal(5, 40, seed=1)
    ours, torchs = _Sorted.apply(x), x.sort(dim=-1).values
    gradients = [torch.autograd.grad((values * weight).sum(), x)[0] for values in (ours, torchs)]
    assert torch.equal(ours, torchs) and torch.equal(*gradients)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_float32(dtype: torch.dtype) -> None:
    x, y = normal(5000).to(dtype), normal(4000, seed=1).to(dtype)
    exact = wasserstein_1d(x.double(), y.double(), 2).float()
    torch.testing.assert_close(wasserstein_1d(x, y, 2), exact, rtol=1e-4, atol=0)


@pytest.mark.parametrize("p", [1, 2])
def test_the_sliced_distance_is_pots(p: int) -> None:
    x, y, directions = normal(60, 4), normal(45, 4, seed=1) + 0.5, unit_directions(40, 4).double()
    theirs = ot.sliced_wasserstein_distance(x.numpy(), y.numpy(), projections=directions.numpy().T, p=p)
    assert abs(float(sliced_wasserstein(x, y, directions, p)) - theirs**p) < 1e-10


def test_the_sliced_distance_between_shifted_clouds_is_the_closed_form() -> None:
    """SW2² of a translation by t is ‖t‖²/d, averaged over the sphere."""
    x, shift = normal(50, 5), torch.tensor([3.0, 0, 0, 4.0, 0]).double()
    found = sliced_wasserstein(x, x + shift, 20_000, generator=torch.Generator().manual_seed(0))
    assert abs(float(found) - 25 / 5) < 0.1


def test_directions_are_of_length_one_and_repeat_with_the_seed() -> None:
    assert torch.allclose(unit_directions(9, 3).norm(dim=1), torch.ones(9))
    x, y = normal(10, 3), normal(12, 3, seed=1)
    values = [sliced_wasserstein(x, y, 8, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert torch.equal(values[0], values[1]) and not torch.equal(values[0], values[2])


def test_senseless_arguments_are_refused() -> None:
    x = torch.zeros(4, 3)
    for call, reason in (
        (lambda: wasserstein_1d(x, x, 0.5), r"p is 0\.5"),
        (lambda: wasserstein_1d(x[0, :0], x[0]), "need samples along axis -1"),
        (lambda: sliced_wasserstein(x, x, torch.tensor([[2.0, 0, 0]])), "of length 1"),
        (lambda: sliced_wasserstein(x, x, torch.tensor([[1.0, 0]])), "of length 1"),
        (lambda: sliced_wasserstein(x, x[:, :2]), r"expected \(n, d\)"),
        (lambda: sliced_wasserstein(x, x, 0), "1 or more"),
    ):
        with pytest.raises(ValueError, match=reason):
            call()
