"""The exercises of notebooks 00 to 03 tell the usual mistakes apart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance
from torch import Tensor
from torch.nn import functional as F

from otsr.course.exercises import check
from otsr.course.exercises.camera import camera
from otsr.degradation import Degradation, NoisePool, kernels


def right_degradation(hr: Tensor, kernel: Tensor, s: int, noise: Tensor) -> Tensor:
    return (kernels.downsample(hr, kernel, s).clamp(0, 1) + noise).clamp(0, 1)


def other_grid(hr: Tensor, kernel: Tensor, s: int) -> Tensor:
    return kernels.downsample(hr.roll((1, 1), (1, 2)), kernel, s)


def with_dark_border(hr: Tensor, kernel: Tensor, s: int) -> Tensor:
    padded = F.pad(hr[:, None], [(len(kernel) - s) // 2] * 4)
    return F.conv2d(padded, kernel.flip(0, 1)[None, None], stride=s)[:, 0]


def first_pixels(x: Tensor, k: Tensor, s: int, n: Tensor) -> Tensor:
    padded = F.pad(x[:, None], [len(k) // 2] * 4, mode="reflect")
    blurred = F.conv2d(padded, k.flip(0, 1)[None, None])[:, 0]
    return (blurred[:, ::s, ::s][:, :24, :24] + n).clamp(0, 1)


def root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt()[..., None, :] @ vectors.mT


def iterate(covariances: Tensor, steps: int, power: int = 2, undone: bool = True) -> Tensor:
    centre = covariances.mean(0)
    for _ in range(steps):
        outer = root(centre)
        inner = torch.stack([root(outer @ one @ outer) for one in covariances]).mean(0)
        undo = torch.linalg.inv(outer) if undone else torch.eye(2, dtype=centre.dtype)
        centre = undo @ torch.linalg.matrix_power(inner, power) @ undo
    return centre


def pad(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.repeat(a, len(b) // len(a))


def single(x: Tensor, k: Tensor, s: int, n: Tensor) -> Tensor:
    return right_degradation(x.float(), k.float(), s, n.float())


WRONG: dict[str, list[tuple[Any, str]]] = {
    "psnr": [
        (lambda sr, hr: 10 * torch.log10((sr - hr).square().mean()), "sign"),
        (lambda sr, hr: -10 * torch.log((sr - hr).square().mean()), "natural logarithm"),
        (lambda sr, hr: -torch.log10((sr - hr).square().mean()), "factor of ten"),
        (lambda sr, hr: -20 * torch.log10((sr - hr).square().mean()), "square is in the mean"),
        (lambda sr, hr: -10 * torch.log10((sr - hr).square().mean().sqrt()), "root"),
        (lambda sr, hr: -10 * torch.log10((sr - hr).abs().mean()), "squared before the mean"),
        (lambda sr, hr: -10 * torch.log10((sr - hr).square().sum()), "take their mean"),
        (lambda sr, hr: 10 * torch.log10(255**2 / (sr - hr).square().mean()), "peak is 1"),
        (lambda sr, hr: (sr - hr).square().mean(), "mean squared error"),
        (lambda sr, hr: torch.tensor(7.0), "from the inside out"),
        (lambda sr, hr: -10 * torch.log10((sr - hr).square()), "One number is expected"),
        (lambda sr, hr: (sr - hr).nonsense, "Your function stopped with AttributeError"),
    ],
    "degrade": [
        (lambda x, k, s, n: kernels.downsample(x, k, s), "The noise is missing"),
        (lambda x, k, s, n: kernels.downsample(x, k, s) + n, "before and after"),
        (lambda x, k, s, n: kernels.downsample(x, k, s).clamp(0, 1) + n, "Clip the sum"),
        (lambda x, k, s, n: (kernels.downsample(x, k, s) + n).clamp(0, 1), "Clip before you add"),
        (lambda x, k, s, n: right_degradation(x, k, s, -n), "not taken away"),
        (lambda x, k, s, n: right_degradation(x, k, s, n / 255), "units of [0, 1]"),
        (lambda x, k, s, n: right_degradation(x, k, s, n * 255), "units of [0, 1]"),
        (lambda x, k, s, n: right_degradation(x, k.flip(0, 1), s, n), "mirrored"),
        (lambda x, k, s, n: (with_dark_border(x, k, s) + n).clamp(0, 1), "fill with zeros"),
        (lambda x, k, s, n: (other_grid(x, k, s).clamp(0, 1) + n).clamp(0, 1), "Follow the chain"),
        (lambda x, k, s, n: x, "A tensor (3, 24, 24) is expected"),
        (lambda x, k, s, n: x, "Keep every 4th pixel."),
        (lambda x, k, s, n: x[:, ::s], "downwards as well as to the right"),
        (
            lambda x, k, s, n: F.pad(x, (0, 1, 0, 1))[:, ::s, ::s],
            "start at pixel 2",
        ),
        (lambda x, k, s, n: x[::s], "The first axis holds red, green and blue"),
        (lambda x, k, s, n: x[:, 8::s, 8::s], "Pixels are missing"),
        (lambda x, k, s, n: 3.0, "your function returned float"),
        (lambda x, k, s, n: n + x, "Your function stopped with RuntimeError"),
        (lambda x, k, s, n: n + x, "sample rows and columns first"),
        (first_pixels, "the first is number s // 2"),
    ],
    "alias": [
        (lambda f, s: f, "first count its cycles per LR pixel"),
        (lambda f, s: s * f, "Whole turns"),
        (lambda f, s: (s * f) % 1, "turns backwards"),
        (lambda f, s: s * f - round(s * f), "mind the sign"),
        (lambda f, s: abs(f - round(s * f) / s), "count per LR pixel"),
        (lambda f, s: f / s, "wider than an HR pixel"),
        (lambda f, s: 0.5, "How many turns"),
    ],
    "unbias": [
        (lambda v, b, s: v / (1 - 1 / s**2), "still in it"),
        (lambda v, b, s: v / (1 - 1 / s**2) + b, "taken away, not added"),
        (lambda v, b, s: v * (1 - 1 / s**2) - b, "divide by the share"),
        (lambda v, b, s: (v - b) / (1 - 1 / s**2), "divide first"),
        (lambda v, b, s: 4 * v / 3 - b, "s² in place of 4"),
        (lambda v, b, s: 3 * v / 4 - b, "divide by the share"),
        (lambda v, b, s: v - b, "takes part of the work"),
        (lambda v, b, s: 1.0, "Set the photo's blur"),
    ],
    "barycentre": [
        (lambda c: c.mean(0), "average of the covariances"),
        (lambda c: root(c).mean(0), "a covariance is its square"),
        (lambda c: root(c).mean(0) @ root(c).mean(0), "iterate"),
        (lambda c: iterate(c, 1, power=1, undone=False), "on both sides"),
        (lambda c: iterate(c, 1, power=1), "Square the mean of the roots"),
        (lambda c: iterate(c, 1), "That is the first step"),
        (lambda c: torch.eye(2, dtype=torch.float64), "from S = 3.5 I"),
    ],
    "p-value": [
        (lambda o, s: np.mean(s >= o), "count it too, above and below"),
        (lambda o, s: np.sum(s >= o) / (1 + len(s)), "below, but not above"),
        (lambda o, s: (1 + np.sum(s >= o)) / len(s), "above, but not below"),
        (lambda o, s: (1 + np.sum(s > o)) / (1 + len(s)), "exactly as large"),
        (lambda o, s: (1 + np.sum(s <= o)) / (1 + len(s)), "the other side"),
        (lambda o, s: np.mean(s <= o), "the other side"),
        (lambda o, s: 1 + np.sum(s >= o), "a share of all orders"),
        (lambda o, s: 0.123, "share of all orders, observed and shuffled"),
    ],
    "line": [
        (lambda a, b: abs(a.mean() - b.mean()), "distance of the means"),
        (lambda a, b: (np.sort(pad(a, b)) - np.sort(b)).mean(), "Gaps to the left"),
        (lambda a, b: abs(np.sort(pad(a, b)) - np.sort(b)).sum(), "That is the sum"),
        (lambda a, b: ((np.sort(pad(a, b)) - np.sort(b)) ** 2).mean(), "You squared the gaps"),
        (lambda a, b: ((np.sort(pad(a, b)) - np.sort(b)) ** 2).mean() ** 0.5, "that is W2"),
        (lambda a, b: abs(pad(a, b) - b).mean(), "Sort both first"),
        (lambda a, b: abs(a[:, None] - b).mean(), "pairs everyone with everyone"),
        (lambda a, b: 99.0, "as many entries as the longer one"),
        (lambda a, b: sorted(a) - sorted(b), "np.sort(a) is an array"),
        (lambda a, b: abs(np.sort(a) - np.sort(b)), "the distance is their mean"),
        (lambda a, b: abs(np.sort(a) - np.sort(b)).mean() if len(a) == len(b) else a + b, "stopped with"),
        (lambda a, b: abs(np.sort(a) - np.sort(b)).mean() if len(a) == len(b) else a + b, "as many entries"),
    ],
}
RIGHT: list[tuple[str, Any]] = [
    ("psnr", lambda sr, hr: -10 * torch.log10((sr - hr).square().mean())),
    ("psnr", lambda sr, hr: 10 * math.log10(1 / float(((sr - hr) ** 2).mean()))),
    ("degrade", right_degradation),
    ("degrade", single),
    ("alias", lambda f, s: abs(s * f - round(s * f))),
    ("unbias", lambda v, b, s: v * s**2 / (s**2 - 1) - b),
    ("unbias", lambda v, b, s: torch.tensor(v * s**2 / (s**2 - 1) - b)),
    ("barycentre", lambda c: iterate(c, 60)),
    ("p-value", lambda o, s: (1 + np.sum(s >= o)) / (1 + len(s))),
    ("line", wasserstein_distance),
]


def test_the_right_camera_is_the_degradation_of_the_package() -> None:
    hr = torch.rand(3, 96, 96, generator=torch.Generator().manual_seed(1))
    patch = torch.randint(
        100, 156, (1, 3, 24, 24), generator=torch.Generator().manual_seed(2), dtype=torch.uint8
    )
    pool = NoisePool(patch, ["exercise"], [""])
    kernel = kernels.gaussian(16, 1.5**2)
    expected = Degradation(4, kernel, pool).apply(hr)
    assert torch.allclose(camera(hr, kernel, 4, pool.sample(1, 24)[0]), expected, atol=1e-6)


def test_an_unknown_exercise_is_named() -> None:
    with pytest.raises(KeyError, match=r"no exercise 'psnrr'; there are: .*psnr"):
        check("psnrr", 1)
