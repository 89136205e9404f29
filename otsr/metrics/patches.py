"""A distance between what two pictures are made of, not between pictures: sliced Wasserstein of patches."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from otsr.images import as_batch
from otsr.metrics.inputs import cut_border, like_input
from otsr.transport.sliced import unit_directions, wasserstein_1d

_PATCH = 7  # pixels a side
_AT_ONCE = 16  # projections held in memory together


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
    directions = _directions(projections)
    values = []
    for x, y in zip(first, second, strict=True):
        parts = directions.split(_AT_ONCE)
        squares = [wasserstein_1d(_projected(x, part), _projected(y, part), p=2) for part in parts]
        values.append(torch.cat(squares).mean().sqrt())
    return like_input(torch.stack(values), sr)


def _directions(projections: int) -> Tensor:
    """(projections, 3, 7, 7), uniform on the unit sphere."""
    directions = unit_directions(projections, 3 * _PATCH**2, torch.Generator().manual_seed(0))
    return directions.unflatten(1, (3, _PATCH, _PATCH))


def _projected(image: Tensor, directions: Tensor) -> Tensor:
    """(projections, patches): ⟨θ, p⟩ of every patch. A projection of all patches is a convolution."""
    return F.conv2d(image[None], directions.to(image))[0].flatten(1)
