"""One window through one network, on any device: orientations, the memory of the large layers, back-projection."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from otsr.resampling import resize
from otsr.tiling import tiles

_BLOCK_HALO = 2  # LR pixels around a block that the reconstruction layers see


def restore(
    network: nn.Module,
    lr: Tensor,
    block: int,
    dtype: torch.dtype,
    layout: torch.memory_format,
    *,
    ensemble: bool = False,
) -> Tensor:
    """(1, 3, s·h, s·w) float32 in [0, 1], of (1, 3, h, w): the network's answer, clipped.

    Args:
        block: see `forward`.
        dtype: of the network's reconstruction layers.
        layout: memory format that the network's convolutions are fast in.
        ensemble: average over the 8 flips and rotations.
    """

    def once(window: Tensor) -> Tensor:
        return forward(network, window.contiguous(memory_format=layout), block, dtype, layout)

    if ensemble:
        scale = int(network.scale)  # type: ignore[arg-type]
        sr = torch.zeros(1, 3, *(n * scale for n in lr.shape[-2:]), device=lr.device)
        for turns in range(4):
            turned = torch.rot90(lr, turns, (-2, -1))
            sr += torch.rot90(once(turned), -turns, (-2, -1))
            sr += torch.rot90(once(turned.flip(-1)).flip(-1), -turns, (-2, -1))
        sr /= 8
    else:
        sr = once(lr)
    return sr.masked_fill_(sr.isinf(), torch.nan).clamp_(0, 1)  # infinity must not pass for white


def forward(network: Any, lr: Tensor, block: int, dtype: torch.dtype, layout: torch.memory_format) -> Tensor:
    """float32 answer of the network.

    Nine tenths of the memory go to the few layers at HR size, nearly all context to the many at LR size. A
    network that names both parts, `features` and `reconstruct`, runs the first on the whole window and the
    second in blocks of `block` LR pixels a side, with the same result.
    """
    if not hasattr(network, "features"):
        return network(lr).float()
    features = network.features(lr)
    height, width = lr.shape[-2:]
    scale = network.scale
    sr = torch.empty(1, 3, height * scale, width * scale, device=lr.device)
    for part in tiles(height, width, block, _BLOCK_HALO):
        seen = features[..., part.rows.seen, part.columns.seen]
        large = network.reconstruct(seen.to(dtype).contiguous(memory_format=layout))
        rows, columns = (
            slice(span.keep_start * scale, span.keep_stop * scale) for span in (part.rows, part.columns)
        )
        sr[..., rows, columns] = large[..., part.rows.kept(scale), part.columns.kept(scale)]
    return sr


def back_project(sr: Tensor, lr: Tensor, steps: int) -> Tensor:
    """Pull an SR picture towards one that shrinks to the LR picture.

    Repeats sr ← clip(sr + up(lr − down(sr)), 0, 1) with MATLAB's bicubic `up` and `down`. Clipping inside the loop
    keeps each step's answer a picture.

    Args:
        sr: (B, 3, s·h, s·w) in [0, 1]; not changed.
        lr: (B, 3, h, w) in [0, 1].
        steps: how often; 0 returns sr.

    Reference: Irani & Peleg, CVGIP 1991, doi 10.1016/1049-9652(91)90045-L.
    """
    scale = sr.shape[-1] // lr.shape[-1]
    for _ in range(steps):
        sr = (sr + resize(lr - resize(sr, 1 / scale), scale)).clamp_(0, 1)
    return sr
