"""The kernel of a photo whose parts are not all in focus: estimated tile by tile, taken from the sharpest.

What lies nearer or farther than the lens was set to, or moved, tells how the scene was, not the camera.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from otsr.degradation import kernels
from otsr.degradation.estimation import gaussian_of
from otsr.degradation.spectrum import NoTextureError, estimate_blur

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
        sigma: √ of the kernel's mean variance along its axes, in HR pixels, of every tile with texture, ascending.
    """

    kernel: Tensor
    sigma: tuple[float, ...]


def photo_kernel(lr: Tensor, scale: int) -> Focus:
    """The kernel of the tiles of a photo that are in focus.

    Tiles of 192 pixels are laid evenly over the photo, 25 at most; those without texture are left out. Of the rest,
    sorted by blur, the ones from the first tenth to 0.4 give their mean.

    Args:
        lr: (3, H, W) in [0, 1].
        scale: 2 or 4.

    Raises:
        NoTextureError: no tile has texture.
        ValueError: the photo has less than 64 pixels a side.
    """
    found = []
    tops, lefts = (_starts(side) for side in lr.shape[1:])
    reason: NoTextureError | None = None
    for top in tops:
        for left in lefts:
            try:
                blur = estimate_blur(lr[:, top : top + TILE, left : left + TILE], scale)
            except NoTextureError as error:
                reason = error
                continue
            found.append((float(blur.covariance.det()) ** 0.25, gaussian_of(blur.covariance, scale)))
    if reason is not None and not found:
        raise reason
    found.sort(key=lambda tile: tile[0])
    first = int(SHARPEST[0] * len(found))
    sharp = found[first : max(first + 1, math.ceil(SHARPEST[1] * len(found)))]
    return Focus(kernels.average([kernel for _, kernel in sharp]), tuple(sigma for sigma, _ in found))


def _starts(length: int) -> list[int]:
    """First pixels of tiles along a side: as many as cover it, evenly spaced."""
    count = min(ROWS, max(1, math.ceil(length / TILE)))
    return torch.linspace(0, max(0, length - TILE), count).round().int().tolist()
