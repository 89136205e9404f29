"""Five rules of the published code of OTSR, each with the mistake that it has there, in our own lines.

Notebook 05 shows them, and asks for a test that exposes each. `otsr.transport` holds the right ones, and
tests/unit/test_defects.py proves all thirteen mistakes.

Reference: Li, Lei, Shi, Xue, Machine Vision and Applications 2022, doi 10.1007/s00138-022-01299-6; the code that its
authors published with it.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor


def boxed_labels(cost: Tensor) -> tuple[Tensor, Tensor]:
    """max mean h − mean g subject to h_j − g_i ≤ cost_ji, with every h_j and g_i kept in [0, 1].

    Args:
        cost: (n, m), reals by fakes.

    Returns:
        h (n,) and g (m,), in cost's dtype.
    """
    n, m = cost.shape
    routes = np.hstack([np.kron(np.eye(n), np.ones((m, 1))), -np.kron(np.ones((n, 1)), np.eye(m))])
    gain = np.concatenate([np.full(n, 1 / n), np.full(m, -1 / m)])
    solved = linprog(-gain, A_ub=routes, b_ub=cost.detach().double().numpy().ravel(), bounds=(0, 1))
    h, g = np.split(solved.x, [n])
    return torch.from_numpy(h).to(cost.dtype), torch.from_numpy(g).to(cost.dtype)


def spread_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """½ mean (scores − labels)² with scores (m, 1) and labels (m,): every score minus every label."""
    return (scores - labels).square().mean() / 2


def pixel_penalty(gradient: Tensor, step: Tensor, K: float) -> Tensor:
    """mean (‖gradient‖ − K ‖step‖)², the norms over the channels of each pixel; both (m, channels, height, width)."""
    return (gradient.norm(dim=1) - K * step.norm(dim=1)).square().mean()


def cost_and_slope(fake: Tensor, real: Tensor, K: float) -> tuple[Tensor, Tensor]:
    """(2K ‖x − y‖², K ‖x − y‖): the cost of carrying fake x to real y, and the critic's slope that is asked for."""
    distance = (fake - real).norm()
    return 2 * K * distance**2, K * distance


def squared_gap(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """(mean D(y) − mean D(x))², which the generator minimises."""
    return (real_scores.mean() - fake_scores.mean()).square()
