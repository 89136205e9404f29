"""The blur of an image from its own statistics at several scales: a Gaussian kernel with an error bar, in 0.1 s.

Blur changes what a photo looks like at fine scales relative to coarse ones, along each direction by the variance
v(θ) = uᵀΣu of the kernel in that direction. Two statistics are read in 12 directions:

* the power spectrum at 10 frequencies, noise floor removed (blur multiplies it by exp(−4π² fᵀΣf));
* how large directional derivatives are at four fine scales relative to a coarse one, in the norms L1, L4, L8: the
  higher the norm, the more the sharpest edges decide. The spectrum cannot see edges.

One small network, the same for every direction, turns them into Σ. What a closed formula has to assume about scenes
(their spectrum, and their own blur, which makes plain matching across scales find ¾(v_scene + v_kernel)), the
network learns from the course's train photos, blurred with known kernels by `scripts/fit_kernel_regressor.py`.
Sharing the network over directions makes the answer turn with the picture.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from otsr.images import luma

DIRECTIONS = 12  # angles d·15°, from x (right) towards y (down)
PATCH = 32  # side of the Hann-windowed patches of the spectrum
FREQUENCIES = (0.06, 0.09, 0.125, 0.17, 0.22, 0.27, 0.32, 0.37, 0.42, 0.47)  # cycles per LR pixel
SCALES = (0.7, 1.0, 1.5, 2.2, 3.2)  # σ of the derivative filters in LR pixels; the last is the reference
NORMS = (1, 4, 8)
LARGEST = 1024  # of a larger image, the window of this side with the strongest gradients is read
WEIGHTS = Path(__file__).with_name("spectrum.json")
_FEATURES = len(FREQUENCIES) + len(NORMS) * (len(SCALES) - 1)
_INVARIANTS = 4
_MIN_CONTRAST = 8.0  # mean power at 0.09 to 0.125 cycles per pixel over the noise floor; see NoTextureError
_LEAST_FLOOR = 0.25  # grey levels²: a ramp rounded to 8 bits is no texture either


class NoTextureError(ValueError):
    """The image holds nothing but noise at the scales that would show blur."""


@dataclass(frozen=True)
class Blur:
    """A Gaussian blur and how sure we are of it.

    Attributes:
        covariance: (2, 2) float64, order (x, y), in HR pixels², x right and y down.
        deviation: standard errors of log(variance): of the overall size (½ log det Σ), and of the stretch along
            any one direction. 0.2 says that the variances are known to about ±20 %.
    """

    covariance: Tensor
    deviation: tuple[float, float]


def estimate_blur(lr: Tensor, scale: int = 2) -> Blur:
    """Covariance Σ of the Gaussian kernel in y = (x * k)↓s + n, from y alone.

    Args:
        lr: y, (3, H, W) in [0, 1], both sides at least 64.
        scale: s, 2 or 4.

    Raises:
        NoTextureError: spectrum at 8 to 11 pixels a cycle less than 8 times the noise floor: no blur can be read.
    """
    directional, invariant = features(luma(lr)[0], scale)
    network = stored_network()
    with torch.no_grad():
        logarithm, deviation = network(directional[None], invariant[None])
    covariance = scale**2 * covariance_from_log(logarithm.double())[0]
    return Blur(covariance, (float(deviation[0, 0].exp()), float(deviation[0, 1].exp())))


def features(grey: Tensor, scale: int) -> tuple[Tensor, Tensor]:
    """The statistics that the network reads.

    Args:
        grey: (H, W) luma in [0, 1].
        scale: 2 or 4; scenes are sharper, counted in LR pixels, after ×4.

    Returns:
        directional (12, 22): log power minus log power at low frequencies; log norms minus those of the coarse
        scale. invariant (4,): two noise levels over the power at low frequencies, contrast, whether scale is 4.
    """
    grey = _busiest(grey.float(), LARGEST)
    grey = (
        255 * 4 * grey
    ).round() / 4  # in grey levels; finer steps than a quarter would not be there in a file
    power, floor, typical = directional_power(grey)
    low = _texture(power, floor)
    spectrum = torch.maximum(power - floor, 0.05 * power).log() - low
    norms = _derivative_norms(grey)
    relative = (norms[:, :-1] - norms[:, -1:]).flatten(1)
    invariant = torch.stack(
        [floor.log() - low, typical.log() - low, 0.1 * low, low.new_tensor(float(scale == 4))]
    )
    return torch.cat([spectrum, relative], 1), invariant


def require_texture(grey: Tensor) -> None:
    """Raise NoTextureError if the luma (H, W) shows nothing above its noise."""
    power, floor, _ = directional_power(255 * _busiest(grey.float(), LARGEST))
    _texture(power, floor)


class DirectionalRegressor(nn.Module):
    """From statistics in 12 directions to log Σ (of the kernel in LR pixels), with one network for all directions.

    Direction θ sees its own features, those of the direction across, their mean over all directions, and the
    invariants; it answers with o₀, o₁. Then log Σ = mean over θ of o₀ I + 2 o₁ (cos 2θ, sin 2θ)-stretch. The
    standard errors come from the same hidden layer, averaged over θ, so they do not depend on the angle.
    """

    directional_mean: Tensor
    directional_scale: Tensor
    invariant_mean: Tensor
    invariant_scale: Tensor
    stretch: Tensor

    def __init__(self, hidden: int = 12) -> None:
        super().__init__()
        self.hidden = nn.Linear(3 * _FEATURES + _INVARIANTS, hidden)
        self.answer = nn.Linear(hidden, 2)
        self.doubt = nn.Linear(hidden, 2)
        for name, size in (("directional", _FEATURES), ("invariant", _INVARIANTS)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_scale", torch.ones(size))
        double = 2 * math.pi / DIRECTIONS * torch.arange(DIRECTIONS)
        self.register_buffer("stretch", torch.stack([double.cos(), double.sin()], 1), persistent=False)

    def forward(self, directional: Tensor, invariant: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 12, 22) and (B, 4) → log Σ as (B, 3): size and two stretches; logs of their errors (B, 2)."""
        x = (directional - self.directional_mean) / self.directional_scale
        y = ((invariant - self.invariant_mean) / self.invariant_scale)[:, None].expand(-1, DIRECTIONS, -1)
        x = torch.cat([x, x.roll(DIRECTIONS // 2, 1), x.mean(1, keepdim=True).expand_as(x), y], 2)
        hidden = self.hidden(x).tanh()
        answer = self.answer(hidden)
        size = answer[..., 0].mean(1, keepdim=True)
        stretch = 2 * (answer[..., 1:] * self.stretch).mean(1)
        return torch.cat([size, stretch], 1), self.doubt(hidden.detach()).mean(1)


def covariance_from_log(logarithm: Tensor) -> Tensor:
    """Σ = exp(m I + [[c, q], [q, −c]]) for rows (m, c, q), in closed form: (B, 3) → (B, 2, 2), always positive."""
    size, along, across = logarithm.unbind(-1)
    length = (along**2 + across**2 + 1e-12).sqrt()
    even, odd = size.exp() * length.cosh(), size.exp() * length.sinh() / length
    return torch.stack([even + odd * along, odd * across, odd * across, even - odd * along], -1).unflatten(
        -1, (2, 2)
    )


@lru_cache(maxsize=1)
def stored_network() -> DirectionalRegressor:
    """The network with the weights that the package carries."""
    network = DirectionalRegressor()
    stored = json.loads(WEIGHTS.read_text(encoding="utf-8"))
    network.load_state_dict({name: torch.tensor(values) for name, values in stored["weights"].items()})
    return network.eval().requires_grad_(False)


def _busiest(grey: Tensor, side: int) -> Tensor:
    """The window of at most side × side with the largest mean gradient, on a grid of side/8; the image if it fits."""
    height, width = min(side, grey.shape[0]), min(side, grey.shape[1])
    if (height, width) == grey.shape:
        return grey
    magnitude = (grey[1:, :-1] - grey[:-1, :-1]).abs() + (grey[:-1, 1:] - grey[:-1, :-1]).abs()
    step = side // 8
    mean = F.avg_pool2d(magnitude[None, None], (height - 1, 1), (step, 1))
    mean = F.avg_pool2d(mean, (1, width - 1), (1, step))[0, 0]
    row, column = divmod(int(mean.argmax()), mean.shape[1])
    return grey[row * step : row * step + height, column * step : column * step + width]


@lru_cache(maxsize=1)
def _polar_weights() -> tuple[Tensor, Tensor, Tensor]:
    """Weights (12, 10, 32·32) that average a patch spectrum around (direction, frequency), window, high band."""
    line = torch.fft.fftfreq(PATCH, dtype=torch.float64)
    x, y = line[None, :].expand(PATCH, PATCH), line[:, None].expand(PATCH, PATCH)
    radius, angle = torch.hypot(x, y), torch.atan2(y, x)
    inside = (radius > 0) & (x > -0.5) & (y > -0.5)  # ±½ are one frequency with two directions: leave it out
    directions = (math.pi / DIRECTIONS * torch.arange(DIRECTIONS))[:, None, None, None]
    frequencies = torch.tensor(FREQUENCIES, dtype=torch.float64)[:, None, None]
    aside = torch.atan2((2 * (angle - directions)).sin(), (2 * (angle - directions)).cos()) / 2
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
    quiet = power[:, high].mean(1)
    floor, typical = (
        torch.quantile(quiet, torch.tensor([0.05, 0.5])) + 1e-3
    )  # grey levels², below rounding's 0.03
    return weights @ power.mean(0).flatten() + 1e-3, floor, typical


def _texture(power: Tensor, floor: Tensor) -> Tensor:
    """log of the mean power (a geometric mean) at 0.09 to 0.125 cycles per pixel, if it stands out of the noise."""
    low = power[:, 1:3].log().mean()
    contrast = float(low.exp() / floor.clamp_min(_LEAST_FLOOR))
    if not contrast >= _MIN_CONTRAST:
        raise NoTextureError(
            f"no texture to read blur from: at 8 to 11 pixels a cycle the image has {contrast:.1f} times the power "
            f"of its noise, at least {_MIN_CONTRAST:.0f} is needed; choose a crop with edges or detail in it"
        )
    return low


def _derivative_norms(grey: Tensor) -> Tensor:
    """log of the L1, L4, L8 norms (means over pixels) of derivatives of Gaussians: (12, 5 scales, 3 norms)."""
    reach = math.ceil(4 * SCALES[-1])
    line = torch.arange(-reach, reach + 1, dtype=torch.float32)
    angles = math.pi / DIRECTIONS * torch.arange(DIRECTIONS)
    rows = []
    for sigma in SCALES:
        smooth = torch.exp(-0.5 * (line / sigma) ** 2)
        smooth = smooth / smooth.sum()
        slope = smooth * line / sigma**2
        image = grey[None, None]
        across = F.conv2d(F.conv2d(image, slope[None, None, None]), smooth[None, None, :, None]).flatten()
        down = F.conv2d(F.conv2d(image, smooth[None, None, None]), slope[None, None, :, None]).flatten()
        for angle in angles.tolist():
            first = (math.cos(angle) * across + math.sin(angle) * down).abs()
            fourth = first.square().square()
            means = torch.stack([first.mean(), fourth.mean(), fourth.square().mean()])
            rows.append((means + 1e-12).log() / torch.tensor(NORMS))
    return torch.stack(rows).unflatten(0, (len(SCALES), DIRECTIONS)).transpose(0, 1)
