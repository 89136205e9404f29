"""Pictures in and out: read anything, write atomically, tensors, luma, crops.

Everywhere in the package an image is a float32 tensor of sRGB values in [0, 1], (3, H, W) or (B, 3, H, W). Decoding,
writing and resizing are next door and have their names here too.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from otsr.decoding import HEIF
from otsr.decoding import MAX_PIXELS as MAX_PIXELS
from otsr.decoding import ImageError as ImageError
from otsr.decoding import ImageSource as ImageSource
from otsr.decoding import Picture as Picture
from otsr.decoding import open_picture as open_picture
from otsr.resampling import resize as resize
from otsr.writing import DEEP as DEEP
from otsr.writing import FORMATS as FORMATS
from otsr.writing import atomic_path as atomic_path
from otsr.writing import check_writable as check_writable
from otsr.writing import metadata as metadata
from otsr.writing import to_array as to_array
from otsr.writing import to_pil as to_pil
from otsr.writing import write as write

_HEIF = frozenset({".heic", ".heif", ".hif"})
SUFFIXES = _HEIF | {
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".avif", ".tif", ".tiff", ".bmp", ".dib",
    ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".psd", ".tga", ".pcx", ".qoi",
}  # fmt: skip
"""Of the pictures that a folder is searched for."""
UNREADABLE = frozenset(
    {".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2", ".pef", ".srw"}
)
"""Of pictures that cannot be read; where a folder holds some, they are named and not passed over in silence."""


def read(source: ImageSource) -> Tensor:
    """A picture as a tensor (3, H, W) in [0, 1], transparency composited on white; see `open_picture`."""
    picture = open_picture(source)
    image = torch.from_numpy(picture.pixels).permute(2, 0, 1).float().div(picture.white)
    if picture.alpha is None:
        return image.contiguous()
    alpha = torch.from_numpy(picture.alpha).float().div(picture.white)
    return (image * alpha + (1 - alpha)).contiguous()


def spread_colours(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """(H, W, 3) whose fully transparent pixels have the colour of the nearest visible one: what lies there is no one's.

    Args:
        alpha: (H, W); 0 is transparent. Where nothing is visible, the pixels stay as they are.
    """
    hidden = alpha < np.iinfo(alpha.dtype).max / 255  # less than 1 of 255
    if not hidden.any() or hidden.all():
        return pixels
    rows, columns = distance_transform_edt(hidden, return_distances=False, return_indices=True)
    return pixels[rows, columns]


def find_images(
    paths: Iterable[str | os.PathLike[str]], on_error: Callable[[Path, str], None] | None = None
) -> list[Path]:
    """Files named by `paths`, and the pictures (by suffix, sorted) below the folders among them.

    Hidden files are passed over. Folders that cannot be read, loops of links, missing paths and pictures of formats
    that cannot be read go to `on_error(path, reason)` (a warning by default) and do not stop the walk.
    """
    report = on_error or (lambda path, reason: warnings.warn(f"{path}: {reason}", stacklevel=3))
    found: list[Path] = []
    for path in map(Path, paths):
        try:
            if path.is_dir():
                found += _walk(path, frozenset(), report)
            elif path.exists():
                found.append(path)
            else:
                report(path, "no such file or folder")
        except OSError as error:
            report(path, error.strerror or str(error))
    return list(dict.fromkeys(found))


def _walk(folder: Path, above: frozenset[Path], report: Callable[[Path, str], None]) -> list[Path]:
    real = folder.resolve()
    if real in above:
        report(folder, "a link that leads back to a folder above it; passed over")
        return []
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        report(folder, error.strerror or str(error))
        return []
    found: list[Path] = []
    for entry in entries:
        path = folder / entry.name
        try:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                found += _walk(path, above | {real}, report)
            elif reason := _unreadable(path.suffix.lower()):
                report(path, f"{reason}; passed over")
            elif path.suffix.lower() in SUFFIXES:
                found.append(path)
        except OSError as error:
            report(path, error.strerror or str(error))
    return found


def _unreadable(suffix: str) -> str | None:
    if suffix in _HEIF and not HEIF:
        return "HEIC is read by pillow-heif, which is missing here: pip install pillow-heif"
    return f"{suffix} cannot be read; convert it to PNG, TIFF or JPEG" if suffix in UNREADABLE else None


def luma(image: Tensor) -> Tensor:
    """Luminance of BT.601, as MATLAB's rgb2ycbcr: Y = (65.481 R + 128.553 G + 24.966 B + 16) / 255.

    (…, 3, H, W) becomes (…, 1, H, W), with values in [16/255, 235/255]: the channel on which papers measure
    "PSNR-Y".
    """
    if image.dim() < 3 or image.shape[-3] != 3:
        raise ValueError(f"luma needs (…, 3, H, W), got {tuple(image.shape)}")
    weights = image.new_tensor([65.481, 128.553, 24.966]).view(3, 1, 1)
    return ((image * weights).sum(-3, keepdim=True) + 16) / 255


def crop_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Cut right and bottom so that height and width are multiples of `multiple`."""
    height, width = image.shape[-2:]
    if height < multiple or width < multiple:
        raise ValueError(f"an image of {width}×{height} holds no multiple of {multiple}")
    return image[..., : height // multiple * multiple, : width // multiple * multiple]
