"""Cut a picture into overlapping windows of equal size, of which only the middles are kept, and put these together.

    kept        |------a------|------b------|------c------|
    window a    |================|
    window b               |================|
    window c                            |=================|

All windows have one size, so that kernels prepared for a shape are used again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from otsr.images.resampling import resize_strips

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


class Span(NamedTuple):
    """Along one axis: the pixels that are seen, start ≤ i < stop, and those that are kept."""

    start: int
    stop: int
    keep_start: int
    keep_stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start

    def kept(self, scale: int = 1) -> slice:
        """The kept part, counted from the start of the window, in pixels of a picture `scale` times as large."""
        return slice((self.keep_start - self.start) * scale, (self.keep_stop - self.start) * scale)


class Tile(NamedTuple):
    """A window of a picture."""

    rows: Span
    columns: Span

    @property
    def pixels(self) -> int:
        return self.rows.size * self.columns.size


def spans(length: int, tile: int, overlap: int, alignment: int = 1) -> list[Span]:
    """Cut `length` pixels into the fewest windows of one size, about tile + 2·overlap at most.

    Every kept pixel is at least `overlap` away from the ends of its window, unless the picture ends there. Windows
    start at multiples of `alignment` (the last one may then be up to alignment − 1 longer).
    """
    count = max(1, math.ceil((length - 2 * overlap) / tile))
    window = math.ceil((length + 2 * overlap * (count - 1)) / count) + alignment - 1
    if count == 1 or window >= length:
        return [Span(0, length, 0, length)]
    step = (length - window) / (count - 1)
    starts = [round(i * step) // alignment * alignment for i in range(count)]
    stops = [*(start + window for start in starts[:-1]), length]
    cuts = [0, *((stop + start) // 2 for stop, start in zip(stops[:-1], starts[1:], strict=True)), length]
    return [Span(*ends) for ends in zip(starts, stops, cuts[:-1], cuts[1:], strict=True)]


def tiles(height: int, width: int, tile: int, overlap: int, alignment: int = 1, margin: int = 0) -> list[Tile]:
    """Windows over a picture, row by row; see `spans`. `margin` pixels around it are seen too, and not kept."""

    def along(length: int) -> list[Span]:
        cut = spans(length + 2 * margin, tile, overlap, alignment)
        moved = [[end - margin for end in span] for span in cut]
        return [Span(start, stop, max(first, 0), min(last, length)) for start, stop, first, last in moved]

    return [Tile(row, column) for row in along(height) for column in along(width)]


def piecewise(function: Callable[[Tensor], Tensor], x: Tensor, out: Tensor, block: int, halo: int) -> Tensor:
    """Fill `out`, (B, D, s·h, s·w), with function(x) of x, (B, C, h, w), part by part, with the same result as at once.

    A part has `block` pixels of x a side; an output pixel sees `halo` of them around its own. On meta tensors, which
    only tell how much memory it takes, the largest part stands for all.
    """
    scale = out.shape[-1] // x.shape[-1]
    parts = tiles(x.shape[-2], x.shape[-1], block, halo)
    if x.is_meta:
        parts = [max(parts, key=lambda part: part.pixels)]
    for rows, columns in parts:
        part = function(x[..., rows.start : rows.stop, columns.start : columns.stop])
        down, right = (slice(span.keep_start * scale, span.keep_stop * scale) for span in (rows, columns))
        out[..., down, right] = part[..., rows.kept(scale), columns.kept(scale)]
        del part  # before the next is made
    return out


def look(array: np.ndarray, tile: Tile, wrap: bool = False) -> np.ndarray:
    """A copy of what a window sees of (H, W) or (H, W, C): beyond borders the mirrored picture, or its other end."""

    def inside(span: Span, size: int) -> np.ndarray:
        places = np.arange(span.start, span.stop) % (size if wrap else 2 * size)
        return np.minimum(places, 2 * size - 1 - places)

    return array[inside(tile.rows, array.shape[0])[:, None], inside(tile.columns, array.shape[1])]


def spread_colours(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """(H, W, 3) whose hidden pixels (`alpha`, (H, W), below 1/255) have the colour of the nearest visible one."""
    hidden = alpha < np.iinfo(alpha.dtype).max / 255  # less than 1 of 255
    if not hidden.any() or hidden.all():
        return pixels
    from scipy.ndimage import distance_transform_edt  # takes a third of a second, and few pictures need it

    rows, columns = distance_transform_edt(hidden, return_distances=False, return_indices=True)
    return pixels[rows, columns]


class Canvas:
    """A large picture that is filled part by part, and shrunk in strips: never held in floating point.

    It has 8 bits (`content` is a PIL image) or, if `deep`, 16 (an array (height, width, channels) uint16, as PIL has no
    such colour), and is black at first. Of 2 and 4 channels the last is transparency.
    """

    def __init__(self, width: int, height: int, channels: int, deep: bool = False) -> None:
        self.size, self.mode, self.deep = (width, height), _MODES[channels], deep
        self.content: Image.Image | np.ndarray = (
            np.zeros((height, width, channels), np.uint16) if deep else Image.new(self.mode, (0, 0))
        )

    def put(self, part: np.ndarray, left: int, top: int) -> None:
        """Fill in a part, (h, w, channels) uint8 or, of a deep picture, uint16."""
        if isinstance(self.content, np.ndarray):
            self.content[top : top + part.shape[0], left : left + part.shape[1]] = part
            return
        piece = Image.fromarray(part[..., 0] if self.mode == "L" else part)
        if piece.size == self.size:  # no copy
            self.content = piece
            return
        if self.content.size != self.size:
            self.content = Image.new(self.mode, self.size)
        self.content.paste(piece, (left, top))

    def rows(self, low: int, high: int) -> Tensor:
        """(channels, high − low, width) in [0, 1]."""
        if isinstance(self.content, Image.Image):
            strip = np.array(self.content.crop((0, low, self.size[0], high)))
        else:
            strip = self.content[low:high].astype(np.int32)
        values = torch.from_numpy(strip if strip.ndim == 3 else strip[..., None])
        return values.permute(2, 0, 1).float().div(65535 if self.deep else 255)

    def resized(self, scale: float, width: int, height: int) -> Canvas:
        """By MATLAB's bicubic, as `otsr.images.resize` does at once."""
        result = Canvas(width, height, len(self.mode), self.deep)
        white, kind = (65535, np.uint16) if self.deep else (255, np.uint8)
        top = 0
        for strip in resize_strips(self.rows, self.size[::-1], scale, (height, width)):
            result.put(strip.clamp_(0, 1).mul_(white).round_().permute(1, 2, 0).numpy().astype(kind), 0, top)
            top += strip.shape[-2]
        return result
