"""Transport on the line, where it is sorting, and between point clouds seen along directions: sliced Wasserstein.

On the line the optimal plan of any convex cost couples equal quantiles, so the exact value costs one sort:
    W_p^p = ∫₀¹ |F⁻¹(t) − G⁻¹(t)|^p dt.
Both functions return this p-th power, whose gradient is finite everywhere; its root 1/p is the distance.

>>> x, y = torch.tensor([4.0, 0.0, 2.0, 1.0, 3.0]), torch.tensor([5.0, 1.0, 3.0, 2.0, 4.0])
>>> float(wasserstein_1d(x, y)), float(wasserstein_1d(x, 2 * y, p=2))  # sorted: 0 1 2 3 4 against 2 4 6 8 10
(1.0, 18.0)
>>> i, j, mass = quantile_coupling(2, 3)
>>> i.tolist(), j.tolist(), [round(m, 2) for m in mass.tolist()]
([0, 0, 1, 1], [0, 1, 1, 2], [0.33, 0.17, 0.17, 0.33])

Reference: Peyré & Cuturi, Computational Optimal Transport, 2019, arXiv 1803.00567, remark 2.30 and section 10.4.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

_AT_ONCE = 16  # projections held in memory together


def wasserstein_1d(x: Tensor, y: Tensor, p: float = 1, dim: int = -1) -> Tensor:
    """W_p^p between samples of equal weight on the line: mean |sorted x − sorted y|^p for as many of both.

    For unequal numbers the quantile functions, which step at i/n and at j/m, are integrated exactly. Differentiable in
    both; where values are equal, the gradient is that of one of the optimal plans.

    Args:
        x: (…, n, …), samples along `dim`.
        y: (…, m, …); all other axes are those of x, or broadcast with them.
        p: 1 or more; below, the sorted plan is not optimal.
        dim: the axis of the samples.

    Returns:
        The shape without `dim`; float32 for half precision, else the dtype of the inputs.

    Raises:
        ValueError: no samples on a side, or p below 1.
    """
    if not p >= 1:
        raise ValueError(f"p is {p}, expected 1 or more: below 1 the sorted plan is not optimal")
    if not x.shape[dim] or not y.shape[dim]:
        raise ValueError(f"x {tuple(x.shape)} and y {tuple(y.shape)} need samples along axis {dim}")
    x, y = (_sorted(samples.movedim(dim, -1)) for samples in (x, y))
    n, m = x.shape[-1], y.shape[-1]
    if n == m:
        return _power(x - y, p).mean(-1)
    i, j, mass = quantile_coupling(n, m)
    return _power(x[..., i.to(x.device)] - y[..., j.to(x.device)], p) @ mass.to(x)


def quantile_coupling(n: int, m: int) -> tuple[Tensor, Tensor, Tensor]:
    """The optimal plan between n and m sorted points of equal weight: pairs i, j and the mass between them, float64.

    Quantile functions step at i/n and j/m; both are constant between neighbours of the merged steps: at most n + m − 1.
    """
    first = torch.arange(1, n + 1) * m
    second = torch.arange(1, m + 1) * n
    steps = torch.cat([first, second]).unique()  # sorted; exact, in units of 1/(n·m)
    widths = steps.diff(prepend=steps.new_zeros(1))
    return (steps - 1) // m, (steps - 1) // n, widths.double() / (n * m)


def sliced_wasserstein(
    x: Tensor, y: Tensor, directions: Tensor | int = 128, p: float = 2,
    generator: torch.Generator | None = None,
) -> Tensor:  # fmt: skip
    """SW_p^p = mean_θ W_p^p(⟨θ, x⟩, ⟨θ, y⟩) between two point clouds; they may differ in number.

    Args:
        x, y: (n, d) and (m, d); the value is differentiable in both.
        directions: (k, d) of length 1, or how many to draw uniformly on the sphere, by `generator`.
        p: 1 or more.

    Raises:
        ValueError: shapes that do not fit, directions that are not of length 1.

    Reference: Rabin, Peyré, Delon, Bernot, SSVM 2011, doi 10.1007/978-3-642-24785-9_37.
    """
    if x.dim() != 2 or y.dim() != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"x has shape {tuple(x.shape)}, y {tuple(y.shape)}, expected (n, d) and (m, d)")
    if isinstance(directions, int):
        directions = unit_directions(directions, x.shape[1], generator)
    if directions.shape[1:] != x.shape[1:] or (directions.norm(dim=-1) - 1).abs().max() > 1e-3:
        raise ValueError(f"directions must be (k, {x.shape[1]}), each of length 1")
    parts = directions.split(_AT_ONCE)
    distances = [wasserstein_1d(x @ part.to(x).T, y @ part.to(y).T, p, dim=0).sum() for part in parts]
    return torch.as_tensor(sum(distances)) / len(directions)


def unit_directions(count: int, dim: int, generator: torch.Generator | None = None) -> Tensor:
    """(count, dim) float32, uniform on the unit sphere; drawn on the CPU, so that a seed gives the same everywhere."""
    if count < 1:
        raise ValueError(f"{count} directions asked for, expected 1 or more")
    return torch.nn.functional.normalize(torch.randn(count, dim, generator=generator), dim=1)


def _sorted(samples: Tensor) -> Tensor:
    """Sorted along the last axis, in float32 at least.

    On the CPU numpy does it: its vector instructions took 3 to 30 times less than torch's sort (measured).
    """
    samples = samples.float() if samples.dtype in (torch.float16, torch.bfloat16) else samples
    if samples.device.type != "cpu":
        repeatable = torch.are_deterministic_algorithms_enabled()
        return _Sorted.apply(samples) if repeatable else samples.sort(dim=-1).values
    if not samples.requires_grad:
        return torch.from_numpy(np.sort(samples.numpy(), axis=-1))
    return samples.gather(-1, torch.from_numpy(np.argsort(samples.detach().numpy(), axis=-1)))


class _Sorted(torch.autograd.Function):
    """torch's sort, whose own gradient scatters and in its deterministic mode takes many times the memory.

    Places are a permutation, so gathering by the inverse gives the same.
    """

    @staticmethod
    def forward(ctx: Any, samples: Tensor) -> Tensor:
        values, places = samples.sort(dim=-1)
        ctx.save_for_backward(places)
        return values

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (places,) = ctx.saved_tensors
        return gradient.gather(-1, places.argsort(dim=-1))


def _power(difference: Tensor, p: float) -> Tensor:
    return difference.square() if p == 2 else difference.abs() if p == 1 else difference.abs().pow(p)
