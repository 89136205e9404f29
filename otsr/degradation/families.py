"""Blur as it happens: lenses out of focus make discs, hands and subjects motion, sensors boxes, software the rest.

`bank` draws the kernels of the general degradation from these shapes. The shapes take σ, widths and lengths in HR
pixels; the bank counts in LR pixels: it is the same at every scale.

>>> [round(tap, 2) for tap in box(4, 3.0)[1].tolist()]
[0.06, 0.11, 0.11, 0.06]
>>> edge = sharpened(gaussian(12, 1.0), amount=1.0, sigma=2.0).sum(0).cumsum(0)
>>> [round(float(value), 1) for value in (edge.min(), edge.max())]  # a step from 0 to 1 overshoots on both sides
[-0.1, 1.1]
"""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from otsr.degradation.kernels import bicubic, gaussian, motion

_SHARES = {  # of the kernels of a bank that are drawn
    "bicubic": 0.10, "box": 0.05, "lanczos": 0.06, "isotropic": 0.19, "anisotropic": 0.27, "defocus": 0.10,
    "motion": 0.09, "sharpened": 0.14,
}  # fmt: skip


def box(size: int, width: float) -> Tensor:
    """Mean over a square of `width` pixels, whole or not; of the scale: what an area resize computes."""
    edges = torch.arange(size + 1, dtype=torch.float64) - size / 2
    covered = edges.clamp(-width / 2, width / 2).diff()
    return _normalised(torch.outer(covered, covered))


def lanczos(size: int, scale: int, lobes: int) -> Tensor:
    """Lanczos' windowed sinc for shrinking by `scale`: sinc(x/s) sinc(x/(s·lobes)) along both axes."""
    x = (torch.arange(size, dtype=torch.float64) - (size - 1) / 2) / scale
    taps = torch.sinc(x) * torch.sinc(x / lobes) * (x.abs() < lobes)
    return _normalised(torch.outer(taps, taps))


def disc(size: int, radius: float) -> Tensor:
    """A lens out of focus: uniform disc, its edge averaged over 8×8 points a pixel."""
    line = (torch.arange(8 * size, dtype=torch.float64) + 0.5) / 8 - size / 2
    inside = (line[:, None].square() + line[None].square() <= radius**2).double()
    return _normalised(F.avg_pool2d(inside[None], 8)[0])


def sharpened(kernel: Tensor, amount: float, sigma: float) -> Tensor:
    """Unsharp mask k + amount · (k − k * g), g a Gaussian of σ: overshoot on both sides of an edge."""
    return _normalised(kernel + amount * (kernel - blurred(kernel, sigma)))


def blurred(kernel: Tensor, sigma: float) -> Tensor:
    """k * g in the size of k; the little that leaves the array is put back in proportion."""
    size = kernel.shape[-1]
    line = gaussian(2 * size - 1, sigma**2, dtype=kernel.dtype).sum(0)
    around = line.unfold(0, size, 1).flip(0)  # row i: the Gaussian around tap i
    return _normalised(around @ kernel @ around.T)


def bank(scale: int, count: int, plain: int) -> Tensor:
    """(count, k, k) symmetric kernels of k = 7·scale − 2, the first `plain` bicubic, the others drawn by `_SHARES`.

    Bicubic, isotropic and anisotropic Gaussians: BSRGAN (Zhang et al., ICCV 2021), with σ from 0.2 LR pixels (so
    sharp that it aliases) to 1, one in ten to 1.3. Box and Lanczos: what programs shrink photos with. Defocus and
    motion: optics. Sharpened: unsharp masking as phones do it, negative lobes around a positive middle.
    """
    generator = Generator().manual_seed(0)
    shares = torch.tensor(list(_SHARES.values()))
    names = [list(_SHARES)[i] for i in torch.multinomial(shares, count - plain, True, generator=generator)]
    return torch.stack([_banked(name, scale, generator) for name in ["bicubic"] * plain + names]).float()


def _banked(name: str, scale: int, generator: Generator) -> Tensor:
    size = 7 * scale - 2

    def between(low: float, high: float) -> float:
        return scale * uniform(low, high, generator)

    def spread() -> float:
        tail = uniform(0, 1, generator) < 0.1
        return between(1, 1.3) if tail else scale * log_uniform(0.2, 1, generator)

    if name == "bicubic":
        return F.pad(bicubic(scale, dtype=torch.float64), [(size - 4 * scale + scale % 2) // 2] * 4)
    if name == "box":
        return box(size, scale if uniform(0, 1, generator) < 0.6 else between(0.4, 1.6))
    if name == "lanczos":
        return lanczos(size, scale, 2 + int(torch.randint(2, (), generator=generator)))
    if name == "isotropic":
        return gaussian(size, spread() ** 2, dtype=torch.float64)
    if name == "anisotropic":
        long, angle = spread(), uniform(0, 180, generator)
        short = max(0.15 * scale, long * uniform(0.35, 1, generator))
        return gaussian(size, long**2, short**2, angle, dtype=torch.float64)
    if name == "defocus":
        return blurred(disc(size, between(0.35, 1.35)), 0.2 * scale)
    if name == "motion":
        streak = motion(size, between(0.75, 2.5), uniform(0, 180, generator), dtype=torch.float64)
        return blurred(streak, between(0.2, 0.45))
    soft = uniform(0, 1, generator) < 0.7
    start = gaussian(size, between(0.3, 0.8) ** 2, dtype=torch.float64) if soft else box(size, scale)
    return sharpened(start, uniform(0.3, 1.0, generator), between(0.4, 1.0))


def uniform(low: float, high: float, generator: Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def log_uniform(low: float, high: float, generator: Generator) -> float:
    """As often in 1 … 2 as in 2 … 4."""
    return math.exp(uniform(math.log(low), math.log(high), generator))


def _normalised(kernel: Tensor) -> Tensor:
    return kernel / kernel.sum()
