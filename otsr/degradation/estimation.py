"""The blur kernel of a photo from the photo alone, with an error bar, in a tenth of a second.

One small network, the same for every direction, turns the statistics of `spectrum` into the covariance Σ of the closest
Gaussian, and into what sets the kernel apart from it: the weights of five patterns, stretched and turned as Σ is
(principal components of discs, motion, boxes, bicubic and sharpened kernels). What a closed formula must assume about
scenes (their spectrum, and their own blur, which makes plain matching across scales find ¾(v_scene + v_kernel)), the
network learns from photos blurred with known kernels, by `scripts/fit_kernel_regressor.py`. Sharing the network over
directions makes the answer turn with the picture. What no power spectrum tells is a kernel from its mirror image: the
answer is the same from both sides.

>>> log = torch.tensor([[0.5, 0.3, 0.0]])  # log Σ: size, and stretch along the axes
>>> [round(v, 2) for v in covariance_from_log(log).diagonal(dim1=1, dim2=2)[0].tolist()]  # exp(0.8), exp(0.2)
[2.23, 1.22]
>>> [round(v, 2) for v in log_of_covariance(covariance_from_log(log))[0].abs().tolist()]
[0.5, 0.3, 0.0]
"""

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from otsr.degradation import kernelgan
from otsr.degradation.kernels import bicubic, l2_distance, without_dust
from otsr.degradation.spectrum import DIRECTIONS, LEAST_FLOOR, SMALLEST, features
from otsr.images import luma

FEATURES, INVARIANTS = 33, 4  # what `spectrum.features` gives for a direction, and for the image
SHAPES = 5  # patterns of the kernel's shape
CELLS, CELL = 21, 0.3  # side of a pattern, and its step in standard deviations
FLOOR = 0.15  # HR pixels²: smaller variances change no taps
WIDEST = 3.0  # LR pixels: σ of the widest Gaussian that the network has seen
_BICUBIC = 0.2  # see `kernel_of`
_MOST = 1.5  # of the correction of log standard errors: what lies far from all examples stays in doubt
WEIGHTS = Path(__file__).with_name("spectrum.json")
Method = Literal["spectrum", "kernelgan"]


def estimate_kernel(lr: Tensor, scale: int = 2, method: Method = "spectrum") -> Tensor:
    """Blur kernel k in lr = (hr * k)↓scale + noise, from the LR image alone.

    "spectrum" (the default, a tenth of a second) reads it from the image's statistics at several scales;
    `estimate_blur` says how sure it is. "kernelgan" (about a minute on a CPU) trains a kernel of any shape until the
    image's patches look alike at two scales. `benchmarks/results/kernel_estimation.md` compares the two.

    Args:
        lr: (3, H, W) in [0, 1], both sides at least 64, with some texture.
        scale: 2 or 4.

    Returns:
        (k, k) float32 on the HR grid and lr's device: sums to 1, centre of mass at the array's centre, k even. Negative
        taps mean that the photo was sharpened; KernelGAN gives none.

    Raises:
        ValueError: an argument is wrong (it is named), or lr holds NaN or infinity.
        NoTextureError: (a ValueError) the image is flat, or nothing but noise.
    """
    if method not in ("spectrum", "kernelgan"):
        raise ValueError(f'method is {method!r}, expected "spectrum" or "kernelgan"')
    blur = estimate_blur(lr, scale)  # for KernelGAN too: it refuses a photo without texture
    if method == "spectrum":
        return kernel_of(blur, scale).to(lr.device)
    raw = kernelgan.train_kernel(lr.detach().float().cpu())
    return kernelgan.finish_kernel(raw, scale).to(lr.device)


@dataclass(frozen=True)
class Blur:
    """A blur and how sure we are of it; the errors are those of log(variance): 0.2 means about ±20 %.

    The covariance is that of the Gaussian closest to the kernel (a sharpened kernel's own variance may be negative).
    """

    covariance: Tensor  # (2, 2) float64, order (x, y), in HR pixels², x right and y down
    shape: Tensor  # (5,) weights of the patterns by which the kernel differs from that Gaussian
    deviation: tuple[float, float]  # standard errors of the size, ½ log det Σ, and of the stretch
    unclear: float  # error of the size before the kind of kernel corrects it; compares tiles of a photo
    strangeness: float  # how far the statistics are from those of training photos: 1 is usual
    contrast: float  # power of detail of 8 to 11 pixels over that of the noise

    @property
    def sigma(self) -> float:
        """√ of the mean variance along the axes (the geometric mean), in HR pixels."""
        return float(self.covariance.det()) ** 0.25


def estimate_blur(lr: Tensor, scale: int = 2) -> Blur:
    """The blur of a photo; arguments and errors as for `estimate_kernel`."""
    check(lr, scale)
    directional, invariant = features(luma(lr.detach().float().cpu())[0], scale)
    network = stored_network()
    with torch.no_grad():
        logarithm, shape, unclear, doubt = network(directional[None], invariant[None])
    strange = ((directional - network.directional_mean) / network.directional_scale).square().mean().sqrt()
    return Blur(
        covariance=scale**2 * covariance_from_log(logarithm.double())[0],
        shape=shape[0],
        deviation=(float(doubt[0, 0].exp()), float(doubt[0, 1].exp())),
        unclear=float(unclear[0, 0].exp()),
        strangeness=float(strange),
        contrast=min(float((-invariant[0]).exp()), float((10 * invariant[2]).exp()) / LEAST_FLOOR),
    )


def kernel_of(blur: Blur, scale: int) -> Tensor:
    """The kernel of a blur on the HR grid, (k, k), sums to 1; k holds all but 0.6 % of the taps (3σ of a Gaussian).

    One that comes as close to bicubic's as 0.2 (relative L2) is taken for bicubic's: most such photos were shrunk by
    software.
    """
    widest = math.sqrt(float(torch.linalg.eigvalsh(blur.covariance)[1]))
    full = scale + 2 * max(1, math.ceil(CELL * (CELLS - 1) * widest - scale / 2))
    line = (torch.arange(full) - (full - 1) / 2) / scale
    points = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).flatten(0, 1)
    log = log_of_covariance(blur.covariance[None] / scale**2).float()
    kernel = stored_network().density(log, blur.shape[None], points[None])[0].unflatten(0, (full, full))
    plain = bicubic(scale)
    if l2_distance(kernel / kernel.sum(), plain) < _BICUBIC:
        return plain / plain.sum()
    inside = torch.stack([kernel[i : full - i, i : full - i].abs().sum() for i in range(full // 2)])
    rings = min(int((1 - inside / inside[0] < 0.006).sum()) - 1, (full - scale) // 2 - 1)
    kernel = kernel[rings : full - rings, rings : full - rings].contiguous()
    return without_dust(kernel / kernel.sum())


class DirectionalRegressor(nn.Module):
    """From statistics in 12 directions to a kernel in LR pixels, with one network for all directions.

    Direction θ sees its own features, those of the direction across, their mean over all directions, and the
    invariants; it answers with o₀, o₁ and the shape. Then log Σ = mean over θ of o₀ I + 2 o₁ (cos 2θ, sin 2θ)-stretch,
    and the shape's mean over θ weighs the `patterns` (5, 21, 21), by which kernels differ from the closest Gaussian: on
    the quarter of the plane where both axes of Σ are positive, in steps of 0.3 standard deviations. The standard errors
    come from the hidden layer's mean over θ; a factor between 1/4.5 and 4.5 corrects them by the kind of kernel.
    """

    directional_mean: Tensor
    directional_scale: Tensor
    invariant_mean: Tensor
    invariant_scale: Tensor
    patterns: Tensor
    stretch: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(3 * FEATURES + INVARIANTS, 32)
        self.answer = nn.Linear(32, 2 + SHAPES)
        self.doubt = nn.Linear(32, 2)
        self.correction = nn.Sequential(nn.Linear(3 + SHAPES, 12), nn.Tanh(), nn.Linear(12, 2), nn.Tanh())
        for name, size in (("directional", FEATURES), ("invariant", INVARIANTS)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_scale", torch.ones(size))
        self.register_buffer("patterns", torch.zeros(SHAPES, CELLS, CELLS))
        double = 2 * math.pi / DIRECTIONS * torch.arange(DIRECTIONS)
        self.register_buffer("stretch", torch.stack([double.cos(), double.sin()], 1), persistent=False)

    def forward(self, directional: Tensor, invariant: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B, 12, 33) and (B, 4) → log Σ as (B, 3): size and two stretches; shape (B, 5); logs of errors (B, 2), twice.

        The first errors are told from the photo alone, the second corrected by the kind of kernel that was found.
        """
        x = (directional - self.directional_mean) / self.directional_scale
        y = ((invariant - self.invariant_mean) / self.invariant_scale)[:, None].expand(-1, DIRECTIONS, -1)
        x = torch.cat([x, x.roll(DIRECTIONS // 2, 1), x.mean(1, keepdim=True).expand_as(x), y], 2)
        hidden = self.hidden(x).tanh()
        answer = self.answer(hidden)
        size, stretch = answer[..., 0].mean(1, keepdim=True), 2 * (answer[..., 1:2] * self.stretch).mean(1)
        log, shape = torch.cat([size, stretch], 1), answer[..., 2:].mean(1)
        doubt = self.doubt(hidden.detach().mean(1))
        return log, shape, doubt, doubt + _MOST * self.correction(torch.cat([log, shape], 1).detach())

    def density(self, logarithm: Tensor, shape: Tensor, points: Tensor) -> Tensor:
        """Kernels (B, 3), (B, 5) at points (B, P, 2) in LR pixels: a Gaussian plus the weighted patterns, (B, P)."""
        size, along, across = logarithm.unbind(-1)
        length = (along**2 + across**2 + 1e-9).sqrt()
        turn = torch.atan2(across, along + 1e-9) / 2
        cosine, sine = turn.cos()[:, None], turn.sin()[:, None]
        first = (cosine * points[..., 0] + sine * points[..., 1]) * (-(size + length) / 2).exp()[:, None]
        second = (cosine * points[..., 1] - sine * points[..., 0]) * (-(size - length) / 2).exp()[:, None]
        places = torch.stack([first.abs(), second.abs()], -1) * (2 / (CELLS - 1) / CELL) - 1
        pattern = (shape @ self.patterns.flatten(1)).unflatten(1, (1, CELLS, CELLS))
        values = F.grid_sample(pattern, places[:, :, None], align_corners=True)[:, 0, :, 0]
        gaussian = torch.exp(-0.5 * (first**2 + second**2)) / (2 * math.pi)
        return (gaussian + values) * (-size).exp()[:, None]


def covariance_from_log(logarithm: Tensor) -> Tensor:
    """Σ = exp(m I + [[c, q], [q, −c]]) for rows (m, c, q), in closed form: (B, 3) → (B, 2, 2), always positive."""
    size, along, across = logarithm.unbind(-1)
    length = (along**2 + across**2 + 1e-12).sqrt()
    even, odd = size.exp() * length.cosh(), size.exp() * length.sinh() / length
    entries = [even + odd * along, odd * across, odd * across, even - odd * along]
    return torch.stack(entries, -1).unflatten(-1, (2, 2))


def log_of_covariance(covariance: Tensor) -> Tensor:
    """(B, 2, 2) → (B, 3): the inverse of `covariance_from_log`."""
    values, vectors = torch.linalg.eigh(covariance)
    log = vectors @ torch.diag_embed(values.clamp_min(1e-3).log()) @ vectors.mT
    size = (log[:, 0, 0] + log[:, 1, 1]) / 2
    return torch.stack([size, log[:, 0, 0] - size, log[:, 0, 1]], 1)


@lru_cache(maxsize=1)
def stored_network() -> DirectionalRegressor:
    """The network with the weights that the package carries."""
    network = DirectionalRegressor()
    stored = json.loads(WEIGHTS.read_text(encoding="utf-8"))
    network.load_state_dict({name: torch.tensor(values) for name, values in stored["weights"].items()})
    return network.eval().requires_grad_(False)


def check(lr: Tensor, scale: int) -> None:
    """Refuse what no kernel can be estimated from, whatever it shows."""
    if not isinstance(lr, Tensor) or lr.dim() != 3 or lr.shape[0] != 3 or not lr.is_floating_point():
        found = f"{tuple(lr.shape)} {lr.dtype}" if isinstance(lr, Tensor) else type(lr).__name__
        raise ValueError(f"lr is {found}, expected a floating (3, H, W) tensor; otsr.images.read makes one")
    if scale not in (2, 4):
        raise ValueError(f"scale is {scale}, expected 2 or 4")
    height, width = lr.shape[1:]
    if min(height, width) < SMALLEST:
        least = f"{SMALLEST} × {SMALLEST}"
        raise ValueError(f"lr has {height} × {width} pixels; estimating a kernel takes at least {least}")
    low, high = lr.min().item(), lr.max().item()
    if not -2 <= low <= high <= 3:  # sharpened photos overshoot
        raise ValueError(f"lr lies in [{low:.4g}, {high:.4g}], expected [0, 1]; divide 8-bit values by 255")
