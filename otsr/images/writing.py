"""Write pictures whole or not at all."""

import os
import secrets
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, PngImagePlugin
from torch import Tensor

from otsr.images.decoding import explained
from otsr.images.picture import ImageError, to_pil

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
DEEP = ("PNG", "TIFF")
"""Formats that hold 16 bits a sample."""
_MASK = os.umask(0o077)  # can only be read by setting it: once, as all threads share it
os.umask(_MASK)
_TIFF_END = 1 << 32  # bytes that a TIFF can address
_JPEG_EXIF = 65_533  # bytes
_BAND = 256  # rows of a 16-bit picture that are compressed at one time
_TOLD = (270, 271, 272, 305, 306, 315, 33432)  # description, maker, model, software, date, artist, copyright
_ORIENTATION, _CAMERA, _LOCATION = 0x0112, 0x8769, 0x8825
_STALE = (37500, 40962, 40963, 40965)  # the maker's own notes (previews too), width, height, interoperability


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path` that becomes `path` when the block ends well, and vanishes when not.

    A reader never sees half a file: the content is flushed to disk, then renamed in one step.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem[:40]}.{secrets.token_hex(4)}.part{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        with suppress(OSError):  # a network drive or a USB stick may let us write, and not set rights
            temporary.chmod(0o666 & ~_MASK)  # safetensors writes files that nobody else may read
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(
    path: str | os.PathLike[str], width: int, height: int, *, alpha: bool = False, exif: bytes = b""
) -> str:
    """The format that `write` would use, found before the work that makes the picture; else an ImageError."""
    path = Path(path)
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        what = path.suffix or "a file without suffix"
        raise ImageError(f"{path}: cannot write {what}; use {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise ImageError(f"{path}: the folder {path.parent} does not exist")
    if alpha and kind == "JPEG":
        raise ImageError(f"{path}: JPEG holds no transparency; write PNG, WebP or TIFF")
    limit = {"JPEG": 65_535, "WEBP": 16_383}.get(kind)
    if limit and max(width, height) > limit:
        raise ImageError(f"{path}: {width}×{height} is too large for {kind} ({limit}); write PNG")
    if kind == "JPEG" and len(exif) > _JPEG_EXIF:
        found = f"{len(exif) >> 10} KB of metadata are too much for JPEG (64)"
        raise ImageError(f"{path}: {found}; write PNG, or do not keep it")
    if kind == "TIFF" and width * height * (3 + alpha) >= _TIFF_END - (1 << 16):  # in 8 bits; some for tags
        raise ImageError(f"{path}: {width}×{height} is too large for TIFF, which ends at 4 GB; write PNG")
    return kind


def write(
    path: str | os.PathLike[str], image: Tensor | np.ndarray | Image.Image,
    *, icc: bytes | None = None, quality: int = 95, exif: bytes = b"",
) -> None:  # fmt: skip
    """Write a picture atomically; the suffix chooses PNG, JPEG, WebP or TIFF.

    Args:
        image: tensor (3, H, W) in [0, 1], array (H, W) or (H, W, 2|3|4) of uint8 or (PNG and TIFF) uint16, or PIL
            image; with transparency not for JPEG.
        quality: of JPEG and WebP, 1 to 100.
        exif: metadata, see `metadata`; a 16-bit TIFF goes without.

    Raises:
        ImageError: unknown suffix, missing folder, alpha in a JPEG, a size or metadata that the format cannot hold.
        OSError: the disk is full or not writable; nothing is left behind.
    """
    path = Path(path)
    if isinstance(image, Tensor):
        image = to_pil(image)
    if isinstance(image, np.ndarray) and image.dtype != np.uint16:
        image = Image.fromarray(image)
    if isinstance(image, Image.Image):
        kind = check_writable(path, *image.size, alpha="A" in image.mode, exif=exif)
        options: dict[str, object] = {"icc_profile": icc} if icc else {}
        if kind in ("JPEG", "WEBP"):
            options |= {"quality": quality, "subsampling": 0}  # the latter for JPEG alone
        if kind == "WEBP" and image.mode in ("L", "LA"):  # becomes RGB, which a profile of grey does not fit
            options["icc_profile"] = b""
        with atomic_path(path) as temporary:
            image.save(temporary, kind, exif=exif, **options)
        return
    kind = check_writable(path, image.shape[1], image.shape[0])
    if kind not in DEEP:
        raise ImageError(f"{path}: {kind} holds 8 bits a sample, not 16; write PNG or TIFF")
    array = image[..., None] if image.ndim == 2 else image
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        if kind == "PNG":
            _write_png(file, array, icc, exif)
        else:
            _write_tiff(file, array, icc)


def _write_png(file: BinaryIO, array: np.ndarray, icc: bytes | None, exif: bytes) -> None:
    """Write (H, W, 1|2|3|4) uint16 as PNG."""
    height, width, channels = array.shape
    chunk = partial(PngImagePlugin.putchunk, file)
    file.write(b"\x89PNG\r\n\x1a\n")
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    if icc:
        chunk(b"iCCP", b"ICC Profile\0\0", zlib.compress(icc))
    if exif:
        chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    packer = zlib.compressobj()
    above = np.zeros((1, 2 * width * channels), np.uint8)
    for start in range(0, height, _BAND):
        band = array[start : start + _BAND].astype(">u2", order="C")
        lines = band.view(np.uint8).reshape(len(band), -1)
        differences = lines - np.concatenate([above, lines[:-1]])  # filter 2, Up: what the row above lacks
        above = lines[-1:]
        chunk(b"IDAT", packer.compress(np.insert(differences, 0, 2, axis=1).tobytes()))
    chunk(b"IDAT", packer.flush())
    chunk(b"IEND")


def _write_tiff(file: BinaryIO, array: np.ndarray, icc: bytes | None) -> None:
    """Write (H, W, 1|2|3|4) uint16 as little-endian TIFF, deflated; grey with alpha, which few read, as RGBA."""
    if array.shape[2] == 2:
        array, icc = array[..., [0, 0, 0, 1]], None  # a profile of grey does not fit
    height, width, channels = array.shape
    file.write(b"II*\0\0\0\0\0")
    offsets, sizes = [], []
    for start in range(0, height, _BAND):
        band = array[start : start + _BAND].astype("<u2", order="C")
        band[:, 1:] = np.diff(band, axis=1)  # predictor 2: what the left neighbour lacks
        offsets.append(file.tell())
        sizes.append(file.write(zlib.compress(band.tobytes())))
        if file.tell() >= _TIFF_END - (1 << 24):  # some for tags and profile
            raise ImageError("too large for TIFF, which ends at 4 GB; write PNG")
    entries: list[tuple[int, str, list[int] | bytes]] = [
        (256, "I", [width]), (257, "I", [height]), (258, "H", [16] * channels), (259, "H", [8]),
        (262, "H", [2 if channels > 2 else 1]), (273, "I", offsets), (277, "H", [channels]), (278, "I", [_BAND]),
        (279, "I", sizes), (284, "H", [1]), (317, "H", [2]),
        *([(338, "H", [2])] if channels == 4 else []), *([(34675, "B", icc)] if icc else []),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries))
    for tag, kind, values in entries:
        data = struct.pack(f"<{len(values)}{kind}", *values)
        if len(data) > 4:
            place, data = file.tell(), data + b"\0" * (len(data) % 2)
            file.write(data)
            data = struct.pack("<I", place)
        directory += struct.pack("<HHI4s", tag, {"B": 7, "H": 3, "I": 4}[kind], len(values), data)
    start = file.tell() + file.tell() % 2
    file.seek(start)
    file.write(directory + bytes(4))
    file.seek(4)
    file.write(struct.pack("<I", start))


def metadata(path: str | os.PathLike[str], *, location: bool = False) -> bytes:
    """EXIF of a picture that stays true of its enlargement: camera, settings, date, author; b"" where there is none.

    Without thumbnail, maker's notes, sizes and, unless asked for, location (GPS); upright, as `open_picture` turns it.
    An ImageError if it is damaged.
    """
    with explained(path), Image.open(path) as image:
        found, kept = image.getexif(), Image.Exif()
        kept.update(_writable(path, {tag: found[tag] for tag in _TOLD if tag in found}))
        for directory in (_CAMERA, _LOCATION) if location else (_CAMERA,):
            inside = {tag: value for tag, value in found.get_ifd(directory).items() if tag not in _STALE}
            if inside := _writable(path, inside, directory):
                kept[directory] = inside
        if not len(kept):
            return b""
        kept[_ORIENTATION] = 1
        return kept.tobytes()


def _writable(path: str | os.PathLike[str], tags: dict[int, Any], directory: int | None = None) -> dict[int, Any]:
    """The tags as Pillow writes them rightly, without, and with a note of, those that some cameras get wrong.

    Pillow takes letters for Latin-1, whatever they are, and writes them as ASCII: give it the file's own bytes.
    """
    kept = {}
    for tag, value in tags.items():
        own = value.encode("latin-1", "replace") if isinstance(value, str) and not value.isascii() else value
        trial = Image.Exif()
        trial[directory or tag] = {tag: own} if directory else own
        try:
            trial.tobytes()
            kept[tag] = own
        except Exception as error:  # whatever Pillow stumbles over
            warnings.warn(f"{path}: metadata {tag} is damaged and left out ({error})", stacklevel=3)
    return kept
