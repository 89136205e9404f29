"""The exercises of notebook 02: take the bias out of a kernel's variance, and average Gaussian kernels by transport."""

from __future__ import annotations

from typing import Any

import torch
from ot.gaussian import bures_wasserstein_barycenter
from torch import Tensor

from otsr.course.exercises.checking import call, exercise


@exercise("unbias")
def _unbias(answer: Any) -> str | None:
    """v_k = s² v' / (s² − 1) − v_b: the camera's variance from the one that matches two scales a factor s apart."""
    for found, scene, s in ((2.4, 0.4, 2), (3.0, 0.5, 4), (1.6, 0.0, 3)):
        value = call(answer, found, scene, s)
        try:
            got = float(value)
        except (TypeError, ValueError, RuntimeError):
            return f"One number is expected, your function returned {type(value).__name__}."
        share = 1 - 1 / s**2
        expected = found / share - scene
        if abs(got - expected) > 1e-4:
            asked = f"For v' = {found}, v_b = {scene} and s = {s} it should be {expected:.3f}, yours is {got:.3f}."
            return f"{asked} {_unbias_hint(got, found, scene, share)}"
    return None


def _unbias_hint(got: float, found: float, scene: float, share: float) -> str:
    usual = {
        found / share: "The scene's own blur is still in it.",
        found / share + scene: "The scene's blur is to be taken away, not added.",
        found * share - scene: "v' is the smaller share of the whole blur, so divide by the share.",
        (found - scene)
        / share: "v' is a share of both blurs together: divide first, then take the scene's away.",
        4 * found / 3 - scene: "¾ holds for s = 2. Do the derivation again with s² in place of 4.",
        found - scene: "The blur of the photo itself is missing: it takes part of the work off k'.",
    }
    near = (hint for value, hint in usual.items() if abs(got - value) < 1e-4)
    return next(near, "Set the photo's blur and the shrunk photo's blur equal, and solve for v_k.")


@exercise("barycentre")
def _barycentre(answer: Any) -> str | None:
    """Covariance of the Wasserstein barycentre of centred Gaussians with equal weights."""
    crossed = torch.stack([_covariance(6, 1, 0), _covariance(6, 1, 90)])
    slanted = torch.stack([_covariance(6, 1, 10), _covariance(5, 0.5, 60), _covariance(2, 1, 140)])
    for covariances in (crossed, slanted):
        got = call(answer, covariances.clone())
        if not isinstance(got, Tensor) or got.shape != (2, 2):
            found = f"{tuple(got.shape)}" if isinstance(got, Tensor) else type(got).__name__
            return f"A (2, 2) tensor is expected, your function returned {found}."
        zeros, weights = torch.zeros(len(covariances), 2, dtype=torch.float64), None
        _, expected = bures_wasserstein_barycenter(zeros, covariances, weights, eps=1e-10, num_iter=1000)
        error = float((got.double() - expected).norm() / expected.norm())
        if not error < 1e-3:
            kind = "two crossed kernels" if covariances is crossed else "three kernels at other angles"
            values = ", ".join(f"{value:.3f}" for value in got.flatten().tolist())
            return f"For {kind} yours is ({values}), off by {100 * error:.1f} %. {_barycentre_hint(got, covariances)}"
    return None


def _covariance(first: float, second: float, degrees: float) -> Tensor:
    angle = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    return turn @ torch.diag(torch.tensor([first, second], dtype=torch.float64)) @ turn.T


def _root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def _barycentre_hint(got: Tensor, covariances: Tensor) -> str:
    mean = covariances.mean(0)
    roots = torch.stack([_root(one) for one in covariances])
    outer = _root(mean)
    inner = torch.stack([_root(outer @ one @ outer) for one in covariances]).mean(0)
    undo = torch.linalg.inv(outer)
    usual = [
        (
            mean,
            "That is the average of the covariances: the blur of the averaged kernel, not of the barycentre.",
        ),
        (roots.mean(0), "That is a standard deviation; a covariance is its square."),
        (
            roots.mean(0) @ roots.mean(0),
            "Squared mean of roots: right for crossed kernels, not for others; iterate.",
        ),
        (inner, "The step ends with S^(-1/2) on both sides."),
        (undo @ inner @ undo, "The mean of the roots is to be squared before S^(-1/2) goes on both sides."),
        (undo @ inner @ inner @ undo, "That is the first step. Repeat it until nothing changes."),
    ]
    near = (
        hint for value, hint in usual if float((got.double() - value).norm()) < 1e-3 * float(value.norm())
    )
    return next(near, "Do one step by hand for crossed kernels: from S = 3.5 I it ends at 2.975 I.")
