"""What ties the result to the LR picture: back-projection, and its colours."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from otsr.images import resize

GREY = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in luminance (BT.601)."""

_FADE = 4.0  # σ of the low-pass of `keep_colours`, LR pixels
_NEAR = 5  # LR pixels a side of the neighbourhood whose colours may be seen
_SLACK = 2.0  # times the range of colours in it
_LEAST_SHARE = 0.1  # of an area that takes a correction which the rest of it has no room for


def back_project(sr: Tensor, lr: Tensor, steps: int) -> Tensor:
    """Pull an SR picture towards one that shrinks to the LR picture.

    Repeats sr ← clip(sr + up(lr − down(sr)), 0, 1), `steps` times, with MATLAB's bicubic `up` and `down`. Clipping
    inside the loop keeps each step's answer a picture.

    Args:
        sr: (B, 3, s·h, s·w) in [0, 1]; not changed.
        lr: (B, 3, h, w) in [0, 1].

    Reference: Irani & Peleg, CVGIP 1991, doi 10.1016/1049-9652(91)90045-L.
    """
    scale = sr.shape[-1] // lr.shape[-1]
    for _ in range(steps):
        sr = (sr + resize(lr - resize(sr, 1 / scale), scale)).clamp_(0, 1)
    return sr


def keep_colours(sr: Tensor, lr: Tensor) -> Tensor:
    """Give an SR picture the colours of the LR picture: areas their mean, and no place a colour that LR lacks near it.

    First, the chroma (colour minus luminance) of each pixel is limited to the range that it has in 5×5 LR pixels,
    widened twofold: what is neutral in LR stays neutral. Then twice sr ← clip(sr + up(e / share)) with
    e = lowpass(lr − down(sr)), a Gaussian of σ = 4 LR pixels: too wide to bring LR's noise back. `share` is the part
    of e that the surroundings have room for: next to white paper the ink takes all of it.

    Args:
        sr: (1, 3, s·h, s·w) in [0, 1]; it is overwritten.
        lr: (1, 3, h, w) in [0, 1].
    """
    scale = sr.shape[-1] // lr.shape[-1]

    def up(image: Tensor) -> Tensor:
        return functional.interpolate(image, scale_factor=scale, mode="bilinear")

    _near_colours(sr, lr, up)
    for _ in range(2):
        missing = _low_pass(lr - functional.avg_pool2d(sr, scale))
        moved = up(missing).add_(sr).clamp_(0, 1).sub_(sr).abs_()
        share = _low_pass(functional.avg_pool2d(moved, scale)) / _low_pass(missing.abs() + 1e-6)
        del moved  # as large as sr
        sr.add_(up(missing / share.clamp_(_LEAST_SHARE, 1))).clamp_(0, 1)
    return sr


def _near_colours(sr: Tensor, lr: Tensor, up: Callable[[Tensor], Tensor]) -> None:
    """Keep luminance, and limit chroma to what LR has nearby, in place; see `keep_colours`."""
    weights = lr.new_tensor(GREY).view(1, 3, 1, 1)
    chroma = torch.round((lr - functional.conv2d(lr, weights)) * 65536) / 65536  # neutral: 0 to the last bit
    highest = functional.max_pool2d(chroma, _NEAR, 1, _NEAR // 2)
    lowest = -functional.max_pool2d(-chroma, _NEAR, 1, _NEAR // 2)
    middle, reach = (highest + lowest) / 2, (highest - lowest) * (_SLACK / 2)
    luminance = functional.conv2d(sr, weights)
    sr.sub_(luminance).clamp_(max=up(middle + reach)).clamp_(min=up(middle - reach))
    sr.add_(luminance.sub_(functional.conv2d(sr, weights))).clamp_(0, 1)


def _low_pass(image: Tensor) -> Tensor:
    radius = int(3 * _FADE)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=image.device) / _FADE) ** 2)
    taps = (taps / taps.sum()).expand(3, 1, -1)
    image = functional.pad(image, (radius,) * 4, mode="replicate")
    image = functional.conv2d(image, taps[:, :, None], groups=3)
    return functional.conv2d(image, taps[..., None], groups=3)
