"""What upscaling a picture will take, before it starts: windows, bytes, seconds, and the largest tile that fits."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from otsr import machine
from otsr.images import Picture
from otsr.inference.tiling import Tile, tiles

SMALLEST_TILE = 32
"""LR pixels a side; below it the overlap costs more memory than it saves."""

_MARGIN = 8  # LR pixels that are mirrored at the borders: the network's zero padding shows up to there
_BLOCK = 128  # LR pixels a side that leave feature space at one time; see `restoration.forward`
_CUDA_BLOCK = 1024  # the same on CUDA where memory allows: few large launches; tensors stay below 2³¹ numbers
_HEADROOM = {"cpu": 1.3, "cuda": 1.03}  # convolution workspace, over the tensors that are counted
_ALLOCATOR = {"cpu": 64 << 20, "cuda": 0}  # bytes that the C library's allocator keeps in holes
_SHARE = 0.9  # of the device's free memory that is planned with: it is never free in one piece


class Planner(ABC):
    """The part of `Upscaler` that looks ahead; the attributes are explained there."""

    device: torch.device
    dtype: torch.dtype
    scale: int
    alignment: int
    tile: int
    overlap: int
    tileable: bool
    _original: nn.Module

    def __init__(self) -> None:
        self._window_bytes: dict[tuple[int, int, int, torch.dtype], int] = {}

    @abstractmethod
    def _begin(self, picture: Picture, tile: Tile, block: int) -> Callable[[], np.ndarray]:
        """Start with one window; the function that is returned waits for its pixels."""

    @abstractmethod
    def _restore(self, network: nn.Module, lr: Tensor, block: int) -> Tensor:
        """(1, 3, s·h, s·w), of (1, 3, h, w)."""

    def tiles(self, width: int, height: int, tile: int | None = None) -> list[Tile]:
        """The windows that a width × height picture is cut into; they reach beyond its borders."""
        margin = (
            -(-max(_MARGIN, self.overlap) // self.alignment) * self.alignment if self.tileable else _MARGIN
        )
        return tiles(height, width, tile or self.tile, self.overlap, self.alignment, margin)

    def predict_memory(self, width: int, height: int, tile: int | None = None) -> int:
        """Bytes of main memory that upscaling a width × height picture takes, beside what the process holds now.

        The decoded picture (3 bytes a pixel), the output (4 bytes a pixel: PIL stores RGB so), and on the CPU or
        Apple's GPU, which share memory, the tensors of one window, workspace and allocator. On CUDA the window lies in
        the device's memory, and here only its 8-bit pixels and those of the next one, in pinned memory whose pieces
        are powers of two.
        """
        whole = width * height * (3 + 4 * self.scale**2)
        if self.device.type != "cuda":
            return whole + self.predict_window_memory(width, height, tile)
        rows, columns = self._window_shape(width, height, tile)
        return whole + 4 * 3 * rows * columns * self.scale**2

    def predict_window_memory(
        self, width: int, height: int, tile: int | None = None, block: int | None = None
    ) -> int:
        """Bytes on the device that the largest window of a width × height picture takes, beside the network."""
        shape = self._window_shape(width, height, tile)
        key = (*shape, block or _BLOCK, self.dtype)
        if key not in self._window_bytes:
            network = machine.place(self._original, self.device, self.dtype, on=torch.device("meta"))
            window = torch.empty(1, 3, *shape, device="meta")
            with torch.no_grad():
                peak = machine.live_peak(lambda: self._restore(network, window.clone(), block or _BLOCK))
            kind = "cuda" if self.device.type == "cuda" else "cpu"
            self._window_bytes[key] = int(_HEADROOM[kind] * peak) + _ALLOCATOR[kind]
        return self._window_bytes[key]

    def _largest_block(self) -> int:
        return _CUDA_BLOCK if self.device.type == "cuda" else _BLOCK

    def _window_shape(self, width: int, height: int, tile: int | None) -> tuple[int, int]:
        """Rows and columns of the largest window."""
        last = self.tiles(width, height, tile)[-1]
        return last.rows.size, last.columns.size

    def predict_seconds(self, width: int, height: int, sample: int | None = None) -> float:
        """Seconds to expect for a width × height picture, from one measured window of `sample` pixels a side.

        None takes 64, and 512 on CUDA, which smaller windows do not fill.
        """
        sample = sample or (512 if self.device.type == "cuda" else 64)
        pixels = np.random.default_rng(0).integers(0, 256, (sample, sample, 3), dtype=np.uint8)
        window = tiles(sample, sample, sample, 0)[0]
        seconds = []
        for _ in range(3):  # the first run prepares kernels
            start = time.perf_counter()
            self._begin(Picture(pixels), window, self._largest_block())()
            seconds.append(time.perf_counter() - start)
        seen = sum(tile.rows.size * tile.columns.size for tile in self.tiles(width, height))
        return min(seconds) * seen / sample**2

    def plan(self, width: int, height: int, beside: int = 0) -> tuple[int, int]:
        """The tile and the block for a width × height picture, in LR pixels a side: the largest that fit now.

        The tile is the one asked for, or half of it, or a quarter …, whichever fits into free memory first.

        Args:
            beside: bytes of main memory that are needed beside `predict_memory`.

        Raises:
            MemoryError: not even the smallest tile fits; the message has the numbers.
        """
        free, on_device = machine.available_memory(), machine.free_on(self.device)
        for tile in _halves(self.tile, SMALLEST_TILE):
            needed = self.predict_memory(width, height, tile) + beside
            fits = free is None or needed <= free
            for block in _halves(self._largest_block(), _BLOCK) if fits else ():
                window = self.predict_window_memory(width, height, tile, block)
                if on_device is None or window <= _SHARE * on_device:
                    return tile, block
        size = f"{width}×{height} becomes {width * self.scale}×{height * self.scale}"
        if fits:
            raise MemoryError(f"{size}: {self.device} has too little free memory; use --device cpu")
        raise MemoryError(
            f"{size} and needs {needed / 1e9:.2f} GB of memory, {(free or 0) / 1e9:.2f} GB are free; "
            "close other programs, or shrink the picture or cut it into parts first"
        )


def _halves(largest: int, smallest: int) -> Iterator[int]:
    """largest, half of it, a quarter … down to `smallest`: the sizes to try when memory is short."""
    while largest >= smallest:
        yield largest
        largest //= 2
