"""What ties the result to the LR picture: back-projection, and its colours."""

import torch
from torch import Tensor
from torch.nn import functional

from otsr.images import resize
from otsr.inference.tiling import Span, spans

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


def keep_colours(sr: Tensor, lr: Tensor, strip: int | None = None) -> Tensor:
    """Give an SR picture the colours of the LR picture: areas their mean, and no place a colour that LR lacks near it.

    First, the chroma (colour minus luminance) of each pixel is limited to the range that it has in 5×5 LR pixels,
    widened twofold: what is neutral in LR stays neutral. Then twice sr ← clip(sr + up(e / share)) with
    e = lowpass(lr − down(sr)), a Gaussian of σ = 4 LR pixels: too wide to bring LR's noise back. `share` is the part
    of e that the surroundings have room for: next to white paper the ink takes all of it.

    Args:
        sr: (1, 3, s·h, s·w) in [0, 1]; it is overwritten.
        lr: (1, 3, h, w) in [0, 1].
        strip: LR pixels that are enlarged at a time, with the same result; None for all of them.
    """
    scale, (height, width) = sr.shape[-1] // lr.shape[-1], lr.shape[-2:]
    strips = spans(height, max(1, (strip or height * width) // width), 1)
    if lr.is_meta:  # where only memory is counted, two stand for all
        strips = strips[:2]
    parts = [(sr[..., rows.keep_start * scale : rows.keep_stop * scale, :], rows) for rows in strips]
    small = torch.empty_like(lr)

    def up(image: Tensor, rows: Span) -> Tensor:
        seen = _stretched(image[..., rows.start : rows.stop, :], scale, -1)
        return _stretched(seen, scale, -2)[..., rows.kept(scale), :]

    def down(part: Tensor, image: Tensor, rows: Span) -> None:
        image[..., rows.keep_start : rows.keep_stop, :] = functional.avg_pool2d(part, scale)

    weights = lr.new_tensor(GREY).view(1, 3, 1, 1)
    lowest, highest = _chroma_nearby(lr, weights)
    for part, rows in parts:
        luminance = functional.conv2d(part, weights)
        part.sub_(luminance).clamp_(max=up(highest, rows)).clamp_(min=up(lowest, rows))
        part.add_(luminance.sub_(functional.conv2d(part, weights))).clamp_(0, 1)
        down(part, small, rows)
    for _ in range(2):
        missing, moved = _low_pass(lr - small), torch.empty_like(lr)
        for part, rows in parts:
            down(up(missing, rows).add_(part).clamp_(0, 1).sub_(part).abs_(), moved, rows)
        share = _low_pass(moved) / _low_pass(missing.abs() + 1e-6)
        missing /= share.clamp_(_LEAST_SHARE, 1)
        for part, rows in parts:
            down(part.add_(up(missing, rows)).clamp_(0, 1), small, rows)
    return sr


def _chroma_nearby(lr: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest and the highest chroma that SR may have, at LR size; see `keep_colours`."""
    chroma = torch.round((lr - functional.conv2d(lr, weights)) * 65536) / 65536  # neutral: 0 to the last bit
    highest = functional.max_pool2d(chroma, _NEAR, 1, _NEAR // 2)
    lowest = -functional.max_pool2d(-chroma, _NEAR, 1, _NEAR // 2)
    middle, reach = (highest + lowest) / 2, (highest - lowest) * (_SLACK / 2)
    return middle - reach, middle + reach


def _stretched(image: Tensor, scale: int, axis: int) -> Tensor:
    """(…, h, w), `scale` times as large along axis −1 or −2: as torch's bilinear, sooner on a CPU."""
    size = image.shape[axis]
    before = torch.cat([image.narrow(axis, 0, 1), image.narrow(axis, 0, size - 1)], axis)
    after = torch.cat([image.narrow(axis, 1, size - 1), image.narrow(axis, size - 1, 1)], axis)
    # Places of the new pixels, counted from the centre of the old one.
    places = [(k + 0.5) / scale - 0.5 for k in range(scale)]
    pixels = [torch.lerp(before, image, 1 + p) if p < 0 else torch.lerp(image, after, p) for p in places]
    return torch.stack(pixels, axis).flatten(axis - 1, axis)


def _low_pass(image: Tensor) -> Tensor:
    radius = int(3 * _FADE)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=image.device) / _FADE) ** 2)
    taps = (taps / taps.sum()).expand(3, 1, -1)
    image = functional.pad(image, (radius,) * 4, mode="replicate")
    image = functional.conv2d(image, taps[:, :, None], groups=3)
    return functional.conv2d(image, taps[..., None], groups=3)
