"""What blur changes in a photo, measured along 12 directions: the statistics that `estimation` reads a kernel from.

Blur changes what a photo looks like at fine scales relative to coarse ones, in direction θ by the variance
v(θ) = uᵀΣu of the kernel in that direction. Three statistics show it:

* the power spectrum at 10 frequencies, noise floor removed (a Gaussian blur multiplies it by exp(−4π² fᵀΣf); other
  kernels have zeros);
* the size of directional derivatives at five fine scales relative to a coarse one, in the norms L1, L4, L8: the
  higher the norm, the more the sharpest edges count. The spectrum cannot see edges;
* how the slope falls off beside the strongest edges, with its sign: sharpening overshoots.

>>> noise = 3 * torch.randn(128, 128, generator=torch.Generator().manual_seed(0))
>>> power, floor, typical = directional_power(noise)  # white noise of variance 9 has the power 9 everywhere
>>> tuple(power.shape), round(float(power.mean()))
((12, 10), 9)
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from otsr.degradation.kernels import without_dust
from otsr.images import luma

DIRECTIONS = 12  # angles d·15°, from x (right) towards y (down)
PATCH = 32  # side of the Hann-windowed patches of the spectrum
FREQUENCIES = (0.06, 0.09, 0.125, 0.17, 0.22, 0.27, 0.32, 0.37, 0.42, 0.47)  # cycles per LR pixel
SCALES = (0.7, 1.0, 1.5, 2.2, 3.2, 4.7)  # σ of the derivative filters in LR pixels; the last is the reference
NORMS = (1, 4, 8)
PROFILE = 8  # LR pixels to either side of an edge
SMALLEST = 64  # LR pixels a side that an estimate takes: KernelGAN's crop, and 9 patches of the spectrum
LARGEST = 1024  # of a larger image, the window of this side with the strongest gradients is read
_MIN_CONTRAST = 8.0  # mean power at 0.09 to 0.125 cycles per pixel over the noise floor; see NoTextureError
LEAST_FLOOR = 0.25  # grey levels²: a ramp rounded to 8 bits is no texture either
_ANGLES = math.pi / DIRECTIONS * torch.arange(DIRECTIONS)


class NoTextureError(ValueError):
    """The image holds nothing but noise at the scales that would show blur."""


def features(grey: Tensor, scale: int) -> tuple[Tensor, Tensor]:
    """The statistics of a photo's luma (H, W) in [0, 1]; at scale 4 scenes are sharper, counted in LR pixels.

    Gives (12, 33): log power minus log power at low frequencies, log norms minus those of the coarse scale, and edges;
    and (4,), whatever the direction: two noise levels over the power at low frequencies, contrast, whether scale is 4.
    """
    grey = busiest(grey.float(), LARGEST)
    grey = (255 * 4 * grey).round() / 4  # in grey levels; no file has finer steps than a quarter
    power, floor, typical = directional_power(grey)
    low = power[:, 1:3].log().mean()  # at 0.09 to 0.125 cycles per pixel
    contrast = float(low.exp() / floor.clamp_min(LEAST_FLOOR))
    if not contrast >= _MIN_CONTRAST:
        raise NoTextureError(
            f"no texture to read blur from: detail of 8 to 11 pixels has {contrast:.1f} times the power of the noise, "
            f"and at least {_MIN_CONTRAST:.0f} times is needed; choose a crop with edges or detail in it"
        )
    spectrum = torch.maximum(power - floor, 0.05 * power).log() - low
    norms = _derivative_norms(grey)
    relative = (norms[:, :-1] - norms[:, -1:]).flatten(1)
    invariant = [floor.log() - low, typical.log() - low, 0.1 * low, low.new_tensor(float(scale == 4))]
    return torch.cat([spectrum, relative, edge_profiles(grey)], 1), torch.stack(invariant)


def busiest(grey: Tensor, side: int) -> Tensor:
    """The window of at most side × side with the largest mean gradient, on a grid of side/8; the image if it fits."""
    height, width = (min(side, length) for length in grey.shape)
    if (height, width) == grey.shape:
        return grey
    magnitude = (grey[1:, :-1] - grey[:-1, :-1]).abs() + (grey[:-1, 1:] - grey[:-1, :-1]).abs()
    step = side // 8
    mean = F.avg_pool2d(magnitude[None, None], (height - 1, 1), (step, 1))
    mean = F.avg_pool2d(mean, (1, width - 1), (1, step))[0, 0]
    row, column = divmod(int(mean.argmax()), mean.shape[1])
    return grey[row * step : row * step + height, column * step : column * step + width]


def radial_spectrum(image: Tensor, bins: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Power |FFT(w · (Y − mean Y))|² / (H W mean w²) of the luma Y, Hann window w, averaged over rings.

    From an image (3, H, W) in [0, 1] to frequencies (bins,), the middles of rings from 0 to 0.5 cycles a pixel, and
    powers (bins,). White noise of variance v has power v at each frequency.
    """
    grey = luma(image)[0].double()
    height, width = grey.shape
    window = torch.outer(*(torch.hann_window(side, dtype=torch.float64) for side in grey.shape))
    power = torch.fft.fft2(window * (grey - grey.mean())).abs() ** 2
    power /= height * width * window.square().mean()
    radius = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width)[None]).flatten()
    ring = (radius * 2 * bins).long()
    inside = ring < bins
    count = torch.bincount(ring[inside], minlength=bins)
    total = torch.bincount(ring[inside], power.flatten()[inside], minlength=bins)
    return (np.arange(bins) + 0.5) / (2 * bins), (total / count).numpy()


@lru_cache(maxsize=1)
def _polar_weights() -> tuple[Tensor, Tensor, Tensor]:
    """Weights (12, 10, 32·32) that average a patch spectrum around (direction, frequency), window, high band."""
    line = torch.fft.fftfreq(PATCH, dtype=torch.float64)
    x, y = torch.meshgrid(line, line, indexing="xy")
    radius, angle = torch.hypot(x, y), torch.atan2(y, x)
    inside = (radius > 0) & (x > -0.5) & (y > -0.5)  # ±½ are one frequency with two directions: leave it out
    frequencies = torch.tensor(FREQUENCIES, dtype=torch.float64)[:, None, None]
    twice = 2 * (angle - _ANGLES[:, None, None, None])
    aside = torch.atan2(twice.sin(), twice.cos()) / 2
    breadth = (0.6 / PATCH / frequencies).clamp(min=math.radians(9))
    weights = torch.exp(-0.5 * ((radius - frequencies) / 0.02) ** 2 - 0.5 * (aside / breadth) ** 2) * inside
    weights = weights.flatten(2) / weights.flatten(2).sum(-1, keepdim=True)
    hann = torch.hann_window(PATCH + 2, periodic=False, dtype=torch.float64)[1:-1]
    window = torch.outer(hann, hann)
    return weights.float(), (window / window.norm()).float(), torch.maximum(x.abs(), y.abs()) > 0.36


def directional_power(grey: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean power of 32×32 patches (12, 10) and the noise floor: high-band power of the 5 % quietest and median patch.

    White noise of variance σ² has power σ² everywhere.
    """
    weights, window, high = _polar_weights()
    hop = PATCH // 2
    top, left = ((n - PATCH) % hop // 2 for n in grey.shape)
    patches = grey[top:, left:].unfold(0, PATCH, hop).unfold(1, PATCH, hop).flatten(0, 1)
    patches = (patches - patches.mean((1, 2), keepdim=True)) * window
    power = torch.fft.fft2(patches).abs().square()
    least = 1e-3  # grey levels², below rounding's 0.03
    floor, typical = torch.quantile(power[:, high].mean(1), torch.tensor([0.05, 0.5])) + least
    return weights @ power.mean(0).flatten() + least, floor, typical


def _derivatives(grey: Tensor, sigmas: Sequence[float], reach: int) -> tuple[Tensor, Tensor]:
    """Derivatives to the right and down of the image under Gaussians, where 2·reach + 1 taps fit: (σ, H, W) each."""
    line, sigma = torch.arange(-reach, reach + 1, dtype=torch.float32), torch.tensor(sigmas)[:, None]
    smooth = torch.exp(-0.5 * (line / sigma) ** 2)
    smooth = without_dust(smooth / smooth.sum(1, keepdim=True))
    slope = smooth * line / sigma**2
    rows = F.conv2d(grey[None, None], torch.cat([slope, smooth])[:, None, None])
    both = F.conv2d(rows, torch.cat([smooth, slope])[:, None, :, None], groups=len(rows[0]))
    across, down = both[0].chunk(2)
    return across, down


def _derivative_norms(grey: Tensor) -> Tensor:
    """log of the L1, L4, L8 norms (means over pixels) of derivatives of Gaussians: (12, 6 scales, 3 norms)."""
    across, down = (d.flatten(1) for d in _derivatives(grey, SCALES, math.ceil(4 * SCALES[-2])))
    rows = []
    for angle in _ANGLES.tolist():
        first = (math.cos(angle) * across + math.sin(angle) * down).abs()
        fourth = first.square().square()
        means = torch.stack([first.mean(1), fourth.mean(1), fourth.square().mean(1)], 1)
        rows.append((means + 1e-12).log() / torch.tensor(NORMS))
    return torch.stack(rows)


def edge_profiles(grey: Tensor) -> Tensor:
    """How the slope of the strongest edges across each direction falls off at 1 to 8 pixels, relative to its middle.

    A Gaussian blur leaves a Gaussian; a disc a flat top; a sharpened photo turns negative beside the edge. From (H, W)
    in grey levels to (12, 8).
    """
    across, down = (d[0] for d in _derivatives(grey, (1.0,), 4))
    height, width = across.shape
    inner = slice(PROFILE + 1, -PROFILE - 1)
    distance = torch.arange(-PROFILE, PROFILE + 1.0)
    rows = []
    for angle in _ANGLES.tolist():
        x, y = math.cos(angle), math.sin(angle)
        slope = x * across + y * down
        aside = (x * down - y * across).abs()
        score = (slope.abs() - 3 * aside)[inner, inner]
        strongest = score.flatten().topk(max(30, score.numel() // 200)).indices
        places = torch.stack([strongest % score.shape[1], strongest // score.shape[1]], -1) + PROFILE + 1
        points = places[:, None] + distance[:, None] * torch.tensor([x, y])
        grid = 2 * points / torch.tensor([width - 1.0, height - 1.0]) - 1
        values = F.grid_sample(slope[None, None], grid[None], align_corners=True)[0, 0]
        middle = values[:, PROFILE]
        values = values * middle.sign()[:, None]
        peak = (values[:, PROFILE] >= values[:, PROFILE - 1]) & (values[:, PROFILE] >= values[:, PROFILE + 1])
        both = (values + values.flip(1))[peak, PROFILE:]
        rows.append(both.sum(0)[1:] / both[:, 0].sum().clamp_min(1e-6))
    return torch.stack(rows)
