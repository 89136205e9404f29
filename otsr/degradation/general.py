"""The general degradation: photos of any camera, edited, shrunk, and saved again by anybody.

    y = clean, or  JPEG( noise( round two( (x' * k)↓s ) ) ), each part drawn for each sample, some left out

What comes from where: kernels, a second round and noise of many kinds from BSRGAN (Zhang et al., ICCV 2021); the
second round as resize, noise and JPEG in this order, and grey noise, from Real-ESRGAN (Wang et al., ICCVW 2021);
variance linear in the signal from Foi et al. (IEEE TIP 2008, doi 10.1109/TIP.2008.2001399); real patches from
RealSR (Ji et al., CVPRW 2020). Smoothed noise, a JPEG grid out of line with the crop, and the clean share are ours.
"""

import math
import os
from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from otsr.datasets import phone_crops
from otsr.degradation.families import bank, log_uniform, uniform
from otsr.degradation.kernels import downsample, gaussian
from otsr.degradation.noise import DegradationError, NoisePool, collect_noise
from otsr.degradation.pipeline import Degradation, compress

KERNELS = 1500
CLEAN = 165  # the first 165 kernels are bicubic, and what they make stays clean: 11 % of all samples
_SECOND = 0.39  # of the samples that are not clean: 35 % of all
_NOISE = {"none": 0.22, "white": 0.17, "grey": 0.13, "smoothed": 0.17, "signal": 0.17, "pool": 0.14}
_RESIZED = ("area", "bilinear", "bicubic")


class GeneralDegradation(Degradation):
    """What `Degradation.general` makes."""

    kernels: Tensor
    noise: NoisePool
    jpeg: tuple[int, int]

    def __init__(self, scale: int, cleanup: float) -> None:
        super().__init__(scale, bank(scale, KERNELS, CLEAN), _phone_noise(), (40, 100), cleanup)

    def __repr__(self) -> str:
        return super().__repr__().replace("Degradation", "Degradation.general")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Refused: a file holds kernels and a noise pool, but not the draws between them."""
        raise DegradationError(
            f"{path}: the general degradation cannot be saved; give its name, general, in place of a file"
        )

    def disturb(self, lr: Tensor, drawn: Sequence[int], generator: Generator) -> Tensor:
        """What follows the downsampling, drawn for each sample; those of the first `CLEAN` kernels stay clean."""
        pairs = zip(lr.clamp(0, 1), drawn, strict=True)
        return torch.stack([self._photo(image, kernel < CLEAN, generator) for image, kernel in pairs])

    def _photo(self, image: Tensor, clean: bool, generator: Generator) -> Tensor:
        low, high = self.jpeg
        if clean:
            return image if uniform(0, 1, generator) < 0.5 else _jpeg(image, 95, high, generator)
        if uniform(0, 1, generator) < _SECOND:
            image = self._second_round(image, generator)
        image = self._noisy(image, 20, generator)
        for _ in range(int(torch.multinomial(torch.tensor([0.10, 0.72, 0.18]), 1, generator=generator))):
            image = _jpeg(image, low, high, generator)
        return image

    def _second_round(self, image: Tensor, generator: Generator) -> Tensor:
        """Blurred a little, resized, noise and JPEG at that size, and back: weaker than what follows."""
        height, width = image.shape[-2:]
        factor = uniform(0.6, 1.5, generator)
        image = downsample(image, gaussian(5, uniform(0.2, 0.6, generator) ** 2), 1)
        image = _resized(image, (math.ceil(factor * height), math.ceil(factor * width)), generator)
        image = self._noisy(image, 8, generator)
        if uniform(0, 1, generator) < 0.8:
            image = _jpeg(image, 60, 100, generator)
        return _resized(image, (height, width), generator)

    def _noisy(self, image: Tensor, largest: float, generator: Generator) -> Tensor:
        """(3, h, w) with one kind of noise, of a σ from 1 to `largest` grey levels (log-uniform), clipped."""
        shares = torch.tensor(list(_NOISE.values()))
        kind = list(_NOISE)[int(torch.multinomial(shares, 1, generator=generator))]
        if kind == "none":
            return image
        if kind == "pool":
            real = self.noise.sample(1, (image.shape[-2], image.shape[-1]), generator)[0]
            return (image + uniform(1, 2, generator) * real.to(image)).clamp(0, 1)
        colour = {"white": 1.0, "grey": 0.0}.get(kind, uniform(0, 0.7, generator))
        fields = torch.randn(4, *image.shape[-2:], generator=generator).to(image)
        grain = math.sqrt(colour) * fields[:3] + math.sqrt(1 - colour) * fields[3:]
        if kind == "smoothed":  # as denoising and demosaicking leave it; the norm keeps the variance at 1
            kernel = gaussian(7, uniform(0.5, 1.1, generator) ** 2)
            grain = downsample(grain, kernel, 1) / kernel.norm()
            largest = 0.6 * largest  # coarse grain is seen more
        if kind == "signal":  # variance a·signal + b, the same as of the other kinds at mid-grey
            slope = uniform(0.5, 1, generator)
            grain = grain * (1 + slope * (2 * image - 1)).sqrt()
        return (image + log_uniform(1, largest, generator) / 255 * grain).clamp(0, 1)


@cache
def _phone_noise() -> NoisePool:
    return collect_noise(phone_crops())


def _jpeg(image: Tensor, low: int, high: int, generator: Generator) -> Tensor:
    """(3, h, w) compressed, its 8×8 grid (16×16 in the colours of 4:2:0) anywhere: crops of photos begin anywhere."""
    quality = int(torch.randint(low, high + 1, (), generator=generator))
    subsampling = "4:2:0" if uniform(0, 1, generator) < 0.7 else "4:4:4"
    place = torch.randint(16, (2,), generator=generator).tolist()
    top, left = (min(pixels, side - 1) for pixels, side in zip(place, image.shape[-2:], strict=True))
    padded = F.pad(image[None], (left, 0, top, 0), mode="reflect")[0]
    return compress(padded, quality, subsampling)[:, top:, left:]


def _resized(image: Tensor, size: tuple[int, int], generator: Generator) -> Tensor:
    """(3, h, w) in another size by a filter drawn at random. The borders stay where they are: nothing shifts."""
    mode = _RESIZED[int(torch.randint(len(_RESIZED), (), generator=generator))]
    if mode == "area" and size[0] <= image.shape[-2]:
        rows, columns = (_area(old, new) for old, new in zip(image.shape[-2:], size, strict=True))
        return rows.to(image) @ image @ columns.to(image).T
    mode = "bilinear" if mode == "area" else mode  # as OpenCV does: areas of parts of a pixel would repeat pixels
    return F.interpolate(image[None], size, mode=mode, antialias=True, align_corners=False)[0].clamp(0, 1)


def _area(old: int, new: int) -> Tensor:
    """(new, old): means over the old pixels that each new one covers, parts of pixels counted as parts."""
    start = torch.arange(new)[:, None] * (old / new)
    covered = torch.arange(1, old + 1).minimum(start + old / new) - torch.arange(old).maximum(start)
    return covered.clamp(min=0) * (new / old)
