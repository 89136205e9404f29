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
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from otsr import machine, weights
from otsr.images import ImageSource, Picture, open_picture, resize
from otsr.inference.canvas import Canvas
from otsr.inference.prediction import SMALLEST_TILE, Planner
from otsr.inference.restoration import GREY, back_project, keep_colours, restore
from otsr.inference.tiling import Tile, look, spread_colours

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

_COLOUR_HALO = 24  # LR pixels of context that `keep_colours` needs for agreement to one grey level
_STEP_HALO = 4  # LR pixels around them that one back-projection step sees: 2 down, 2 up


class Upscaler(Planner):
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
        back_projection: number of steps sr ← clip(sr + up(lr − down(sr)), 0, 1), bicubic up and down. They make the
            result agree with the LR picture, its noise included.
        colours: keep those of the LR picture, see `otsr.inference.keep_colours`.
        tileable: the picture is a texture that goes on at its other end, left and right, top and bottom.

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
        colours: bool = True,
        tileable: bool = False,
    ) -> None:
        super().__init__()
        device = machine.choose_device(device)
        dtype = machine.choose_dtype(precision, device)
        self.tile = (CUDA_TILE if device.type == "cuda" else TILE) if tile is None else tile
        for name, value, least in (
            ("tile", self.tile, SMALLEST_TILE),
            ("overlap", 0 if overlap is None else overlap, 0),
            ("back_projection", back_projection, 0),
        ):
            if value < least:
                raise ValueError(f"{name} is {value}, expected at least {least}")
        self.scale = int(network.scale)  # type: ignore[arg-type]
        self.alignment = int(getattr(network, "alignment", 1))
        needed = max(needed_overlap(network), _COLOUR_HALO if colours else 0) if overlap is None else overlap
        self.overlap = needed + _STEP_HALO * back_projection
        self.ensemble = ensemble
        self.back_projection = back_projection
        self.colours = colours
        self.tileable = tileable
        self._original = network
        self._place(device, dtype)

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
        self,
        image: ImageSource | Picture,
        progress: Callable[[int, int], None] | None = None,
        *,
        scale: float | None = None,
    ) -> Image.Image:
        """The picture, `scale` times as wide and high, in 8 bits.

        Grey stays grey; transparency is enlarged bicubically; the colour profile is kept (in `.info`, where PIL's
        `save` finds it); all other metadata is dropped.

        Args:
            image: path, PIL image, array or tensor; see `otsr.images.open_picture`.
            progress: called with (tiles done, tiles in all) after each tile.
            scale: if it differs from the network's, the answer is shrunk (or enlarged, with a warning) by MATLAB's
                bicubic.

        Raises:
            ImageError: the picture cannot be read.
            MemoryError: the result does not fit into free memory; the message has the numbers.
        """
        picture = image if isinstance(image, Picture) else open_picture(image)
        output = self._upscaled(picture, progress, scale, deep=False)
        assert isinstance(output, Image.Image)
        if picture.icc:
            output.info["icc_profile"] = picture.icc
        return output

    def upscale_deep(
        self,
        image: ImageSource | Picture,
        progress: Callable[[int, int], None] | None = None,
        *,
        scale: float | None = None,
    ) -> np.ndarray:
        """The same in 16 bits, which PIL has no colour for: (H, W, 1|2|3|4) uint16, ready for `otsr.images.write`."""
        picture = image if isinstance(image, Picture) else open_picture(image, deep=True)
        output = self._upscaled(picture, progress, scale, deep=True)
        assert isinstance(output, np.ndarray)
        return output

    def _upscaled(
        self,
        picture: Picture,
        progress: Callable[[int, int], None] | None,
        scale: float | None,
        deep: bool,
    ) -> Image.Image | np.ndarray:
        height, width = picture.pixels.shape[:2]
        scale = scale or self.scale
        if scale > self.scale:
            warnings.warn(
                f"×{scale:.3g} is beyond the network's ×{self.scale}: the rest is bicubic", stacklevel=3
            )
        whole = None
        while whole is None:
            try:
                whole = self._filled(picture, progress, scale, deep)
            except _TooNarrow:
                warnings.warn(
                    f"{self.dtype} is too narrow for this network; going on in float32", stacklevel=3
                )
                self._place(self.device, torch.float32)
            except NotImplementedError as error:
                if self.device.type != "mps":
                    raise
                reason = str(error).splitlines()[0]
                warnings.warn(f"mps cannot do this ({reason}); going on on the CPU", stacklevel=3)
                self._place(torch.device("cpu"), self.dtype)
        if scale != self.scale:
            whole = whole.resized(scale / self.scale, *scaled_size(width, height, scale))
        return whole.content

    def _filled(
        self,
        picture: Picture,
        progress: Callable[[int, int], None] | None,
        scale: float,
        deep: bool,
    ) -> Canvas:
        """The network's answer for the whole picture."""
        height, width = picture.pixels.shape[:2]
        pixels = width * height
        beside = pixels * (int(scale**2 * 4) if scale != self.scale else 0)
        if deep:  # up to 8 bytes a pixel in place of 4, and 6 in place of 3
            beside = 2 * beside + pixels * (3 + 4 * self.scale**2)
        side, block = self.plan(width, height, beside)
        cut = self.tiles(width, height, side)
        channels = (1 if picture.grey else 3) + (picture.alpha is not None)
        whole = Canvas(width * self.scale, height * self.scale, channels, deep)
        for done, (tile, part) in enumerate(self._parts(picture, cut, block, deep), 1):
            whole.put(part, tile.columns.keep_start * self.scale, tile.rows.keep_start * self.scale)
            if progress:
                progress(done, len(cut))
        return whole

    def _parts(
        self, picture: Picture, cut: list[Tile], block: int, deep: bool = False
    ) -> Iterator[tuple[Tile, np.ndarray]]:
        """Each tile with its pixels. CUDA is given the next window before the CPU turns to the last one's pixels."""
        begun: deque[tuple[Tile, Callable[[], np.ndarray]]] = deque()
        ahead = 1 if self.device.type == "cuda" else 0
        for tile in cut:
            begun.append((tile, self._begin(picture, tile, block, deep)))
            if len(begun) > ahead:
                first, pixels = begun.popleft()
                yield first, pixels()
        for tile, pixels in begun:
            yield tile, pixels()

    def _begin(
        self, picture: Picture, tile: Tile, block: int, deep: bool = False
    ) -> Callable[[], np.ndarray]:
        """Start with one window; the function that is returned waits for the kept part.

        That part is (h, w, channels) uint8, or uint16 where `deep`. What is not finite in 16 bits is reported only
        then, by `_TooNarrow`: asking at once would stop the device.
        """
        kept = (..., tile.rows.kept(self.scale), tile.columns.kept(self.scale))
        colours = look(picture.pixels, tile, self.tileable)
        alpha = None if picture.alpha is None else look(picture.alpha, tile, self.tileable)
        if alpha is not None:
            colours = spread_colours(colours, alpha)
        restored = self._restored(_to_window(colours, self.device), block)
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
                raise _TooNarrow
            if not finite:
                raise ValueError(
                    "the network answers NaN or infinity; its weights are damaged or not for this use"
                )
            return pixels.numpy().astype(np.uint16) if deep else pixels.numpy()

        return finish

    def _place(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self._network = machine.place(self._original, device, dtype)

    def _restored(self, window: Tensor, block: int) -> Tensor:
        """(1, 3, s·h, s·w) in [0, 1], or NaN, of (1, 3, h, w)."""
        height, width = window.shape[-2:]
        if self.ensemble:  # so that flips are aligned
            below, beside = -height % self.alignment, -width % self.alignment
            window = functional.pad(window, (0, beside, 0, below), mode="replicate")
        with torch.no_grad(), machine.without_tf32():
            sr = self._restore(self._network, window, block)
        return sr[..., : height * self.scale, : width * self.scale]

    def _restore(self, network: nn.Module, lr: Tensor, block: int) -> Tensor:
        """`restore` as this upscaler was asked to."""
        layout = machine.memory_format(self.device, self.dtype)
        sr = restore(network, lr, block, self.dtype, layout, ensemble=self.ensemble)
        sr = back_project(sr, lr, self.back_projection)
        return keep_colours(sr, lr) if self.colours else sr


def needed_overlap(network: nn.Module) -> int:
    """LR pixels of context that show: the network's receptive radius where it names one, at most `OVERLAP`."""
    return min(OVERLAP, int(getattr(network, "receptive_radius", OVERLAP)))


def scaled_size(width: int, height: int, scale: float) -> tuple[int, int]:
    """(width, height) of a picture `scale` times as large: to the nearest pixel, at least one."""
    return max(1, math.floor(width * scale + 0.5)), max(1, math.floor(height * scale + 0.5))


def _to_window(array: np.ndarray, device: torch.device) -> Tensor:
    """(1, channels, h, w) in [0, 1] on the device, of an array (h, w) or (h, w, channels) uint8 or uint16."""
    white = np.iinfo(array.dtype).max
    array = array.astype(np.int32) if white > 255 else array  # torch does little with uint16
    tensor = machine.send(torch.from_numpy(array[..., None] if array.ndim == 2 else array), device)
    return tensor.permute(2, 0, 1)[None].float().div(white).contiguous()


class _TooNarrow(Exception):
    """16 bits overflowed."""
