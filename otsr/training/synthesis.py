"""What becomes of a photo: cleaned up, it is HR; degraded as a camera would have, LR.

LR crops see the true neighbours beyond the crop's borders.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from filelock import FileLock
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from otsr.degradation import Degradation, kernels
from otsr.degradation.noise import DegradationError
from otsr.evaluation.scenes import named_degradation
from otsr.images import MAX_PIXELS, ImageError, crop_to_multiple, open_picture, read, resize, to_array
from otsr.training.store import DataError

_MULTIPLE = 4  # sides of a cleaned photo; ×4 pairs need it
_ORIENTATION = 0x0112  # EXIF; from 5 on the photo lies on its side
_TAIL = 1 << 14  # bytes at a PNG's end
_CHUNK = 16  # samples that one convolution blurs, in a quarter of the time of one convolution each


def clean_photo(path: Path, cleanup: float = 1.0) -> np.ndarray:
    """x' = bicubic(x, 1/cleanup), cropped to multiples of 4 (Ji et al., CVPRW 2020); with cleanup 1 the photo as it is.

    Shrinking removes the photo's own noise, blur and compression. Gives (H, W, 3) uint8, transparency on white.
    """
    image = read(path)
    if cleanup != 1:
        image = crop_to_multiple(resize(image, 1 / cleanup), _MULTIPLE)
    return np.ascontiguousarray(to_array(image))


def cleaned_size(path: Path, cleanup: float = 1.0) -> tuple[int, int]:
    """(height, width) that `clean_photo` will give, from the file's header where that tells. Raises ImageError."""
    try:
        with Path(path).open("rb") as file, Image.open(file) as image:
            width, height = image.size
            # Not image.getexif(), which decodes a PNG in search of EXIF. A TIFF's size is that of the upright picture.
            if image.format != "TIFF" and Image.Image.getexif(image).get(_ORIENTATION, 1) in (5, 6, 7, 8):
                width, height = height, width
            file.seek(max(0, Path(path).stat().st_size - _TAIL))
            # A PNG may hold its orientation behind its pixels: in EXIF, as exiftool writes it, or in XMP.
            end = file.read() if image.format == "PNG" else b""
            late = any(chunk in end for chunk in (b"eXIf", b"iTXt", b"tEXt", b"zTXt"))
            readable = width * height <= MAX_PIXELS and not late
    except Exception:  # whatever Pillow stumbles over: the full reader finds the words
        readable = False
    if not readable:
        height, width = open_picture(path).pixels.shape[:2]
    if cleanup == 1:
        return height, width
    rows, columns = (math.ceil(side / cleanup - 1e-9) // _MULTIPLE * _MULTIPLE for side in (height, width))
    if not rows or not columns:
        size = f"{width}×{height} pixels"
        raise ImageError(f"{path}: {size} are too few for a clean-up by {cleanup:g}; remove it")
    return rows, columns


def load_degradation(name: str | None, scale: int, cleanup: float = 1.0, folder: Path | None = None) -> Degradation:
    """The degradation of a recipe (None: bicubic), its clean-up left out: that is done to the photos before.

    The run's folder keeps the estimate of "phone" for its other processes, and for a resumed run.

    Raises:
        DataError, DegradationError: the file is for another scale or clean-up than the recipe's; missing or damaged.
    """
    if name != "phone" or folder is None:
        found = named_degradation(name or "bicubic", scale)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / f"phone-x{scale}.safetensors"
        with FileLock(kept.with_suffix(".lock")):  # of many processes one estimates it, and all read what it wrote
            try:
                found = named_degradation(str(kept), scale)
            except DegradationError:
                named_degradation("phone", scale).save(kept)
                found = named_degradation(str(kept), scale)
    if found.cleanup not in (1, cleanup):
        raise DataError(f"{name}: needs data.cleanup: {found.cleanup:g}, not {cleanup:g} as the recipe says")
    if name is not None and found.noise is None:
        advice = "takes the noise of photos for detail; estimate it from photos that show a plain wall or sky"
        warnings.warn(f"{name} has no noise: a network trained on it {advice}", stacklevel=2)
    found.cleanup = 1.0
    return found


class Synthesis:
    """Crops of photos with a margin, and their LR crops.

    The LR crop of a region is what `Degradation.apply` of the whole photo shows there, up to rounding, when nothing
    is drawn at random.
    """

    def __init__(self, degradation: Degradation) -> None:
        self.degradation, self.scale = degradation, degradation.scale
        # At borders `resize` and `downsample` do what np.pad calls so.
        self._mode: Literal["symmetric", "reflect"] = "reflect"
        taps = degradation.kernels
        if taps is None:
            self._mode, taps = "symmetric", kernels.bicubic(self.scale)[None]
        lacking = max(0, self.scale - taps.shape[-1]) // 2
        self._taps = F.pad(taps, [lacking] * 4).flip(-1, -2)
        # HR pixels beyond each side of a crop that its LR crop depends on: half a kernel minus half a block.
        self.margin = (self._taps.shape[-1] - self.scale) // 2

    def region(
        self, crop: Callable[..., np.ndarray], shape: tuple[int, int], top: int, left: int, side: int
    ) -> np.ndarray:
        """The square crop at (top, left) with its margin, (side + 2·margin, …, 3) uint8; mirrored where the photo ends.

        `shape` is the photo's (height, width); `crop` is called with (top, left, height, width) inside it.
        """
        m = self.margin
        low, high = max(0, top - m), min(shape[0], top + side + m)
        first, last = max(0, left - m), min(shape[1], left + side + m)
        pixels = crop(low, first, high - low, last - first)
        beyond = ((low - top + m, top + side + m - high), (first - left + m, left + side + m - last), (0, 0))
        return np.pad(pixels, beyond, self._mode) if any(map(any, beyond)) else pixels

    def degrade(self, regions: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """LR crops of regions, each with its own kernel, noise and JPEG quality.

        Takes (B, 3, side + 2·margin, same) uint8; gives (B, 3, side/scale, side/scale) float32 in [0, 1].
        """
        drawn = [int(torch.randint(len(self._taps), (1,), generator=generator)) for generator in generators]
        chunks = zip(regions.split(_CHUNK), self._taps[drawn].split(_CHUNK), strict=True)
        lr = torch.cat([self._blur(*chunk) for chunk in chunks])
        samples = zip(lr.split(1), drawn, generators, strict=True)
        return torch.cat([self.degradation.disturb(sample, [kernel], own) for sample, kernel, own in samples])

    def _blur(self, regions: Tensor, taps: Tensor) -> Tensor:
        """Up to 16 samples in one convolution, always of the same shape: no result depends on what is beside it."""
        count, side = len(regions), regions.shape[-1]
        images = torch.zeros(_CHUNK, 3, side, side)
        images[:count] = regions
        weight = torch.zeros(_CHUNK, 3, *taps.shape[-2:])
        weight[:count] = taps[:, None] / 255
        # One group a channel of a sample.
        whole, each = images.view(1, -1, side, side), weight.view(-1, 1, *taps.shape[-2:])
        blurred = F.conv2d(whole, each, stride=self.scale, groups=len(each))
        return blurred.view(_CHUNK, 3, *blurred.shape[-2:])[:count]
