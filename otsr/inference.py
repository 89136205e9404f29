"""Upscale any picture: in tiles without seams, in bounded memory, in the fastest precision that is safe.

    >>> Upscaler.from_pretrained().upscale("photo.jpg").save("photo_x4.png")

The network sees windows that overlap; of each only the middle is kept, so far from the cut that the missing
context no longer shows. Kept parts go straight into the 8-bit output: no float image of the whole ever exists.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from otsr import machine, weights
from otsr.images import ImageSource, Picture, open_picture, resize
from otsr.tiling import Tile, tiles

TILE = 512
"""LR pixels a side that one window contributes. Extra work at an overlap of 32: 27 %; with 256 it is 56 %."""

OVERLAP = 32
"""LR pixels of context beside each cut.

Measured for `realsr-df2k` in fp32 on noisy phone photos (benchmarks/inference.py prints the table): the largest
difference from the whole-image result is 1.2/255 at 24, 0.8/255 at 28, 0.4/255 at 32. Its receptive radius is 351,
but the context fades. A network whose receptive radius is smaller gets that.
"""

_SMALLEST_WINDOW = 16  # smaller pictures are padded: the network would see little but its own zero padding
_SMALLEST_TILE = 32  # below it the overlap costs more memory than it saves
_BLOCK = 128  # LR pixels a side that leave feature space at one time; see `_forward`
_BLOCK_HALO = 2  # LR pixels around them that the reconstruction layers see
_STEP_HALO = 4  # LR pixels around them that one back-projection step sees: 2 down, 2 up
_HEADROOM = 1.3  # convolution workspace, over the tensors that are counted
_ALLOCATOR = 64 << 20  # bytes that the C library's allocator keeps in holes
_GREY = (0.299, 0.587, 0.114)  # BT.601


class Upscaler:
    """Super-resolution of pictures of any kind and size with one network.

    Args:
        network: maps (1, 3, h, w) in [0, 1] to (1, 3, s·h, s·w) and has an integer attribute `scale` = s; the
            other attributes of `otsr.networks.generators.RRDBNet` are used where there are some. It is copied.
        device: "auto" takes CUDA where there is one, else the CPU; or a name that torch knows ("cuda:1", "mps").
        precision: "fp32", "bf16", "fp16", or "auto", see `otsr.machine.choose_dtype`.
        tile: LR pixels a side that one window contributes. Smaller takes less memory and more time. Where memory
            is short it is halved without being asked.
        overlap: LR pixels of context around it; None takes what the network needs, see `OVERLAP`.
        ensemble: average over the 8 flips and rotations; takes 8 times as long.
        back_projection: number of steps sr ← clip(sr + up(lr − down(sr)), 0, 1), bicubic up and down. They make the
            result agree with the LR picture, its noise included.

    Raises:
        ValueError: an argument is out of range; the message names it.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        device: str | torch.device = "auto",
        precision: str = "auto",
        tile: int = TILE,
        overlap: int | None = None,
        ensemble: bool = False,
        back_projection: int = 0,
    ) -> None:
        for name, value, least in (
            ("tile", tile, _SMALLEST_TILE),
            ("overlap", 0 if overlap is None else overlap, 0),
            ("back_projection", back_projection, 0),
        ):
            if value < least:
                raise ValueError(f"{name} is {value}, expected at least {least}")
        self.scale = int(network.scale)  # type: ignore[arg-type]
        self.alignment = int(getattr(network, "alignment", 1))
        self.device = machine.choose_device(device)
        self.dtype = machine.choose_dtype(precision, self.device)
        self.tile = tile
        self.overlap = (
            needed_overlap(network) if overlap is None else overlap
        ) + _STEP_HALO * back_projection
        self.ensemble = ensemble
        self.back_projection = back_projection
        self._original = network
        self._network = machine.place(network, self.device, self.dtype)
        self._window_bytes: dict[tuple[int, int], int] = {}

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path = weights.DEFAULT,
        *,
        ot_weight: float = 1.0,
        partner: str | Path | None = None,
        **options: Any,
    ) -> Upscaler:
        """An upscaler with trained weights.

        Args:
            name_or_path: see `otsr.weights.load`.
            ot_weight: t in [0, 1]; the network's weights are (1 − t) · partner + t · these. 1 is transport as
                trained, 0 the partner's fidelity: the perception–distortion trade-off as one number.
            partner: weights of the same architecture trained for fidelity; None takes the one that the weights
                name themselves.
            **options: of `Upscaler`.

        Raises:
            ValueError: ot_weight is out of range, or asks for a partner that the weights do not have.
            WeightsError: the weights cannot be found or read.

        Reference: Wang et al., Deep Network Interpolation, CVPR 2019, arXiv 1811.10515.
        """
        if not 0 <= ot_weight <= 1:
            raise ValueError(f"ot_weight is {ot_weight}, expected 0 (fidelity) to 1 (transport)")
        network = weights.load(name_or_path)
        if ot_weight < 1:
            partner = partner or weights.partner(name_or_path)
            if partner is None:
                raise ValueError(
                    f"ot_weight is {ot_weight}, but {name_or_path} has no partner to blend with; "
                    "leave it at 1, or name weights of the same architecture that were trained for fidelity"
                )
            network = weights.blend(weights.load(partner), network, ot_weight)
        return cls(network, **options)

    def upscale(
        self, image: ImageSource | Picture, progress: Callable[[int, int], None] | None = None
    ) -> Image.Image:
        """The picture, `scale` times as wide and high.

        Grey stays grey; transparency is enlarged bicubically; the colour profile is kept (in `.info`, where PIL's
        `save` finds it); all other metadata is dropped.

        Args:
            image: path, PIL image, array or tensor; see `otsr.images.open_picture`.
            progress: called with (tiles done, tiles in all) after each tile.

        Raises:
            ImageError: the picture cannot be read.
            MemoryError: the result does not fit into free memory; the message has the numbers.
        """
        picture = image if isinstance(image, Picture) else open_picture(image)
        height, width = picture.pixels.shape[:2]
        plan = self.tiles(width, height, self._fitting_tile(width, height))
        mode = ("L" if picture.grey else "RGB") + ("" if picture.alpha is None else "A")
        output = Image.new(mode, (width * self.scale, height * self.scale))
        for done, tile in enumerate(plan, 1):
            corner = (tile.columns.keep_start * self.scale, tile.rows.keep_start * self.scale)
            output.paste(Image.fromarray(self._tile(picture, tile)), corner)
            if progress:
                progress(done, len(plan))
        if picture.icc:
            output.info["icc_profile"] = picture.icc
        return output

    def tiles(self, width: int, height: int, tile: int | None = None) -> list[Tile]:
        """The windows that a width × height picture is cut into."""
        return tiles(height, width, tile or self.tile, self.overlap, self.alignment)

    def predict_memory(self, width: int, height: int, tile: int | None = None) -> int:
        """Bytes of main memory that upscaling a width × height picture takes, beside what the process holds now.

        The decoded picture (3 bytes a pixel), the output (4 bytes a pixel: PIL stores RGB so), and on the CPU the
        tensors of one window, workspace and allocator. On CUDA the window lies in the device's memory.
        """
        whole = width * height * (3 + 4 * self.scale**2)
        window = self.predict_window_memory(width, height, tile)
        return whole + (window if self.device.type == "cpu" else window // 10)

    def predict_window_memory(self, width: int, height: int, tile: int | None = None) -> int:
        """Bytes on the device that the largest window of a width × height picture takes."""
        last = self.tiles(width, height, tile)[-1]
        shape = (max(last.rows.size, _SMALLEST_WINDOW), max(last.columns.size, _SMALLEST_WINDOW))
        if shape not in self._window_bytes:
            network = machine.place(self._original, torch.device("meta"), self.dtype)
            window = torch.empty(1, 3, *shape, device="meta")
            with torch.no_grad():
                peak = machine.live_peak(lambda: self._restore(network, window.clone()))
            self._window_bytes[shape] = int(_HEADROOM * peak) + _ALLOCATOR
        return self._window_bytes[shape]

    def predict_seconds(self, width: int, height: int, sample: int = 64) -> float:
        """Seconds to expect for a width × height picture, from one measured window of `sample` pixels a side."""
        window = torch.rand(1, 3, sample, sample, generator=torch.Generator().manual_seed(0))
        seconds = []
        for _ in range(3):  # the first run prepares kernels
            start = time.perf_counter()
            self._restored(window)
            seconds.append(time.perf_counter() - start)
        seen = sum(tile.rows.size * tile.columns.size for tile in self.tiles(width, height))
        return min(seconds) * seen / sample**2

    def _fitting_tile(self, width: int, height: int) -> int:
        """The tile asked for, or half of it, or a quarter …, whichever fits into free memory first."""
        free = machine.available_memory()
        on_device = torch.cuda.mem_get_info(self.device)[0] if self.device.type == "cuda" else None
        tile = self.tile
        while True:
            needed = self.predict_memory(width, height, tile)
            fits = free is None or needed <= free
            if fits and (on_device is None or self.predict_window_memory(width, height, tile) <= on_device):
                return tile
            if tile // 2 < _SMALLEST_TILE:
                break
            tile //= 2
        size = f"{width}×{height} becomes {width * self.scale}×{height * self.scale}"
        if fits:
            raise MemoryError(
                f"{size}: the device {self.device} has too little free memory; use --device cpu"
            )
        raise MemoryError(
            f"{size} and needs {needed / 1e9:.2f} GB of memory, {(free or 0) / 1e9:.2f} GB are free; "
            "close other programs, or shrink the picture or cut it into parts first"
        )

    def _tile(self, picture: Picture, tile: Tile) -> np.ndarray:
        """The kept part of one window: (h, w) or (h, w, channels) uint8, as PIL's modes L, LA, RGB, RGBA."""
        seen = (tile.rows.seen, tile.columns.seen)
        kept = (..., tile.rows.kept(self.scale), tile.columns.kept(self.scale))
        planes = self._restored(_to_window(picture.pixels[seen]))[0][kept]
        if picture.grey:
            planes = (planes * planes.new_tensor(_GREY).view(3, 1, 1)).sum(0, keepdim=True)
        if picture.alpha is not None:
            alpha = resize(_to_window(picture.alpha[seen])[0], self.scale)[kept]
            planes = torch.cat([planes, alpha.to(planes)])
        array = planes.clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        return np.ascontiguousarray(array[..., 0] if array.shape[2] == 1 else array)

    def _restored(self, window: Tensor) -> Tensor:
        """(1, 3, s·h, s·w) in [0, 1] on the device, of (1, 3, h, w). Falls back to fp32 when 16 bits overflow."""
        height, width = window.shape[-2:]
        (top, bottom), (left, right) = (self._padding(n) for n in (height, width))
        padded = functional.pad(window, (left, right, top, bottom), mode="replicate").to(self.device)
        with torch.no_grad():
            result = self._restore(self._network, padded)
        if not torch.isfinite(result).all():
            if self.dtype == torch.float32:
                raise ValueError(
                    "the network answers NaN or infinity; its weights are damaged or not for this use"
                )
            warnings.warn(f"{self.dtype} is too narrow for this network; going on in float32", stacklevel=4)
            self.dtype = torch.float32
            self._window_bytes.clear()
            self._network = machine.place(self._original, self.device, self.dtype)
            return self._restored(window)
        top, left = top * self.scale, left * self.scale
        return result[..., top : top + height * self.scale, left : left + width * self.scale]

    def _padding(self, size: int) -> tuple[int, int]:
        """Pixels to repeat before and after, so that a window is large enough and its flips are aligned."""
        before = max(0, _SMALLEST_WINDOW - size) // 2
        after = max(0, _SMALLEST_WINDOW - size - before)
        return before, after + (-(before + size + after) % self.alignment if self.ensemble else 0)

    def _restore(self, network: nn.Module, lr: Tensor) -> Tensor:
        """The network's answer, averaged over 8 orientations if asked for, clipped, and back-projected."""
        if self.ensemble:
            sr = torch.zeros(1, 3, *(n * self.scale for n in lr.shape[-2:]), device=lr.device)
            for turns in range(4):
                turned = torch.rot90(lr, turns, (-2, -1))
                sr += torch.rot90(self._forward(network, turned), -turns, (-2, -1))
                sr += torch.rot90(self._forward(network, turned.flip(-1)).flip(-1), -turns, (-2, -1))
            sr /= 8
        else:
            sr = self._forward(network, lr)
        sr.masked_fill_(sr.isinf(), torch.nan).clamp_(0, 1)  # infinity must not pass for white
        return back_project(sr, lr, self.back_projection)

    def _forward(self, network: Any, lr: Tensor) -> Tensor:
        """float32 answer of the network.

        Nine tenths of the memory go to the few layers at HR size, nearly all context to the many at LR size. A
        network that names both parts, `features` and `reconstruct`, runs the first on the whole window and the
        second block by block, with the same result.
        """
        lr = lr.contiguous(memory_format=torch.channels_last)
        if not hasattr(network, "features"):
            return network(lr).float()
        features = network.features(lr)
        height, width = lr.shape[-2:]
        sr = torch.empty(1, 3, height * self.scale, width * self.scale, device=lr.device)
        for block in tiles(height, width, _BLOCK, _BLOCK_HALO):
            seen = features[..., block.rows.seen, block.columns.seen]
            part = network.reconstruct(seen.to(self.dtype).contiguous(memory_format=torch.channels_last))
            rows, columns = (
                slice(span.keep_start * self.scale, span.keep_stop * self.scale)
                for span in (block.rows, block.columns)
            )
            sr[..., rows, columns] = part[..., block.rows.kept(self.scale), block.columns.kept(self.scale)]
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


def needed_overlap(network: nn.Module) -> int:
    """LR pixels of context that show: the network's receptive radius where it names one, at most `OVERLAP`."""
    return min(OVERLAP, int(getattr(network, "receptive_radius", OVERLAP)))


def _to_window(array: np.ndarray) -> Tensor:
    """(1, channels, h, w) in [0, 1] of an array (h, w) or (h, w, channels) uint8."""
    tensor = torch.from_numpy(array[..., None] if array.ndim == 2 else array)
    return tensor.permute(2, 0, 1)[None].float().div(255).contiguous()
