"""Metrics that compare with the truth: PSNR, SSIM, ST-LPIPS, patch-SWD; and with the input: LR consistency."""

import math
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from otsr.images import as_batch, luma, resize
from otsr.metrics.inputs import as_float64, as_pair, as_scaled, cut_border, like_input
from otsr.networks.features import AlexFeatures, ShiftTolerantLPIPS
from otsr.transport.sliced import unit_directions, wasserstein_1d

Channel = Literal["rgb", "y"]
_PATCH = 7  # pixels a side
_AT_ONCE = 16  # projections held in memory together


def psnr(sr: Tensor, hr: Tensor, border: int = 4, channel: Channel = "rgb") -> Tensor:
    """Peak signal-to-noise ratio in dB: -10 log10 of the mean of (sr - hr)², the peak being 1; ∞ for equal pictures.

    Args:
        sr, hr: (3, H, W) or (B, 3, H, W) in [0, 1].
        border: pixels left out on each side; papers leave out as many as the scale, 4 for ×4.
        channel: "rgb", the mean over the three channels, or "y", MATLAB's BT.601 luma
            (see `otsr.images.luma`). Y spans 219 of 255 levels, so a grey error gives 1.32 dB more on Y, and
            colour noise gives several dB more: never compare one with the other.
    """
    first, second = (cut_border(batch, border, 1, "PSNR") for batch in _channels(sr, hr, channel))
    error = (first - second).square().mean(dim=(1, 2, 3))
    return like_input(-10 * error.log10(), sr)


def ssim(sr: Tensor, hr: Tensor, border: int = 4, channel: Channel = "rgb") -> Tensor:
    """Structural similarity: Gaussian window 11×11, σ = 1.5, K1 = 0.01, K2 = 0.03, data range 1.

    SSIM(x, y) = (2 μ_x μ_y + K1²)(2 σ_xy + K2²) / ((μ_x² + μ_y² + K1²)(σ_x² + σ_y² + K2²)) in each window that
    lies inside the picture, averaged over windows and channels. 1 for equal pictures.

    It is computed in float64: in float32, E[x²] - μ² loses so many digits in flat areas that two equal pictures
    can score 0.9987, as torchmetrics' do.

    Args:
        sr, hr, border, channel: as in `psnr`; 11 pixels a side or more inside the border.

    Reference: Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 2004, doi 10.1109/TIP.2003.819861.
    """
    x, y = (as_float64(cut_border(batch, border, 11, "SSIM")) for batch in _channels(sr, hr, channel))
    mean_x, mean_y = _windows(x), _windows(y)
    product, squares = mean_x * mean_y, mean_x.square() + mean_y.square()
    covariance = _windows(x * y) - product
    variances = _windows(x.square() + y.square()) - squares
    similarity = (2 * product + 0.01**2) * (2 * covariance + 0.03**2)
    similarity = similarity / ((squares + 0.01**2) * (variances + 0.03**2))
    return like_input(similarity.mean(dim=(1, 2, 3)).to(sr.device, torch.float32), sr)


def st_lpips(sr: Tensor, hr: Tensor) -> Tensor:
    """Perceptual distance that tolerates shifts of a pixel or two: ST-LPIPS with AlexNet, lower is better.

    The whole picture is compared, no border is left out. The value has gradients where sr or hr has; as a loss
    in training take `otsr.networks.features.ShiftTolerantLPIPS.pretrained()`, which does not refuse overshoots.
    Needs about 0.6 GB of memory a megapixel. Not comparable with values of the original LPIPS.

    Args:
        sr, hr: (3, H, W) or (B, 3, H, W) in [0, 1], sides of 21 pixels or more.

    Reference: Ghildyal, Liu, ECCV 2022, arXiv 2207.13686. The weights are theirs, with kernels rounded to
    fp16, which changes a distance by less than 0.1 %.
    """
    first, second = (cut_border(x.float(), 0, AlexFeatures.smallest, "ST-LPIPS") for x in as_pair(sr, hr))
    return like_input(_perceptual_network(first.device)(first, second), sr)


@torch.no_grad()
def patch_swd(sr: Tensor, hr: Tensor, projections: int = 128) -> Tensor:
    """Sliced Wasserstein-2 distance between the patches of two pictures; they need not show the same scene.

    SW2 = √( mean_θ W2²(⟨θ, P⟩, ⟨θ, Q⟩) ), in units of a pixel's value, with P and Q all overlapping RGB patches of
    7×7 pixels (147 values in [0, 1], not centred), and θ random directions of length 1. W2 in one dimension couples
    equal quantiles and is exact for unequal numbers of patches. 0 when both have the same patches, wherever they are;
    a blurred picture is far because its patches lack contrast, and so is one with noise.

    Args:
        sr: (3, H, W) or (B, 3, H, W) in [0, 1].
        hr: the same number of pictures, of any size.
        projections: number of directions; always the same ones, on every device.

    Reference: Rabin, Peyré, Delon, Bernot, SSVM 2011, doi 10.1007/978-3-642-24785-9_37. Equals
    `ot.sliced_wasserstein_distance(..., p=2)` for equal directions.
    """
    batches = (as_batch(sr, "sr"), as_batch(hr, "hr"))
    first, second = (cut_border(x.float(), 0, _PATCH, "patch-SWD") for x in batches)
    if sr.dim() != hr.dim() or len(first) != len(second):
        raise ValueError(f"sr has shape {tuple(sr.shape)}, hr {tuple(hr.shape)}; give as many in both")
    directions = unit_directions(projections, 3 * _PATCH**2, torch.Generator().manual_seed(0))
    parts = directions.unflatten(1, (3, _PATCH, _PATCH)).split(_AT_ONCE)
    values = []
    for x, y in zip(first, second, strict=True):
        squares = [wasserstein_1d(_projected(x, part), _projected(y, part), p=2) for part in parts]
        values.append(torch.cat(squares).mean().sqrt())
    return like_input(torch.stack(values), sr)


def lr_consistency(sr: Tensor, lr: Tensor, scale: int, border: int = 0) -> Tensor:
    """PSNR, in dB on RGB, between the LR picture and the SR picture made small again by MATLAB's bicubic.

    It needs no truth: an SR picture that does not shrink to its LR picture has invented or lost something. The small
    picture is clamped to [0, 1] as a camera does, and not rounded.

    Args:
        sr: (3, s·h, s·w) or (B, 3, s·h, s·w) in [0, 1].
        lr: (3, h, w) or (B, 3, h, w) in [0, 1].
        scale: s, a whole number.
        border: LR pixels left out on each side.
    """
    large, small, _ = as_scaled(sr, lr, scale)
    shrunk = resize(large, 1 / scale, (small.shape[-2], small.shape[-1])).clamp(0, 1)
    return like_input(psnr(shrunk, small.to(shrunk.dtype), border), sr)


def _channels(sr: Tensor, hr: Tensor, channel: Channel) -> tuple[Tensor, Tensor]:
    first, second = as_pair(sr, hr)
    if channel == "rgb":
        return first, second
    if channel == "y":
        return luma(first), luma(second)
    raise ValueError(f"channel is {channel!r}, expected 'rgb' or 'y'")


def _windows(x: Tensor) -> Tensor:
    """Mean of x under a Gaussian window 11×11 of σ 1.5, at each place where the window fits."""
    taps = [math.exp(-(offset**2) / (2 * 1.5**2)) for offset in range(-5, 6)]
    for axis in (-2, -1):
        length = x.shape[axis] - 10
        total = torch.zeros_like(x.narrow(axis, 0, length))
        for offset, tap in enumerate(taps):  # shifted sums: nine times as fast as a convolution in float64
            total += (tap / sum(taps)) * x.narrow(axis, offset, length)
        x = total
    return x


@lru_cache(maxsize=2)
def _perceptual_network(device: torch.device) -> ShiftTolerantLPIPS:
    with torch.inference_mode(False):  # the network outlives the caller's mode
        return ShiftTolerantLPIPS.pretrained().to(device)


def _projected(image: Tensor, directions: Tensor) -> Tensor:
    """(k, patches) along directions (k, 3, 7, 7): ⟨θ, p⟩ of every patch. A projection of all is a convolution."""
    return F.conv2d(image[None], directions.to(image))[0].flatten(1)
