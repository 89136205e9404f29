"""Cut a picture into overlapping windows of equal size, of which only the middles are kept.

    kept        |------a------|------b------|------c------|
    window a    |================|
    window b               |================|
    window c                            |=================|

All windows have one size, so that kernels prepared for a shape are used again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt


@dataclass(frozen=True)
class Span:
    """Along one axis: the pixels that are seen, start ≤ i < stop, and those that are kept."""

    start: int
    stop: int
    keep_start: int
    keep_stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start

    @property
    def seen(self) -> slice:
        return slice(self.start, self.stop)

    def kept(self, scale: int = 1) -> slice:
        """The kept part, counted from the start of the window, in pixels of a picture `scale` times as large."""
        return slice((self.keep_start - self.start) * scale, (self.keep_stop - self.start) * scale)


@dataclass(frozen=True)
class Tile:
    """A window of a picture."""

    rows: Span
    columns: Span


def spans(length: int, tile: int, overlap: int, alignment: int = 1) -> list[Span]:
    """Cut `length` pixels into the fewest windows of one size, about tile + 2·overlap at most.

    Every kept pixel is at least `overlap` away from the ends of its window, unless the picture ends there.

    Args:
        alignment: windows start at multiples of it (the last one may then be up to alignment − 1 longer).
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


def tiles(
    height: int, width: int, tile: int, overlap: int, alignment: int = 1, margin: int = 0
) -> list[Tile]:
    """Windows over a picture, row by row; see `spans`.

    Args:
        margin: pixels around the picture that are seen too, and not kept; `look` makes them up.
    """

    def along(length: int) -> list[Span]:
        cut = spans(length + 2 * margin, tile, overlap, alignment)
        ends = [(span.start, span.stop, max(span.keep_start, margin), span.keep_stop) for span in cut]
        return [Span(a - margin, b - margin, c - margin, min(d - margin, length)) for a, b, c, d in ends]

    rows, columns = along(height), along(width)
    return [Tile(row, column) for row in rows for column in columns]


def look(array: np.ndarray, tile: Tile, wrap: bool = False) -> np.ndarray:
    """A copy of what a window sees of (H, W) or (H, W, C): beyond borders the mirrored picture, or its other end."""

    def inside(span: Span, size: int) -> np.ndarray:
        places = np.arange(span.start, span.stop) % (size if wrap else 2 * size)
        return np.minimum(places, 2 * size - 1 - places)

    return array[inside(tile.rows, array.shape[0])[:, None], inside(tile.columns, array.shape[1])]


def spread_colours(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """(H, W, 3) whose fully transparent pixels have the colour of the nearest visible one.

    Args:
        alpha: (H, W); 0 is transparent. Where nothing is visible, the pixels stay as they are.
    """
    hidden = alpha < np.iinfo(alpha.dtype).max / 255  # less than 1 of 255
    if not hidden.any() or hidden.all():
        return pixels
    rows, columns = distance_transform_edt(hidden, return_distances=False, return_indices=True)
    return pixels[rows, columns]
