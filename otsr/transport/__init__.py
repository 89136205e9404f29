"""Optimal transport between finite sets and between Gaussians. Knows no image, no network, no file."""

from otsr.transport.discrete import (
    Potentials,
    barycentric_map,
    potentials,
    quadratic_cost,
    sinkhorn_divergence,
    unbalanced_plan,
)
from otsr.transport.gaussian import GaussianMap, bures_wasserstein, gaussian_map

__all__ = [
    "GaussianMap",
    "Potentials",
    "barycentric_map",
    "bures_wasserstein",
    "gaussian_map",
    "potentials",
    "quadratic_cost",
    "sinkhorn_divergence",
    "unbalanced_plan",
]
