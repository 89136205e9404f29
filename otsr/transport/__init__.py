"""Optimal transport between finite sets and between Gaussians. Knows no image, no network, no file."""

from otsr.transport.discrete import (
    Potentials,
    barycentric_map,
    potentials,
    quadratic_cost,
    sinkhorn_divergence,
    unbalanced_plan,
)

__all__ = [
    "Potentials",
    "barycentric_map",
    "potentials",
    "quadratic_cost",
    "sinkhorn_divergence",
    "unbalanced_plan",
]
