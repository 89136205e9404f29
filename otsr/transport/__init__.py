"""Optimal transport between finite sets and Gaussians, and the critic that learns it: no images, networks or files."""

from otsr.transport.critic import critic_loss, generator_loss, regularity_loss
from otsr.transport.discrete import Potentials, barycentric_map, potentials, quadratic_cost
from otsr.transport.gaussian import GaussianMap, bures_wasserstein, gaussian_map
from otsr.transport.neural import fit_critic_map, fit_map, l2_uvp
from otsr.transport.sliced import sliced_wasserstein, wasserstein_1d

__all__ = [
    "GaussianMap", "Potentials", "barycentric_map", "bures_wasserstein", "critic_loss", "fit_critic_map", "fit_map",
    "gaussian_map", "generator_loss", "l2_uvp", "potentials", "quadratic_cost", "regularity_loss", "sliced_wasserstein",
    "wasserstein_1d",
]  # fmt: skip
