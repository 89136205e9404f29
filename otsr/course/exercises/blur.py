"""The exercises of notebook 02: take the bias out of a kernel's variance, and average Gaussian kernels by transport."""

import torch
from torch import Tensor

from otsr.course.exercises.checking import ask
from otsr.transport.gaussian import square_root

ask(
    "unbias",
    cases=lambda: [(2.4, 0.4, 2), (3.0, 0.5, 4), (1.6, 0.0, 3)],
    right=lambda v, b, s: v / (1 - 1 / s**2) - b,
    mistakes=lambda v, b, s: [
        (v / (1 - 1 / s**2), "The scene's own blur is still in it."),
        (v / (1 - 1 / s**2) + b, "The scene's blur is to be taken away, not added."),
        (v * (1 - 1 / s**2) - b, "v' is a share of the whole, so divide by the share."),
        ((v - b) / (1 - 1 / s**2), "v' is a share of both blurs together: divide first, then take the scene's away."),
        (4 * v / 3 - b, "¾ holds for s = 2. Derive it again with s² in place of 4."),
        (v - b, "The photo's own blur is missing: it takes part of the work off k'."),
    ],
    otherwise="Set the photo's blur and the shrunk photo's blur equal, and solve for v_k.",
    case="For v' = {0}, v_b = {1} and s = {2} it should be {right:.3f}, yours is {got:.3f}.",
)  # fmt: skip


def _covariance(first: float, second: float, degrees: float) -> Tensor:
    angle = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    return turn @ torch.diag(torch.tensor([first, second], dtype=torch.float64)) @ turn.T


def _barycentre(covariances: Tensor) -> Tensor:
    from ot.gaussian import bures_wasserstein_barycenter  # takes a second to import

    zeros = torch.zeros(len(covariances), 2, dtype=torch.float64)
    return bures_wasserstein_barycenter(zeros, covariances, None, eps=1e-10, num_iter=1000)[1]


def _mean_root(covariances: Tensor) -> Tensor:
    return torch.stack([square_root(one) for one in covariances]).mean(0)


def _of_barycentre(c: Tensor) -> list[tuple[Tensor, str]]:
    outer, root = square_root(c.mean(0)), _mean_root(c)
    inner = _mean_root(outer @ c @ outer)  # (S^½ C_i S^½)^½ at the start, S = the mean
    undo = torch.linalg.inv(outer)
    return [
        (c.mean(0), "That is the average of the covariances: the blur of the averaged kernel."),
        (root, "That is a standard deviation; a covariance is its square."),
        (root @ root, "Squared mean of roots: right only for crossed kernels; iterate."),
        (inner, "The step ends with S^(-1/2) on both sides."),
        (undo @ inner @ undo, "Square the mean of the roots before S^(-1/2) goes on both sides."),
        (undo @ inner @ inner @ undo, "That is the first step. Repeat it until nothing changes."),
    ]


ask(
    "barycentre",
    cases=lambda: [
        (torch.stack([_covariance(6, 1, 0), _covariance(6, 1, 90)]),),
        (torch.stack([_covariance(6, 1, 10), _covariance(5, 0.5, 60), _covariance(2, 1, 140)]),),
    ],
    right=_barycentre,
    mistakes=_of_barycentre,
    otherwise="Do one step by hand for crossed kernels: from S = 3.5 I it ends at 2.975 I.",
    case="For {0.shape[0]} kernels yours is off by up to {off:.3f}.",
)
