"""Exact transport between two finite sets of points: cost, plan, canonical potentials, the maps they give.

Rows are real samples y_j, columns are fake samples x_i. Everything is solved in float64 on the CPU (POT's network
simplex) and returned on the device and in the dtype of the cost, float64 for whole numbers. Nothing here knows what an
image is.

>>> real = torch.tensor([[0.0], [1.0], [2.0], [3.0], [9.0]])
>>> fake = torch.tensor([[3.1], [0.1], [4.1], [1.1], [2.1]])
>>> cost = quadratic_cost(real, fake)
>>> found = potentials(cost)
>>> barycentric_map(found.plan, real).flatten().tolist()  # on a line the order is kept
[3.0, 0.0, 9.0, 1.0, 2.0]
>>> round(float(found.value), 1), round(float(found.real.mean() - found.fake.mean()), 1)  # and its proof
(2.4, 2.4)
>>> bool((found.real[:, None] - found.fake <= cost + 1e-9).all())
True

Reference: Peyré & Cuturi, Computational Optimal Transport, 2019, arXiv 1803.00567, chapters 2 and 3.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, csgraph_from_dense, floyd_warshall
from torch import Tensor

_VALUES_AT_ONCE = 1024  # of every sample: they stay in the processor's cache, which takes a third of the time


@dataclass(frozen=True)
class Potentials:
    """An optimal plan and the potentials that prove it.

    Attributes:
        real: (n,) h_j, potential of the reals.
        fake: (m,) g_i, potential of the fakes; h_j − g_i ≤ cost_ji, with equality where the plan carries mass.
        plan: (n, m), masses; rows sum to 1/n, columns to 1/m.
        value: Σ plan · cost = mean h − mean g.
    """

    real: Tensor
    fake: Tensor
    plan: Tensor
    value: Tensor


def quadratic_cost(real: Tensor, fake: Tensor, K: float | None = None) -> Tensor:
    """c_ji = K/2 · ‖y_j − x_i‖², (n, m) in float64 and never negative, without forming the differences.

    ‖y − x‖² = ‖y‖² + ‖x‖² − 2⟨y, x⟩ in float64, measured from the first real as origin, so that cancellation costs
    about 1e-16 of the spread of the batch rather than of its distance from 0.

    Args:
        real: (n, …) samples y_j.
        fake: (m, …) samples x_i, of the same shape behind the first axis.
        K: 1/dim by default, dim = number of values in a sample (WGAN-QC's choice).

    Raises:
        ValueError: samples of different shapes, or an empty batch.
    """
    if real.shape[1:] != fake.shape[1:] or not len(real) or not len(fake):
        shapes = f"real {tuple(real.shape)} and fake {tuple(fake.shape)}"
        raise ValueError(f"{shapes} must be batches of equal samples")
    if real.device.type == "mps":  # Apple's GPU has no float64
        real, fake = real.cpu(), fake.cpu()
    single = torch.promote_types(real.dtype, torch.float32)
    y, x = real.flatten(1).to(single), fake.flatten(1).to(single)
    dim = y.shape[1]
    centre = y[0].detach().double()
    of_y, of_x = (batch.new_zeros(len(batch), dtype=torch.float64) for batch in (y, x))
    products = y.new_zeros(len(y), len(x), dtype=torch.float64)
    for start in range(0, dim, _VALUES_AT_ONCE):
        part = slice(start, start + _VALUES_AT_ONCE)
        y_part, x_part = (batch[:, part].to(torch.float64, copy=True).sub_(centre[part]) for batch in (y, x))
        of_y = of_y + torch.linalg.vector_norm(y_part, dim=1).square()
        of_x = of_x + torch.linalg.vector_norm(x_part, dim=1).square()
        products.addmm_(y_part, x_part.T)
    return (of_y[:, None] + of_x - 2 * products).clamp_min(0) * ((1 / dim if K is None else K) / 2)


def potentials(cost: Tensor) -> Potentials:
    """Optimal potentials of the uniform transport problem between two batches, and its plan.

    Solves  max mean h − mean g  subject to  h_j − g_i ≤ cost_ji  exactly. The value is unique, the potentials are
    not: any point of a whole face is optimal, and a solver returns one of its corners. Here the centre of the face is
    taken, the mean of all its extreme shortest-path solutions, with the mean of all n + m values subtracted. So the
    answer depends neither on the solver nor on the order of the samples.

    Args:
        cost: (n, m), cost of carrying fake i to real j.

    Raises:
        ValueError: cost is not 2-D, is empty, or holds a NaN or infinity (the entry is named); the solver did not
            converge.

    Reference: Liu, Gu, Samaras, ICCV 2019, section 3, doi 10.1109/ICCV.2019.00493.
    """
    if cost.dim() != 2 or 0 in cost.shape:
        raise ValueError(f"cost has shape {tuple(cost.shape)}, expected (reals, fakes), neither zero")
    import ot  # takes a second, so only where it is needed

    matrix = np.ascontiguousarray(cost.detach().to("cpu", torch.float64).numpy())
    if not np.isfinite(matrix).all():
        j, i = np.argwhere(~np.isfinite(matrix))[0]
        raise ValueError(f"cost[{j}, {i}] is {matrix[j, i]}: every entry must be finite")
    n, m = matrix.shape
    plan, log = ot.emd(ot.unif(n), ot.unif(m), matrix, numItermax=10_000_000, log=True)
    if log["warning"]:
        raise ValueError(f"the network simplex did not finish: {log['warning']}")
    h, g = centre_of_face(matrix, plan, -log["v"])
    shift = (h.sum() + g.sum()) / (n + m)
    value = float((plan * matrix).sum())
    dtype = cost.dtype if cost.is_floating_point() else torch.float64  # whole costs have fractional answers
    return Potentials(*(cost.new_tensor(array, dtype=dtype) for array in (h - shift, g - shift, plan, value)))


def centre_of_face(cost: np.ndarray, plan: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of the extreme points max(p_a − p_r), min(p_a − p_r) over all nodes r, within the optimal face.

    The face is {h_j − g_i ≤ c_ji, with equality on the plan's support}: a system of difference constraints, whose
    extreme solutions are shortest paths. On the reduced costs c_ji − h_j + g_i ≥ 0 samples that the plan ties
    together move as one, so paths run between such groups: half as many as samples for a permutation, an eighth of
    the time.

    Args:
        cost, plan: (n, m) float64; any optimal plan.
        g: (m,), any optimal potential of the fakes, up to rounding.

    Returns:
        h (n,) and g (m,), feasible.
    """
    n, m = cost.shape
    h = (cost + g).min(1)  # c-transforms remove the solver's rounding: they violate nothing
    g = (h[:, None] - cost).max(0)
    slack = np.maximum(cost - (h[:, None] - g), 0)
    tied = np.zeros((n + m, n + m), bool)
    tied[:n, n:] = plan > 1e-12 * plan.max()
    count, group = connected_components(csr_array(tied), directed=False)
    graph = np.full((count, count), np.inf)
    np.minimum.at(graph, (group[n:], group[:n, None]), slack)  # from g_i to h_j: at most so much higher
    # As a sparse graph, where a zero is an edge like another.
    far = floyd_warshall(csgraph_from_dense(graph, null_value=np.inf))
    weight = np.bincount(group) / (2 * (n + m))
    step = (weight @ far - far @ weight)[group]
    h, g = h + step[:n], g + step[n:]
    h = (cost + g).min(1)
    return h, (h[:, None] - cost).max(0)


def barycentric_map(plan: Tensor, real: Tensor) -> Tensor:
    """ŷ(x_i) = Σ_j plan_ji y_j / Σ_j plan_ji: where the plan (n, m) carries each fake on average, (m, …).

    Where the plan splits no fake, as between equal batches, this is the Monge map.
    """
    mass = plan.sum(0)
    if (mass <= 0).any():
        raise ValueError(f"fake {int((mass <= 0).nonzero()[0])} receives no mass: the map is undefined there")
    real = real if real.is_floating_point() else real.to(plan)
    return ((plan / mass).to(real).T @ real.flatten(1)).view(plan.shape[1], *real.shape[1:])
