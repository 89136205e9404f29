"""16-bit pictures, of which Pillow reads only the upper bytes of colour, and writes no colour at all.

Reading lets Pillow decode twice: a big-endian sample taken for a little-endian one shows its lower byte. PNG: W3C
recommendation, third edition; TIFF: Adobe, revision 6.0.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

_BAND = 256  # rows that are compressed at one time
_OTHER = {"16B": "16L", "16L": "16B", "16N": "16B" if struct.pack("=H", 1) == b"\1\0" else "16L"}
_COLOURS = ("RGB;16", "RGBA;16", "RGBX;16")


def colours(path: Path, image: Image.Image) -> np.ndarray | None:
    """(H, W, 2|3|4) uint16 of the picture in a file, upright; None where it has 8 bits, or is grey without alpha.

    Args:
        image: the same file, opened and not yet decoded; it is decoded.
    """
    modes = {_raw_mode(tile) for tile in getattr(image, "tile", ())}
    if modes == {"LA;16B"}:  # opened as RGBA; its four bytes are those of grey and alpha
        _take_for(image, "LA;16B", "RGBA")
        return np.ascontiguousarray(ImageOps.exif_transpose(image)).view(">u2").astype(np.uint16)
    if len(modes) != 1 or not (mode := modes.pop()).startswith(_COLOURS):
        return None
    with Image.open(path) as again:
        _take_for(again, mode, mode[:-3] + _OTHER[mode[-3:]])
        lower = np.asarray(ImageOps.exif_transpose(again))
    values = np.asarray(ImageOps.exif_transpose(image)).astype(np.uint16)
    values <<= 8
    values |= lower
    return values


def _raw_mode(tile: tuple) -> str:
    return str(tile[3][0] if isinstance(tile[3], tuple) else tile[3])


def _take_for(image: Image.Image, mode: str, other: str) -> None:
    image.tile = [  # type: ignore[attr-defined]
        tile._replace(args=(other, *tile.args[1:]) if isinstance(tile.args, tuple) else other)
        for tile in image.tile  # type: ignore[attr-defined]
    ]


def write_png(file: BinaryIO, array: np.ndarray, icc: bytes | None = None, exif: bytes = b"") -> None:
    """Write (H, W) or (H, W, 2|3|4) uint16 as PNG."""

    def chunk(name: bytes, *parts: bytes) -> None:
        data = b"".join(parts)
        file.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))

    array = array[..., None] if array.ndim == 2 else array
    height, width, channels = array.shape
    file.write(b"\x89PNG\r\n\x1a\n")
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    if icc:
        chunk(b"iCCP", b"ICC Profile\0\0", zlib.compress(icc))
    if exif:
        chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    packer = zlib.compressobj()
    above = np.zeros((1, 2 * width * channels), np.uint8)
    for band in _bands(array, ">u2"):
        lines = band.view(np.uint8).reshape(len(band), -1)
        differences = lines - np.concatenate([above, lines[:-1]])  # filter 2, Up: what the row above lacks
        above = lines[-1:]
        rows = np.insert(differences, 0, 2, axis=1)
        chunk(b"IDAT", packer.compress(rows.tobytes()))
    chunk(b"IDAT", packer.flush())
    chunk(b"IEND")


def write_tiff(file: BinaryIO, array: np.ndarray, icc: bytes | None = None) -> None:
    """Write (H, W) or (H, W, 2|3|4) uint16 as little-endian TIFF, deflated; grey with alpha, which few read, as RGBA.

    Raises:
        ValueError: it takes more than the 4 GB that TIFF can address.
    """
    array = array[..., None] if array.ndim == 2 else array
    array = array[..., [0, 0, 0, 1]] if array.shape[2] == 2 else array
    height, width, channels = array.shape
    file.write(b"II*\0\0\0\0\0")
    offsets, sizes = [], []
    for band in _bands(array, "<u2"):
        band[:, 1:] = np.diff(band, axis=1)  # predictor 2: what the left neighbour lacks
        offsets.append(file.tell())
        sizes.append(file.write(zlib.compress(band.tobytes())))
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
        directory += struct.pack("<HHI", tag, {"B": 7, "H": 3, "I": 4}[kind], len(values)) + data.ljust(
            4, b"\0"
        )
    start = file.tell() + file.tell() % 2
    if start + len(directory) >= 1 << 32:
        raise ValueError("a TIFF ends at 4 GB; write PNG")
    file.seek(start)
    file.write(directory + bytes(4))
    file.seek(4)
    file.write(struct.pack("<I", start))


def _bands(array: np.ndarray, kind: str) -> Iterator[np.ndarray]:
    """Copies of some rows at a time, as samples of that kind."""
    for start in range(0, len(array), _BAND):
        yield array[start : start + _BAND].astype(kind, order="C")
