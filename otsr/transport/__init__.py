"""Optimal transport between finite sets and Gaussians, and the critic that learns it: no images, networks or files."""

from otsr.transport.critic import critic_loss, generator_loss, regularity_loss
from otsr.transport.discrete import (
    Potentials,
    barycentric_map,
    potentials,
    quadratic_cost,
    sinkhorn_divergence,
    unbalanced_plan,
)
from otsr.transport.gaussian import GaussianMap, bures_wasserstein, gaussian_map
from otsr.transport.sliced import sliced_wasserstein, wasserstein_1d

__all__ = [
    "GaussianMap",
    "Potentials",
    "barycentric_map",
    "bures_wasserstein",
    "critic_loss",
    "gaussian_map",
    "generator_loss",
    "potentials",
    "quadratic_cost",
    "regularity_loss",
    "sinkhorn_divergence",
    "sliced_wasserstein",
    "unbalanced_plan",
    "wasserstein_1d",
]
