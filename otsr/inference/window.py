"""One window of a picture through one network, on any device: its pixels, and the memory and time that it takes."""

import itertools
import timeit
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from otsr import machine
from otsr.images import Picture, resize
from otsr.inference.restoration import GREY, back_project, keep_colours
from otsr.inference.tiling import Tile, look, piecewise, spread_colours, tiles
from otsr.networks.generators import DenseBlock, RRDBNet, leaky, prune

BLOCKS = (64,)
"""LR pixels a side that leave feature space at one time, see `Engine._answer`."""
CUDA_BLOCKS = (1024, 512, 256, 128)
"""The same on CUDA, the largest that memory allows: few large launches; tensors stay below 2³¹ numbers."""

DENSE = 160
"""LR pixels a side that a dense block of `RRDBNet` sees at one time, on a CPU; the result is the same."""
STRIP = 1 << 14
"""LR pixels whose colours are kept at one time, on a CPU: their SR pixels stay in the cache."""
_HALO = 2  # LR pixels around a block that the reconstruction layers see


class TooNarrow(Exception):
    """16 bits overflowed."""


@dataclass
class Engine:
    """A network on a device, in a precision, with the options of `Upscaler` that concern a window."""

    network: nn.Module
    device: torch.device
    dtype: torch.dtype
    ensemble: bool
    back_projection: int
    colours: bool
    tileable: bool
    _bytes: dict[tuple[int, int, int], int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.scale = int(self.network.scale)  # type: ignore[arg-type]
        self.alignment = int(getattr(self.network, "alignment", 1))
        on_cuda = self.device.type == "cuda"
        self.blocks = CUDA_BLOCKS if on_cuda else BLOCKS
        self.strip = None if on_cuda else STRIP
        self._placed = self._place(self.network)

    def _place(self, network: nn.Module, on: torch.device | None = None) -> nn.Module:
        """A copy as it computes here. On a CPU an `RRDBNet` does the same by less work, in parts that fit the cache."""
        placed = machine.place(network, self.device, self.dtype, on=on)
        if self.device.type == "cpu" and isinstance(placed, RRDBNet):
            for module in placed.modules():
                if isinstance(module, DenseBlock):
                    module.forward = partial(_in_parts, module.forward)  # type: ignore[method-assign]
            doubling = [_phases(convolution) for convolution in placed.enlarge]  # type: ignore[arg-type]
            placed._enlarge = partial(_enlarged, doubling)  # type: ignore[method-assign]
        return placed

    def begin(self, picture: Picture, tile: Tile, block: int, deep: bool = False) -> Callable[[], np.ndarray]:
        """Start with one window; the function that is returned waits for the kept part.

        That part is (h, w, channels) uint8, or uint16 where `deep`. What is not finite is reported only then, by
        `TooNarrow` in 16 bits and by ValueError in 32: asking at once would stop the device.
        """
        kept = (..., tile.rows.kept(self.scale), tile.columns.kept(self.scale))
        colours = look(picture.pixels, tile, self.tileable)
        alpha = None if picture.alpha is None else look(picture.alpha, tile, self.tileable)
        if alpha is not None:
            colours = spread_colours(colours, alpha)
        restored = self._restored(self._placed, _to_window(colours, self.device), block)
        finite = torch.isfinite(restored).all()
        planes = restored[0][kept]
        if picture.grey:
            planes = (planes * planes.new_tensor(GREY).view(3, 1, 1)).sum(0, keepdim=True)
        if alpha is not None:
            large = resize(_to_window(alpha, torch.device("cpu"))[0], self.scale)[kept]
            planes = torch.cat([planes, large.to(planes)])
        white, kind = (65535, torch.int32) if deep else (255, torch.uint8)
        pixels = planes.clamp_(0, 1).mul_(white).round_().to(kind).permute(1, 2, 0).contiguous()
        wait = machine.fetch(finite, pixels)

        def finish() -> np.ndarray:
            finite, pixels = wait()
            if not finite and self.dtype != torch.float32:
                raise TooNarrow
            if not finite:
                raise ValueError("the network answers NaN or infinity; its weights are damaged")
            return pixels.numpy().astype(np.uint16 if deep else np.uint8, copy=False)

        return finish

    @torch.no_grad()
    @machine.without_tf32()
    def _restored(self, network: nn.Module, lr: Tensor, block: int) -> Tensor:
        """(1, 3, s·h, s·w) float32 in [0, 1], or NaN, of (1, 3, h, w): the answer with all that was asked for."""
        height, width = (self.scale * side for side in lr.shape[-2:])
        if self.ensemble:
            below, beside = (-side % self.alignment for side in lr.shape[-2:])  # so that flips are aligned
            lr = functional.pad(lr, (0, beside, 0, below), mode="replicate")
            sr = torch.zeros(1, 3, *(self.scale * side for side in lr.shape[-2:]), device=lr.device)
            for turns in range(4):
                turned = torch.rot90(lr, turns, (-2, -1))
                sr += torch.rot90(self._answer(network, turned, block), -turns, (-2, -1))
                sr += torch.rot90(self._answer(network, turned.flip(-1), block).flip(-1), -turns, (-2, -1))
            sr /= 8
        else:
            sr = self._answer(network, lr, block)
        sr.masked_fill_(sr.isinf(), torch.nan).clamp_(0, 1)  # infinity must not pass for white
        sr = back_project(sr, lr, self.back_projection)
        return (keep_colours(sr, lr, self.strip) if self.colours else sr)[..., :height, :width]

    def _answer(self, network: Any, lr: Tensor, block: int) -> Tensor:
        """The network's answer, float32.

        Nine tenths of the memory go to the few layers at HR size, nearly all context to the many at LR size. A network
        that names both, `features` and `reconstruct`, runs the first on the whole window and the second in blocks of
        `block` LR pixels a side, with the same result.
        """
        layout = machine.memory_format(self.device, self.dtype)
        lr = lr.contiguous(memory_format=layout)
        if not hasattr(network, "features"):
            return network(lr).float()
        features = network.features(lr)
        sr = torch.empty(1, 3, *(self.scale * side for side in lr.shape[-2:]), device=lr.device)

        def enlarge(seen: Tensor) -> Tensor:
            return network.reconstruct(seen.to(self.dtype).contiguous(memory_format=layout))

        return piecewise(enlarge, features, sr, block, _HALO)

    def bytes(self, rows: int, columns: int, block: int) -> int:
        """Memory on the device that a window of so many LR pixels takes, beside the network."""
        key = (rows, columns, block)
        if key not in self._bytes:
            window = torch.empty(1, 3, rows, columns, device="meta")
            peak = machine.live_peak(lambda: self._restored(self._weightless, window.clone(), block))
            # Over the tensors that are counted: workspace of convolutions, and holes that C's allocator keeps.
            more, holes = (1.03, 0) if self.device.type == "cuda" else (1.3, 64 << 20)
            self._bytes[key] = int(more * peak) + holes
        return self._bytes[key]

    def at_most(self, pixels: int) -> int | None:
        """A bound above `bytes`, for a window of so many pixels, on a CPU and for an `RRDBNet`; None otherwise.

        The first call of `bytes` makes torch import its compiler, which takes longer than a small picture does.
        """
        if self.device.type != "cpu" or not isinstance(self.network, RRDBNet):
            return None
        channels, growth = self.network.architecture["nf"], self.network.architecture["gc"]
        numbers = 10 * (channels + growth) + 30 * self.scale**2  # a pixel, beside the block at HR size
        return int(1.3 * 4 * numbers * pixels) + (64 + channels << 20)

    @cached_property
    def _weightless(self) -> nn.Module:
        """The network on the device that holds nothing; two blocks of its trunk, which take as much memory as many."""
        network = self.network
        if isinstance(network, RRDBNet):
            network = prune(network, range(min(2, len(network.trunk))))
        return self._place(network, torch.device("meta"))

    def seconds(self) -> float:
        """What one LR pixel takes, measured on a window of 64 pixels a side; on CUDA, to fill the device, of 512."""
        side = 512 if self.device.type == "cuda" else 64
        picture = Picture(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8))
        window = tiles(side, side, side, 0)[0]
        runs = timeit.repeat(lambda: self.begin(picture, window, self.blocks[0])(), number=1, repeat=3)
        return min(runs) / side**2  # the first run prepares kernels


def _in_parts(forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """What a dense block answers, (B, nf, h, w)."""

    def part(seen: Tensor) -> Tensor:
        return forward(seen.contiguous(memory_format=torch.channels_last))

    return piecewise(part, x, torch.empty_like(x), DENSE, DenseBlock.receptive_radius)


def _phases(convolution: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """A 3×3 convolution behind enlarging ×2 by nearest neighbour, as a 2×2 one before it: weight (4n, n, 2, 2), bias.

    The nine pixels that an enlarged one sees are copies of four. Which weights meet in a copy depends on whether its
    row and column are even or odd: n channels for each of the four cases, and 4/9 of the multiplications.
    """
    weight = convolution.weight.detach().float()
    for axis in (-1, -2):
        first, middle, last = weight.split(1, axis)
        even, odd = torch.cat([first, middle + last], axis), torch.cat([first + middle, last], axis)
        weight = torch.cat([even, odd])
    weight = weight.to(convolution.weight.dtype).contiguous(memory_format=torch.channels_last)
    return weight, convolution.bias.detach().repeat(4)  # type: ignore[union-attr]


def _enlarged(doubling: list[tuple[Tensor, Tensor]], x: Tensor, stage: int) -> Tensor:
    """What `RRDBNet._enlarge` answers, (B, nf, 2h, 2w) of (B, nf, h, w)."""
    weight, bias = doubling[stage]
    x = x.to(weight.dtype)
    cases = functional.conv2d(x, weight, bias, padding=1).chunk(4, dim=1)  # each a row and a column too large
    count, channels, height, width = x.shape
    size = (count, channels, 2 * height, 2 * width)
    large = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    for case, (row, column) in zip(cases, itertools.product((0, 1), repeat=2), strict=True):
        large[..., row::2, column::2] = case[..., row : row + height, column : column + width]
    return leaky(large)


def _to_window(array: np.ndarray, device: torch.device) -> Tensor:
    """(1, channels, h, w) in [0, 1] on the device, of an array (h, w) or (h, w, channels) uint8 or uint16."""
    white = np.iinfo(array.dtype).max
    array = array.astype(np.int32) if white > 255 else array  # torch does little with uint16
    tensor = machine.send(torch.from_numpy(array[..., None] if array.ndim == 2 else array), device)
    return tensor.permute(2, 0, 1)[None].float().div(white).contiguous()
