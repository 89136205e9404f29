"""Write pictures whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from otsr import deep
from otsr.decoding import ImageError, _tensor_to_hwc

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
DEEP = ("PNG", "TIFF")
"""Formats that hold 16 bits a sample."""
_TOLD = (270, 271, 272, 305, 306, 315, 33432)  # description, maker, model, software, date, artist, copyright
_ORIENTATION, _CAMERA, _LOCATION = 0x0112, 0x8769, 0x8825
_STALE = (37500, 40962, 40963, 40965)  # the maker's own notes (previews too), width, height, interoperability


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path` that becomes `path` when the block ends well, and vanishes when not.

    A reader never sees half a file: the content is flushed to disk, then renamed in one step.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(
        prefix=f".{path.stem[:40]}.", suffix=f".part{path.suffix}", dir=path.parent
    )
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def to_array(image: Tensor) -> np.ndarray:
    """(H, W, 3) uint8 of a tensor (3, H, W) in [0, 1]: clipped and rounded, not truncated."""
    return _tensor_to_hwc(image.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8))


def to_pil(image: Tensor) -> Image.Image:
    """PIL image of a tensor (3, H, W) in [0, 1]."""
    array = to_array(image)
    return Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)


def check_writable(path: str | os.PathLike[str], width: int, height: int, *, alpha: bool = False) -> str:
    """The format that `write` would use, found before the work that makes the picture.

    Raises:
        ImageError: unknown suffix, missing folder, alpha in a JPEG, or a size that the format cannot hold.
    """
    path = Path(path)
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ImageError(
            f"{path}: cannot write {path.suffix or 'a file without suffix'}; use {', '.join(FORMATS)}"
        )
    if not path.parent.is_dir():
        raise ImageError(f"{path}: the folder {path.parent} does not exist")
    if alpha and kind == "JPEG":
        raise ImageError(f"{path}: JPEG holds no transparency; write PNG, WebP or TIFF")
    limit = {"JPEG": 65_535, "WEBP": 16_383}.get(kind)
    if limit and max(width, height) > limit:
        raise ImageError(f"{path}: {width}×{height} is too large for {kind} ({limit}); write PNG")
    return kind


def write(
    path: str | os.PathLike[str],
    image: Tensor | np.ndarray | Image.Image,
    *,
    icc: bytes | None = None,
    quality: int = 95,
    exif: bytes = b"",
) -> None:
    """Write a picture atomically; the suffix chooses PNG, JPEG, WebP or TIFF.

    Args:
        image: tensor (3, H, W) in [0, 1], array (H, W) or (H, W, 2|3|4) of uint8 or (PNG and TIFF) uint16, or PIL
            image; with transparency not for JPEG.
        quality: of JPEG and WebP, 1 to 100.
        exif: metadata, see `metadata`; a 16-bit TIFF goes without.

    Raises:
        ImageError: unknown suffix, missing folder, alpha in a JPEG, or a size that the format cannot hold.
        OSError: the disk is full or not writable; nothing is left behind.
    """
    path = Path(path)
    if isinstance(image, np.ndarray) and image.dtype == np.uint16:
        _write_deep(path, image, icc, exif)
        return
    if isinstance(image, Tensor):
        image = to_pil(image)
    elif isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    kind = check_writable(path, *image.size, alpha="A" in image.mode)
    options: dict[str, object] = {"icc_profile": icc} if icc else {}
    if kind in ("JPEG", "WEBP"):
        options["quality"] = quality
    if kind == "JPEG":
        options["subsampling"] = 0
    with atomic_path(path) as temporary:
        image.save(temporary, kind, exif=exif, **options)


def _write_deep(path: Path, array: np.ndarray, icc: bytes | None, exif: bytes) -> None:
    kind = check_writable(path, array.shape[1], array.shape[0])
    if kind not in DEEP:
        raise ImageError(f"{path}: {kind} holds 8 bits a sample, not 16; write PNG or TIFF")
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        if kind == "PNG":
            deep.write_png(file, array, icc, exif)
        else:
            deep.write_tiff(file, array, icc)


def metadata(path: str | os.PathLike[str], *, location: bool = False) -> bytes:
    """EXIF of a picture that stays true of its enlargement: camera, settings, date, author; b"" where there is none.

    Without thumbnail, maker's notes and sizes; the orientation is upright, as `open_picture` turns it.

    Args:
        location: keep where it was taken (GPS).
    """
    with Image.open(path) as image:
        found = image.getexif()
        kept = Image.Exif()
        for tag in _TOLD:
            if tag in found:
                kept[tag] = found[tag]
        for directory in (_CAMERA, _LOCATION) if location else (_CAMERA,):
            inside = {tag: value for tag, value in found.get_ifd(directory).items() if tag not in _STALE}
            if inside:
                kept[directory] = inside
    if not len(kept):
        return b""
    kept[_ORIENTATION] = 1
    return kept.tobytes()
