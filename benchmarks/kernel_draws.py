"""Kernels that estimation is trained and measured on: eight families, some wider than a photo's, some lopsided.

Lengths are counted in LR pixels: a family is the same at every scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from otsr.degradation import families, kernels
from otsr.degradation.estimation import FLOOR, WIDEST, covariance_from_log, log_of_covariance


def draw(family: str, scale: int, rng: np.random.Generator) -> Tensor:
    """A kernel of FAMILIES, (k, k) float32 on the HR grid of `scale`, sums to 1; some have negative taps."""
    kernel = FAMILIES[family](scale, rng)
    return (kernel / kernel.sum()).float()


def _gaussian(scale: int, rng: np.random.Generator) -> Tensor:
    """Anisotropic at any angle, every seventh isotropic; one of five reaches beyond 1.55, to 3 LR pixels."""
    first, second = rng.uniform(0.15, 1.55, 2) if rng.random() < 0.8 else rng.uniform(0.7, WIDEST, 2)
    second = first if rng.random() < 0.15 else second
    size = _size(scale, 3.5 * max(first, second))
    return kernels.gaussian(size, (scale * first) ** 2, (scale * second) ** 2, rng.uniform(0, 180))


def _noisy_gaussian(scale: int, rng: np.random.Generator) -> Tensor:
    """DIV2KRK's rule (KernelGAN's): variances of 0.6 to 5 HR pixels² on 11 taps at ×2, every tap off by up to 25 %."""
    first, second = rng.uniform(0.6, 5, 2) * (scale / 2) ** 2
    kernel = kernels.gaussian(6 * scale - scale % 2, first, second, rng.uniform(0, 180))
    return kernel * torch.from_numpy(rng.uniform(0.75, 1.25, kernel.shape)).float()


def _disc(scale: int, rng: np.random.Generator) -> Tensor:
    """Out of focus: a disc of 0.6 to 3 LR pixels radius, its rim softened by a third of a pixel."""
    radius = rng.uniform(0.6, 3.0)
    return families.blurred(families.disc(_size(scale, radius + 1), scale * radius), scale * 0.33)


def _motion(scale: int, rng: np.random.Generator) -> Tensor:
    """A straight motion of 1.5 to 7 LR pixels during the exposure, on top of a Gaussian of 0.2 to 0.6."""
    length, sigma, angle = rng.uniform(1.5, 7), rng.uniform(0.2, 0.6), rng.uniform(0, math.pi)
    steps = length * ((np.arange(64) + 0.5) / 64 - 0.5)[:, None]
    return _streak(scale, steps * np.array([[math.cos(angle), math.sin(angle)]]), sigma)


def _shake(scale: int, rng: np.random.Generator) -> Tensor:
    """A hand that shakes: a path that keeps turning, 2 to 8 LR pixels long, on top of a Gaussian of 0.2 to 0.5."""
    steps, sigma = 60, rng.uniform(0.2, 0.5)
    heading = rng.uniform(0, 2 * math.pi) + np.cumsum(rng.normal(0, 0.35, steps))
    speed = np.exp(np.cumsum(rng.normal(0, 0.2, steps)))
    speed *= rng.uniform(2, 8) / speed.sum()
    path = np.cumsum(speed[:, None] * np.stack([np.cos(heading), np.sin(heading)], 1), 0)
    return _streak(scale, path - path.mean(0), sigma)


def _streak(scale: int, path: np.ndarray, sigma: float) -> Tensor:
    """Gaussians of σ at every point (n, 2) of a path, in LR pixels."""
    size = _size(scale, float(np.hypot(*path.T).max()) + 3 * sigma)
    line = (np.arange(size) - (size - 1) / 2) / scale
    x, y = (np.exp(-0.5 * ((line - place[:, None]) / sigma) ** 2) for place in path.T)
    return torch.from_numpy(y.T @ x)


def _box(scale: int, rng: np.random.Generator) -> Tensor:
    """A square of one LR pixel, as a mean over blocks makes it; every third of up to 3 pixels."""
    width = scale if rng.random() < 0.67 else rng.uniform(1, 3) * scale
    return families.box(_size(scale, width / scale / 2), width)


def _sharpened(scale: int, rng: np.random.Generator) -> Tensor:
    """A Gaussian under an unsharp mask of an amount up to 1.5 and a radius of 0.7 to 2 LR pixels."""
    first = rng.uniform(0.2, 1.2)
    second = first * rng.uniform(0.75, 1.33)
    amount, radius, angle = rng.uniform(0.3, 1.5), rng.uniform(0.7, 2.0), rng.uniform(0, 180)
    size = _size(scale, 3.5 * math.hypot(max(first, second), radius))
    soft = kernels.gaussian(size, (scale * first) ** 2, (scale * second) ** 2, angle)
    return families.sharpened(soft, amount, scale * radius)


FAMILIES: dict[str, Callable[[int, np.random.Generator], Tensor]] = {
    "gaussian": _gaussian,
    "noisy gaussian": _noisy_gaussian,
    "disc": _disc,
    "motion": _motion,
    "shake": _shake,
    "box": _box,
    "bicubic": lambda scale, _: kernels.bicubic(scale),
    "sharpened": _sharpened,
}


def _size(scale: int, reach: float) -> int:
    """Taps that reach so many LR pixels to each side, of the parity of scale."""
    return scale + 2 * max(1, math.ceil((reach - 0.5) * scale))


def closest_gaussians(taps: Sequence[Tensor], scales: Tensor) -> Tensor:
    """(N, 3) log covariance, in LR pixels², of the Gaussian with the smallest L2 distance to each kernel."""
    logs = torch.zeros(len(taps), 3)
    order = sorted(range(len(taps)), key=lambda index: taps[index].shape[0])
    for start in range(0, len(order), 128):
        chosen = order[start : start + 128]
        size = taps[chosen[-1]].shape[0]
        stack = torch.stack([F.pad(taps[i], [(size - taps[i].shape[0]) // 2] * 4) for i in chosen])
        line = torch.arange(size) - (size - 1) / 2
        plane = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
        squares = stack.clamp_min(0).square()
        moments = torch.einsum("nyx,yxa,yxb->nab", squares / squares.sum((1, 2), keepdim=True), plane, plane)
        log = log_of_covariance(2 * moments + 0.05 * torch.eye(2)).requires_grad_()
        optimiser = torch.optim.Adam([log], lr=0.04)
        for step in range(120):
            optimiser.param_groups[0]["lr"] = 0.04 if step < 80 else 0.01
            covariance = covariance_from_log(log) + FLOOR * torch.eye(2)
            exponent = torch.einsum("yxa,nab,yxb->nyx", plane, torch.linalg.inv(covariance), plane)
            gaussian = torch.softmax(-0.5 * exponent.flatten(1), 1).view_as(stack)
            loss = ((gaussian - stack).square().sum((1, 2)) / stack.square().sum((1, 2))).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        covariance = covariance_from_log(log.detach()) + FLOOR * torch.eye(2)
        logs[chosen] = log_of_covariance(covariance / scales[chosen, None, None] ** 2)
    return logs
