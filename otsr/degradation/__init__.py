"""Stages 1 and 2: how a camera degrades (kernels, noise), and clean photos degraded alike (`Degradation`)."""

from otsr.degradation.estimation import estimate_kernel
from otsr.degradation.noise import DegradationError, NoisePool, collect_noise
from otsr.degradation.pipeline import Degradation

__all__ = ["Degradation", "DegradationError", "NoisePool", "collect_noise", "estimate_kernel"]
