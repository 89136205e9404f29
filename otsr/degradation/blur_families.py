"""Blur as cameras make it, drawn at random: what the kernel estimator is trained on and measured with.

Lenses out of focus make discs, hands and subjects motion, sensors boxes, software bicubic kernels and sharpening,
which gives negative taps. All sizes are in LR pixels, so that a family is the same at every scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.special import erf
from torch import Tensor

from otsr.degradation import kernels

WIDEST = 3.0  # LR pixels: standard deviation of the widest Gaussian


def draw(family: str, scale: int, rng: np.random.Generator) -> Tensor:
    """A kernel of FAMILIES, (k, k) on the HR grid of `scale`, sums to 1; some have negative taps.

    Raises:
        KeyError: no such family.
    """
    kernel = FAMILIES[family](scale, rng)
    return kernel / kernel.sum()


def _gaussian(scale: int, rng: np.random.Generator) -> Tensor:
    """Anisotropic at any angle, every seventh isotropic; one of five reaches beyond 1.55, to 3 LR pixels."""
    first, second = rng.uniform(0.15, 1.55, 2) if rng.random() < 0.8 else rng.uniform(0.7, WIDEST, 2)
    second = first if rng.random() < 0.15 else second
    return _gauss(scale, first, second, rng.uniform(0, 180))


def _noisy_gaussian(scale: int, rng: np.random.Generator) -> Tensor:
    """DIV2KRK's rule: 11 taps at ×2, variances of 0.6 to 5 HR pixels², every tap off by up to 25 %; ×4: twice the size.

    Reference: Bell-Kligler et al., NeurIPS 2019.
    """
    first, second = rng.uniform(0.6, 5, 2) * (scale / 2) ** 2
    kernel = kernels.gaussian(6 * scale - scale % 2, first, second, rng.uniform(0, 180))
    return kernel * torch.from_numpy(rng.uniform(0.75, 1.25, kernel.shape)).float()


def _disc(scale: int, rng: np.random.Generator) -> Tensor:
    """Out of focus: all of a disc of 0.6 to 3 LR pixels radius, its rim softened by a third of a pixel."""
    radius = rng.uniform(0.6, 3.0)
    x, y = _plane(scale, radius + 1)
    edge = (np.hypot(x, y) - radius) / (0.33 * math.sqrt(2))
    return torch.from_numpy(0.5 - 0.5 * erf(edge)).float()


def _motion(scale: int, rng: np.random.Generator) -> Tensor:
    """A straight motion of 1.5 to 7 LR pixels during the exposure, on top of a Gaussian of 0.2 to 0.6."""
    length, sigma, angle = rng.uniform(1.5, 7), rng.uniform(0.2, 0.6), rng.uniform(0, math.pi)
    x, y = _plane(scale, length / 2 + 3 * sigma)
    along, across = math.cos(angle) * x + math.sin(angle) * y, math.cos(angle) * y - math.sin(angle) * x
    width = math.sqrt(2) * sigma
    track = erf((along + length / 2) / width) - erf((along - length / 2) / width)
    return torch.from_numpy(track * np.exp(-0.5 * (across / sigma) ** 2)).float()


def _shake(scale: int, rng: np.random.Generator) -> Tensor:
    """A hand that shakes: a path that keeps turning, 2 to 8 LR pixels long, on top of a Gaussian of 0.2 to 0.5."""
    steps, sigma = 60, rng.uniform(0.2, 0.5)
    heading = rng.uniform(0, 2 * math.pi) + np.cumsum(rng.normal(0, 0.35, steps))
    speed = np.exp(np.cumsum(rng.normal(0, 0.2, steps)))
    speed *= rng.uniform(2, 8) / speed.sum()
    path = np.cumsum(speed[:, None] * np.stack([np.cos(heading), np.sin(heading)], 1), 0)
    path -= path.mean(0)
    x, y = _plane(scale, float(np.abs(path).max()) + 3 * sigma)
    squares = (x[..., None] - path[:, 0]) ** 2 + (y[..., None] - path[:, 1]) ** 2
    return torch.from_numpy(np.exp(-0.5 * squares / sigma**2).sum(-1)).float()


def _box(scale: int, rng: np.random.Generator) -> Tensor:
    """A square of one LR pixel, as a mean over blocks makes it; every third of up to 3 pixels."""
    width = scale if rng.random() < 0.67 else rng.uniform(1, 3) * scale
    size = _size(scale, width / scale / 2)
    line = np.abs(np.arange(size) - (size - 1) / 2)
    taps = torch.from_numpy(np.clip(width / 2 + 0.5 - line, 0, 1)).float()
    return torch.outer(taps, taps)


def _bicubic(scale: int, rng: np.random.Generator) -> Tensor:
    return kernels.bicubic(scale)


def _sharpened(scale: int, rng: np.random.Generator) -> Tensor:
    """A Gaussian under an unsharp mask, k = (1 + a) g - a (g * mask), of amount a up to 1.5 and radius 0.7 to 2."""
    first = rng.uniform(0.2, 1.2)
    second = first * rng.uniform(0.75, 1.33)
    amount, radius, angle = rng.uniform(0.3, 1.5), rng.uniform(0.7, 2.0), rng.uniform(0, 180)
    wide = _gauss(scale, math.hypot(first, radius), math.hypot(second, radius), angle)
    sharp = _gauss(scale, first, second, angle, wide.shape[0])
    return (1 + amount) * sharp - amount * wide


FAMILIES: dict[str, Callable[[int, np.random.Generator], Tensor]] = {
    "gaussian": _gaussian,
    "noisy gaussian": _noisy_gaussian,
    "disc": _disc,
    "motion": _motion,
    "shake": _shake,
    "box": _box,
    "bicubic": _bicubic,
    "sharpened": _sharpened,
}


def _gauss(scale: int, first: float, second: float, angle: float, size: int | None = None) -> Tensor:
    size = size or _size(scale, 3.5 * max(first, second))
    return kernels.gaussian(size, (scale * first) ** 2, (scale * second) ** 2, angle)


def _size(scale: int, reach: float) -> int:
    """Taps that reach so many LR pixels to each side, of the parity of scale."""
    return scale + 2 * max(1, math.ceil((reach - 0.5) * scale))


def _plane(scale: int, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """x (right) and y (down) of every tap in LR pixels."""
    size = _size(scale, reach)
    line = (np.arange(size) - (size - 1) / 2) / scale
    return np.meshgrid(line, line)
