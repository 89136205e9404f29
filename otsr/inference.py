"""Upscale any picture: in tiles without seams, in bounded memory, in the fastest precision that is safe.

    >>> Upscaler.from_pretrained().upscale("photo.jpg").save("photo_x4.png")

The network sees windows that overlap; of each only the middle is kept, so far from the cut that the missing
context no longer shows. Kept parts go straight into the 8-bit output: no float image of the whole ever exists.
"""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from otsr import machine, weights
from otsr.images import ImageSource, Picture, open_picture, resize
from otsr.restoration import back_project, restore
from otsr.tiling import Tile, halves, tiles

TILE = 512
"""LR pixels a side that one window contributes. Extra work at an overlap of 32: 27 %; with 256 it is 56 %."""

CUDA_TILE = 2048
"""The same on CUDA, where most pictures fit in one piece. Extra work in larger ones: 6 %."""

OVERLAP = 32
"""LR pixels of context beside each cut.

Measured for `realsr-df2k` in fp32 on noisy phone photos (benchmarks/inference.py prints the table): the largest
difference from the whole-image result is 1.2/255 at 24, 0.8/255 at 28, 0.4/255 at 32. Its receptive radius is 351,
but the context fades. A network whose receptive radius is smaller gets that.
"""

_SMALLEST_WINDOW = 16  # smaller pictures are padded: the network would see little but its own zero padding
_SMALLEST_TILE = 32  # below it the overlap costs more memory than it saves
_BLOCK = 128  # LR pixels a side that leave feature space at one time; see `restoration.forward`
_CUDA_BLOCK = 1024  # the same on CUDA where memory allows: few large launches; tensors stay below 2³¹ numbers
_STEP_HALO = 4  # LR pixels around them that one back-projection step sees: 2 down, 2 up
_HEADROOM = {"cpu": 1.3, "cuda": 1.03}  # convolution workspace, over the tensors that are counted
_ALLOCATOR = {"cpu": 64 << 20, "cuda": 0}  # bytes that the C library's allocator keeps in holes
_SHARE = 0.9  # of the device's free memory that is planned with: it is never free in one piece
_GREY = (0.299, 0.587, 0.114)  # BT.601


class Upscaler:
    """Super-resolution of pictures of any kind and size with one network.

    Args:
        network: maps (1, 3, h, w) in [0, 1] to (1, 3, s·h, s·w) and has an integer attribute `scale` = s; the
            other attributes of `otsr.networks.generators.RRDBNet` are used where there are some. It is copied.
        device: "auto" takes CUDA where there is one, else the CPU; or a name that torch knows ("cuda:1", "mps").
        precision: "fp32", "bf16", "fp16", or "auto", see `otsr.machine.choose_dtype`.
        tile: LR pixels a side that one window contributes; None takes `CUDA_TILE` on CUDA, else `TILE`. Smaller
            takes less memory and more time. Where memory is short it is halved without being asked.
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
        tile: int | None = None,
        overlap: int | None = None,
        ensemble: bool = False,
        back_projection: int = 0,
    ) -> None:
        self.device = machine.choose_device(device)
        self.dtype = machine.choose_dtype(precision, self.device)
        on_cuda = self.device.type == "cuda"
        self.tile = (CUDA_TILE if on_cuda else TILE) if tile is None else tile
        for name, value, least in (
            ("tile", self.tile, _SMALLEST_TILE),
            ("overlap", 0 if overlap is None else overlap, 0),
            ("back_projection", back_projection, 0),
        ):
            if value < least:
                raise ValueError(f"{name} is {value}, expected at least {least}")
        self.scale = int(network.scale)  # type: ignore[arg-type]
        self.alignment = int(getattr(network, "alignment", 1))
        self.overlap = (
            needed_overlap(network) if overlap is None else overlap
        ) + _STEP_HALO * back_projection
        self.ensemble = ensemble
        self.back_projection = back_projection
        self._largest_block = _CUDA_BLOCK if on_cuda else _BLOCK
        self._original = network
        self._network = machine.place(network, self.device, self.dtype)
        self._window_bytes: dict[tuple[int, int, int], int] = {}

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
        try:
            output = self._upscaled(picture, progress)
        except _TooNarrow:
            warnings.warn(f"{self.dtype} is too narrow for this network; going on in float32", stacklevel=2)
            self.dtype = torch.float32
            self._window_bytes.clear()
            self._network = machine.place(self._original, self.device, self.dtype)
            output = self._upscaled(picture, progress)
        if picture.icc:
            output.info["icc_profile"] = picture.icc
        return output

    def _upscaled(self, picture: Picture, progress: Callable[[int, int], None] | None) -> Image.Image:
        height, width = picture.pixels.shape[:2]
        side, block = self.plan(width, height)
        cut = self.tiles(width, height, side)
        output: Image.Image | None = None
        for done, (tile, part) in enumerate(self._parts(picture, cut, block), 1):
            piece = Image.fromarray(part)
            if len(cut) == 1:
                output = piece
            else:
                output = output or Image.new(piece.mode, (width * self.scale, height * self.scale))
                output.paste(piece, (tile.columns.keep_start * self.scale, tile.rows.keep_start * self.scale))
            if progress:
                progress(done, len(cut))
        assert output is not None, "a picture has a pixel, so it has a window"
        return output

    def _parts(self, picture: Picture, cut: list[Tile], block: int) -> Iterator[tuple[Tile, np.ndarray]]:
        """Each tile with its pixels. CUDA is given the next window before the CPU turns to the last one's pixels."""
        begun: deque[tuple[Tile, Callable[[], np.ndarray]]] = deque()
        ahead = 1 if self.device.type == "cuda" else 0
        for tile in cut:
            begun.append((tile, self._begin(picture, tile, block)))
            if len(begun) > ahead:
                first, pixels = begun.popleft()
                yield first, pixels()
        for tile, pixels in begun:
            yield tile, pixels()

    def tiles(self, width: int, height: int, tile: int | None = None) -> list[Tile]:
        """The windows that a width × height picture is cut into."""
        return tiles(height, width, tile or self.tile, self.overlap, self.alignment)

    def predict_memory(self, width: int, height: int, tile: int | None = None) -> int:
        """Bytes of main memory that upscaling a width × height picture takes, beside what the process holds now.

        The decoded picture (3 bytes a pixel), the output (4 bytes a pixel: PIL stores RGB so), and on the CPU the
        tensors of one window, workspace and allocator. On CUDA the window lies in the device's memory, and here only
        its 8-bit pixels and those of the next one, in pinned memory whose pieces are powers of two.
        """
        whole = width * height * (3 + 4 * self.scale**2)
        if self.device.type == "cpu":
            return whole + self.predict_window_memory(width, height, tile)
        rows, columns = self._window_shape(width, height, tile)
        return whole + 4 * 3 * rows * columns * self.scale**2

    def predict_window_memory(
        self, width: int, height: int, tile: int | None = None, block: int | None = None
    ) -> int:
        """Bytes on the device that the largest window of a width × height picture takes, beside the network."""
        shape = self._window_shape(width, height, tile)
        key = (*shape, block or _BLOCK)
        if key not in self._window_bytes:
            network = machine.place(self._original, self.device, self.dtype, on=torch.device("meta"))
            window = torch.empty(1, 3, *shape, device="meta")
            with torch.no_grad():
                peak = machine.live_peak(lambda: self._restore(network, window.clone(), key[2]))
            kind = "cuda" if self.device.type == "cuda" else "cpu"
            self._window_bytes[key] = int(_HEADROOM[kind] * peak) + _ALLOCATOR[kind]
        return self._window_bytes[key]

    def _window_shape(self, width: int, height: int, tile: int | None) -> tuple[int, int]:
        """Rows and columns of the largest window."""
        last = self.tiles(width, height, tile)[-1]
        return max(last.rows.size, _SMALLEST_WINDOW), max(last.columns.size, _SMALLEST_WINDOW)

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
            self._begin(Picture(pixels), window, self._largest_block)()
            seconds.append(time.perf_counter() - start)
        seen = sum(tile.rows.size * tile.columns.size for tile in self.tiles(width, height))
        return min(seconds) * seen / sample**2

    def plan(self, width: int, height: int) -> tuple[int, int]:
        """The tile and the block for a width × height picture, in LR pixels a side: the largest that fit now.

        The tile is the one asked for, or half of it, or a quarter …, whichever fits into free memory first.

        Raises:
            MemoryError: not even the smallest tile fits; the message has the numbers.
        """
        free, on_device = machine.available_memory(), machine.free_on(self.device)
        for tile in halves(self.tile, _SMALLEST_TILE):
            needed = self.predict_memory(width, height, tile)
            fits = free is None or needed <= free
            for block in halves(self._largest_block, _BLOCK) if fits else ():
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

    def _begin(self, picture: Picture, tile: Tile, block: int) -> Callable[[], np.ndarray]:
        """Start with one window; the function that is returned waits for the kept part.

        That part is (h, w) or (h, w, channels) uint8, as PIL's modes L, LA, RGB, RGBA. What is not finite in 16 bits
        is reported only then, by `_TooNarrow`: asking at once would stop the device.
        """
        seen = (tile.rows.seen, tile.columns.seen)
        kept = (..., tile.rows.kept(self.scale), tile.columns.kept(self.scale))
        restored = self._restored(_to_window(picture.pixels[seen], self.device), block)
        finite = torch.isfinite(restored).all()
        planes = restored[0][kept]
        if picture.grey:
            planes = (planes * planes.new_tensor(_GREY).view(3, 1, 1)).sum(0, keepdim=True)
        if picture.alpha is not None:
            alpha = resize(_to_window(picture.alpha[seen], torch.device("cpu"))[0], self.scale)[kept]
            planes = torch.cat([planes, alpha.to(planes)])
        pixels = planes.clamp_(0, 1).mul_(255).round_().to(torch.uint8).permute(1, 2, 0).contiguous()
        wait = machine.fetch(finite, pixels)

        def finish() -> np.ndarray:
            finite, pixels = wait()
            if not finite and self.dtype != torch.float32:
                raise _TooNarrow
            if not finite:
                raise ValueError(
                    "the network answers NaN or infinity; its weights are damaged or not for this use"
                )
            array = pixels.numpy()
            return array[..., 0] if array.shape[2] == 1 else array

        return finish

    def _restored(self, window: Tensor, block: int) -> Tensor:
        """(1, 3, s·h, s·w) in [0, 1], or NaN, of (1, 3, h, w)."""
        height, width = window.shape[-2:]
        (top, bottom), (left, right) = (self._padding(n) for n in (height, width))
        padded = functional.pad(window, (left, right, top, bottom), mode="replicate")
        with torch.no_grad():
            result = self._restore(self._network, padded, block)
        top, left = top * self.scale, left * self.scale
        return result[..., top : top + height * self.scale, left : left + width * self.scale]

    def _padding(self, size: int) -> tuple[int, int]:
        """Pixels to repeat before and after, so that a window is large enough and its flips are aligned."""
        before = max(0, _SMALLEST_WINDOW - size) // 2
        after = max(0, _SMALLEST_WINDOW - size - before)
        return before, after + (-(before + size + after) % self.alignment if self.ensemble else 0)

    def _restore(self, network: nn.Module, lr: Tensor, block: int) -> Tensor:
        """`restore` as this upscaler was asked to."""
        layout = machine.memory_format(self.device, self.dtype)
        sr = restore(network, lr, block, self.dtype, layout, ensemble=self.ensemble)
        return back_project(sr, lr, self.back_projection)


def needed_overlap(network: nn.Module) -> int:
    """LR pixels of context that show: the network's receptive radius where it names one, at most `OVERLAP`."""
    return min(OVERLAP, int(getattr(network, "receptive_radius", OVERLAP)))


def _to_window(array: np.ndarray, device: torch.device) -> Tensor:
    """(1, channels, h, w) in [0, 1] on the device, of an array (h, w) or (h, w, channels) uint8."""
    tensor = machine.send(torch.from_numpy(array[..., None] if array.ndim == 2 else array), device)
    return tensor.permute(2, 0, 1)[None].float().div(255).contiguous()


class _TooNarrow(Exception):
    """16 bits overflowed."""
