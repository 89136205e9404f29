"""The kernel of a photo whose parts are not all in focus: estimated tile by tile, taken from the sharpest.

What lies nearer or farther than the lens was set to, or moved, tells how the scene was, not the camera.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

import torch
from torch import Tensor

from otsr.degradation import doubts, kernels
from otsr.degradation.spectrum import SMALLEST, NoTextureError, estimate_blur, kernel_of

TILE, ROWS = 192, 5  # side in LR pixels; so many tiles along either side at most
SHARPEST = (
    0.1,
    0.4,
)  # quantiles between which tiles count: the very sharpest may be luck, the rest out of focus


@dataclass(frozen=True)
class Focus:
    """What the tiles of a photo say.

    Attributes:
        kernel: (k, k), mean of the tiles in focus.
        sigma: `Blur.sigma` of these tiles, their geometric mean.
        deviation: standard error of log(variance) of one tile, the mean of the tiles in focus.
        tiles: `Blur.sigma` of every tile with texture, ascending.
        doubts: reasons to doubt the kernel, in words; see `doubts`.
    """

    kernel: Tensor
    sigma: float
    deviation: float
    tiles: tuple[float, ...]
    doubts: tuple[str, ...]


def photo_kernel(lr: Tensor, scale: int) -> Focus:
    """The kernel of the tiles of a photo that are in focus.

    Tiles of 192 pixels are laid evenly over the photo, 25 at most; those without texture are left out. Of the half with
    the smaller standard errors, sorted by blur, the ones from the first tenth to 0.4 give their mean.

    Args:
        lr: (3, H, W) in [0, 1].
        scale: 2 or 4.

    Raises:
        NoTextureError: no tile has texture.
        ValueError: the photo has less than 64 pixels a side.
    """
    height, width = lr.shape[1:]
    if min(height, width) < SMALLEST:
        raise ValueError(
            f"{height} × {width} pixels; estimating a kernel takes at least {SMALLEST} × {SMALLEST}"
        )
    blurs, reason = [], None
    for top in _starts(height):
        for left in _starts(width):
            try:
                blurs.append(estimate_blur(lr[:, top : top + TILE, left : left + TILE], scale))
            except NoTextureError as error:
                reason = error
    if reason is not None and not blurs:
        raise reason
    blurs.sort(key=lambda blur: blur.sigma)
    sure = statistics.median_high(blur.deviation[0] for blur in blurs)
    known = [blur for blur in blurs if blur.deviation[0] <= sure]
    first = int(SHARPEST[0] * len(known))
    sharp = known[first : max(first + 1, math.ceil(SHARPEST[1] * len(known)))]
    kernel = kernels.average([kernel_of(blur, scale) for blur in sharp])
    sigma = math.exp(sum(math.log(blur.sigma) for blur in sharp) / len(sharp))
    deviation = sum(blur.deviation[0] for blur in sharp) / len(sharp)
    tiles = tuple(blur.sigma for blur in blurs)
    words = doubts.of_photo(lr, sharp, kernel, scale) + doubts.of_tiles(blurs)
    return Focus(kernel, sigma, deviation, tiles, tuple(words))


def _starts(length: int) -> list[int]:
    """First pixels of tiles along a side: as many as cover it, evenly spaced."""
    count = min(ROWS, max(1, math.ceil(length / TILE)))
    return torch.linspace(0, max(0, length - TILE), count).round().int().tolist()
