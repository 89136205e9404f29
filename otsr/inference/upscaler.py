"""Upscale any picture: in tiles without seams, in bounded memory, in the fastest precision that is safe.

    >>> Upscaler.from_pretrained().upscale("photo.jpg").save("photo_x4.png")

The network sees windows that overlap; of each only the middle is kept, so far from the cut that the missing
context no longer shows. Kept parts go straight into the output of 8 or 16 bits: no float image of the whole exists.
"""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import nn

from otsr import machine, weights
from otsr.images import ImageSource, Picture, open_picture
from otsr.inference.tiling import Canvas, Tile, tiles
from otsr.inference.window import Engine, TooNarrow

TILE = 512
"""LR pixels a side that one window contributes. Extra work at an overlap of 64: 56 %; with 1024 it is 27 %."""
CUDA_TILE = 2048
"""The same on CUDA, where most pictures fit in one piece. Extra work in larger ones: 13 %."""
OVERLAP = 64
"""LR pixels of context beside each cut.

How far a network looks is learned. `realsr-df2k` could see 351 pixels far, but on noisy phone photos 32 leave it less
than a quarter of a grey level off the whole picture's result (benchmarks/inference.py prints the table). `otsr` looks
farther, above all at hard JPEGs, where 32 can leave a seam and 64 leaves a level. A network whose receptive radius is
smaller gets that.
"""

_SMALLEST_TILE = 32  # LR pixels a side; below it the overlap costs more memory than it saves
_MARGIN = 8  # LR pixels that are mirrored at the borders: the network's zero padding shows up to there
_COLOUR_HALO = 24  # LR pixels of context that `keep_colours` needs for agreement to one grey level
_STEP_HALO = 4  # LR pixels around them that one back-projection step sees: 2 down, 2 up
_SHARE = 0.9  # of the device's free memory that is planned with: it is never free in one piece

Progress = Callable[[int, int], None]
"""Called with (tiles done, tiles in all) after each tile."""


class Upscaler:
    """Super-resolution of pictures of any kind and size with one network.

    Args:
        network: maps (1, 3, h, w) in [0, 1] to (1, 3, s·h, s·w) and has an integer attribute `scale` = s; the
            other attributes of `otsr.networks.generators.RRDBNet` are used where there are some. It is copied.
        device: "auto" takes CUDA or Apple's GPU (mps) where there is one, else the CPU; or a name of torch's.
        precision: "fp32", "bf16", "fp16", or "auto", see `otsr.machine.choose_dtype`.
        tile: LR pixels a side that one window contributes; None takes `CUDA_TILE` on CUDA, else `TILE`. Smaller
            takes less memory and more time. Where memory is short it is halved without being asked.
        overlap: LR pixels of context around it; None takes what the network needs, see `OVERLAP`.
        ensemble: average over the 8 flips and rotations; takes 8 times as long.
        back_projection: number of steps of `otsr.inference.back_project`. They make the result agree with the LR
            picture, its noise included.
        colours: keep those of the LR picture, see `otsr.inference.keep_colours`.
        tileable: the picture is a texture that goes on at its other end, left and right, top and bottom.

    Raises:
        ValueError: an argument is out of range; the message names it.
    """

    def __init__(
        self, network: nn.Module, *, device: str | torch.device = "auto", precision: str = "auto",
        tile: int | None = None, overlap: int | None = None, ensemble: bool = False, back_projection: int = 0,
        colours: bool = True, tileable: bool = False,
    ) -> None:  # fmt: skip
        device = machine.choose_device(device)
        dtype = machine.choose_dtype(precision, device)
        self.tile = (CUDA_TILE if device.type == "cuda" else TILE) if tile is None else tile
        if overlap is None:
            seen = min(OVERLAP, int(getattr(network, "receptive_radius", OVERLAP)))
            overlap = max(seen, _COLOUR_HALO if colours else 0)
        for name, value, least in (
            ("tile", self.tile, _SMALLEST_TILE), ("overlap", overlap, 0), ("back_projection", back_projection, 0),
        ):  # fmt: skip
            if value < least:
                raise ValueError(f"{name} is {value}, expected at least {least}")
        self.overlap = overlap + _STEP_HALO * back_projection
        self.engine = Engine(network, device, dtype, ensemble, back_projection, colours, tileable)
        self.scale = self.engine.scale

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path = weights.DEFAULT, *, ot_weight: float = 1.0, **options: Any
    ) -> Upscaler:
        """An upscaler with trained weights.

        Args:
            name_or_path: see `otsr.weights.load`, also for errors.
            ot_weight: from 0, the fidelity of the weights' partner, to 1, transport as trained; see
                `otsr.weights.blend`. A ValueError if it is out of range, or there is no partner.
            **options: of `Upscaler`.
        """
        if not 0 <= ot_weight <= 1:
            raise ValueError(f"ot_weight is {ot_weight}, expected 0 (fidelity) to 1 (transport)")
        network = weights.load(name_or_path)
        if ot_weight < 1:
            partner = weights.partner(name_or_path)
            if partner is None:
                raise ValueError(f"ot_weight is {ot_weight}, but {name_or_path} has no partner: take 1")
            network = weights.blend(weights.load(partner), network, ot_weight)
        return cls(network, **options)

    @property
    def device(self) -> torch.device:
        """Where the network runs; the CPU after an Apple GPU could not."""
        return self.engine.device

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in; float32 after 16 bits overflowed."""
        return self.engine.dtype

    def upscale(
        self, image: ImageSource | Picture, progress: Progress | None = None, *, scale: float | None = None
    ) -> Image.Image:
        """The picture, `scale` times as wide and high, in 8 bits.

        Grey stays grey; transparency is enlarged bicubically; the colour profile is kept (in `.info`, where PIL's
        `save` finds it); all other metadata is dropped.

        Args:
            image: path, PIL image, array or tensor; see `otsr.images.open_picture`.
            scale: if it differs from the network's, the answer is shrunk (or enlarged, with a warning) by MATLAB's
                bicubic.

        Raises:
            ImageError: the picture cannot be read.
            MemoryError: the result does not fit into free memory.
        """
        return cast(Image.Image, self._upscaled(image, progress, scale, deep=False))

    def upscale_deep(
        self, image: ImageSource | Picture, progress: Progress | None = None, *, scale: float | None = None
    ) -> np.ndarray:
        """The same in 16 bits, which PIL has no colour for: (H, W, 1|2|3|4) uint16, ready for `otsr.images.write`."""
        return cast(np.ndarray, self._upscaled(image, progress, scale, deep=True))

    def _upscaled(
        self, image: ImageSource | Picture, progress: Progress | None, scale: float | None, deep: bool
    ) -> Image.Image | np.ndarray:
        picture = image if isinstance(image, Picture) else open_picture(image, deep=deep)
        height, width = picture.pixels.shape[:2]
        scale = scale or self.scale
        if scale > self.scale:
            reason = f"×{scale:.3g} is beyond the network's ×{self.scale}: the rest is bicubic"
            warnings.warn(reason, stacklevel=3)
        whole = None
        while whole is None:
            try:
                whole = self._filled(picture, progress, scale, deep)
            except TooNarrow:
                warnings.warn(f"{self.dtype} is too narrow for it; going on in float32", stacklevel=3)
                self.engine = replace(self.engine, dtype=torch.float32)
            except NotImplementedError as error:
                if self.device.type != "mps":
                    raise
                reason = str(error).splitlines()[0]
                warnings.warn(f"mps cannot do this ({reason}); going on on the CPU", stacklevel=3)
                self.engine = replace(self.engine, device=torch.device("cpu"))
        if scale != self.scale:
            whole = whole.resized(scale / self.scale, *scaled_size(width, height, scale))
        if picture.icc and isinstance(whole.content, Image.Image):
            whole.content.info["icc_profile"] = picture.icc
        return whole.content

    def _filled(self, picture: Picture, progress: Progress | None, scale: float, deep: bool) -> Canvas:
        """The network's answer for the whole picture."""
        height, width = picture.pixels.shape[:2]
        beside = width * height * int(scale**2 * 4) if scale != self.scale else 0
        if deep:  # up to 8 bytes a pixel in place of 4, and 6 in place of 3
            beside = 2 * beside + self._picture_memory(width, height)
        side, block = self.plan(width, height, beside, scale)
        cut = self.tiles(width, height, side)
        channels = (1 if picture.grey else 3) + (picture.alpha is not None)
        whole = Canvas(width * self.scale, height * self.scale, channels, deep)
        parts = zip(cut, self._parts(picture, cut, block, deep), strict=True)
        for done, ((rows, columns), part) in enumerate(parts, 1):
            whole.put(part, columns.keep_start * self.scale, rows.keep_start * self.scale)
            if progress:
                progress(done, len(cut))
        return whole

    def _parts(self, picture: Picture, cut: list[Tile], block: int, deep: bool) -> Iterator[np.ndarray]:
        """Each tile's pixels. CUDA is given the next window before the CPU turns to the last one's pixels."""
        ahead = int(self.device.type == "cuda")
        begun: deque[Callable[[], np.ndarray]] = deque()
        for tile in cut:
            begun.append(self.engine.begin(picture, tile, block, deep))
            if len(begun) > ahead:
                yield begun.popleft()()
        yield from (pixels() for pixels in begun)

    def tiles(self, width: int, height: int, tile: int | None = None) -> list[Tile]:
        """The windows that a width × height picture is cut into; they reach beyond its borders."""
        alignment, margin = self.engine.alignment, _MARGIN
        if self.engine.tileable:
            margin = math.ceil(max(_MARGIN, self.overlap) / alignment) * alignment
        return tiles(height, width, tile or self.tile, self.overlap, alignment, margin)

    def predict_memory(self, width: int, height: int, tile: int | None = None) -> int:
        """Bytes of main memory that upscaling a width × height picture takes, beside what the process holds now.

        The decoded picture (3 bytes a pixel), the output (4 bytes a pixel: PIL stores RGB so), and the tensors of one
        window. CUDA has a memory of its own for these; here lie only its 8-bit pixels and those of the next one, in
        pinned memory whose pieces are powers of two.
        """
        if self.device.type == "cuda":
            largest = self.tiles(width, height, tile)[-1]
            window = 4 * 3 * largest.pixels * self.scale**2
        else:
            window = self.predict_window_memory(width, height, tile)
        return self._picture_memory(width, height) + window

    def _picture_memory(self, width: int, height: int) -> int:
        return width * height * (3 + 4 * self.scale**2)

    def predict_window_memory(self, width: int, height: int, tile: int | None = None, block: int | None = None) -> int:
        """The same on the device, of the largest window, beside the network."""
        largest = self.tiles(width, height, tile)[-1]
        return self.engine.bytes(largest.rows.size, largest.columns.size, block or self.engine.blocks[-1])

    def predict_seconds(self, width: int, height: int) -> float:
        """Seconds to expect for a width × height picture, from one small window that is measured."""
        return self.engine.seconds() * sum(tile.pixels for tile in self.tiles(width, height))

    def plan(self, width: int, height: int, beside: int = 0, scale: float | None = None) -> tuple[int, int]:
        """The tile and the block for a width × height picture, in LR pixels a side: the largest that fit now.

        The tile is the one asked for, or half of it, or a quarter …, whichever fits into free memory first, with
        `beside` more bytes of main memory than `predict_memory`; if none does, that is a MemoryError with the numbers
        and the size that was asked for (`scale`).
        """
        known, on_device = machine.available_memory(), machine.free_on(self.device)
        free = math.inf if known is None else known
        largest = self.tiles(width, height)[-1]
        enough = self.engine.at_most(largest.pixels)
        if enough and self._picture_memory(width, height) + beside + enough <= free:
            return self.tile, self.engine.blocks[0]
        tile = self.tile
        while tile >= _SMALLEST_TILE:
            needed = self.predict_memory(width, height, tile) + beside
            for block in self.engine.blocks if needed <= free else ():
                if self.predict_window_memory(width, height, tile, block) <= _SHARE * on_device:
                    return tile, block
            tile //= 2
        wide, high = scaled_size(width, height, scale or self.scale)
        size = f"{width}×{height} becomes {wide}×{high}"
        if needed <= free:
            raise MemoryError(f"{size}: {self.device} has too little free memory; use --device cpu")
        need = f"needs {needed / 1e9:.2f} GB of memory, {free / 1e9:.2f} GB are free"
        advice = "close other programs, shrink the picture, or ask for less than that"
        raise MemoryError(f"{size} and {need}; {advice}")


def scaled_size(width: int, height: int, scale: float) -> tuple[int, int]:
    """(width, height) of a picture `scale` times as large: to the nearest pixel, at least one."""
    return max(1, math.floor(width * scale + 0.5)), max(1, math.floor(height * scale + 0.5))
