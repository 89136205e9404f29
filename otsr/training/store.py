"""Stores: photos as raw pixels in one file, so that a crop reads the rows it shows and decodes nothing.

The file is LMDB's. A photo lies in bands of 64 rows, uint8 RGB, row after row, under keys (photo, band): LMDB reads a
value whole, and bands keep a crop of 128 pixels from touching all of a large photo. One more entry holds JSON: names,
sizes and hashes. `sources.pack` makes stores.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import lmdb
import numpy as np

SUFFIX = ".lmdb"
BAND = 64  # rows; 32 to 128 are equally fast, fewer cost calls, more cost reading
_NOTES, _VERSION = b"otsr store", 1
_PAGE = 16384  # bytes; LMDB rounds a band up to the system's page, which is 4 to 16 KiB


class DataError(ValueError):
    """Training data that cannot be used."""


class StoredPhoto(NamedTuple):
    """What a store knows of a photo: its name and size, and sha256 of the file it was packed from."""

    name: str
    height: int
    width: int
    file: str


class Store:
    """Photos in a file that `otsr pack` wrote, read-only. Crops may be read in any thread and any process.

    Raises DataError: no such file, not made by `otsr pack`, damaged, or of another version.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        if not self.path.is_file():
            what = "no such file" if not self.path.exists() else f"a folder; expected a {SUFFIX} file"
            raise DataError(f"{self.path}: {what}; make one: otsr pack PHOTOS -o NAME{SUFFIX}")
        self._identity = _identity(self.path)
        environment = self._environment()
        try:
            with environment.begin() as transaction:
                stored = transaction.get(_NOTES)
            notes: dict[str, Any] = json.loads(stored or b"{}")
            made_by = notes.get("version"), notes.get("band")
            if made_by == (_VERSION, BAND):
                self.cleanup = float(notes["cleanup"])  # by which the photos were shrunk
                self.photos = [StoredPhoto(**photo) for photo in notes["photos"]]
        except (lmdb.Error, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise self._damaged(repr(error)) from None
        if made_by != (_VERSION, BAND):
            other = f"version {made_by[0]}, bands of {made_by[1]} rows; expected {_VERSION} and {BAND}"
            raise self._damaged(other if stored else "not made by otsr pack")

    def __reduce__(self) -> tuple[type[Store], tuple[Path]]:
        return Store, (self.path,)  # a process that unpickles it opens the file for itself

    def __len__(self) -> int:
        return len(self.photos)

    def shape(self, index: int) -> tuple[int, int]:
        """(height, width) of a photo."""
        return self.photos[index][1:3]

    def crop(self, index: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """(height, width, 3) uint8 from (top, left) on, a copy. Raises DataError: the file is damaged."""
        photo, result = self.photos[index], np.empty((height, width, 3), np.uint8)
        with self._environment().begin(buffers=True) as transaction:
            for start in range(top // BAND * BAND, top + height, BAND):
                try:
                    value = transaction.get(band_key(index, start // BAND))
                except lmdb.Error as error:
                    raise self._damaged(f"{photo.name}: {error}") from None
                count = min(BAND, photo.height - start)
                if value is None or len(value) != count * photo.width * 3:
                    raise self._damaged(f"rows {start} and below of {photo.name} are missing or cut")
                rows = np.frombuffer(value, np.uint8).reshape(count, photo.width, 3)
                low, high = max(top, start), min(top + height, start + count)
                result[low - top : high - top] = rows[low - start : high - start, left : left + width]
        return result

    def _environment(self) -> lmdb.Environment:
        """The file, opened at most once in this process, as LMDB asks for."""
        if environment := _opened.get(self._identity):
            return environment
        try:
            if _identity(self.path) != self._identity:
                raise FileNotFoundError
            environment = lmdb.open(str(self.path), subdir=False, readonly=True, lock=False)
            expected = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
        except FileNotFoundError:
            raise DataError(f"{self.path}: replaced or removed while in use; start again") from None
        except lmdb.Error as error:
            raise self._damaged(f"not an LMDB file: {error}") from None
        if self.path.stat().st_size < expected:  # reading beyond the end would kill the process
            environment.close()
            raise self._damaged(f"cut, or not copied whole: expected {expected} bytes")
        return _opened.setdefault(self._identity, environment)

    def _damaged(self, what: str) -> DataError:
        remedy = f"copy it again, or make it again: otsr pack PHOTOS -o {self.path.name}"
        return DataError(f"{self.path}: cannot be used as a store ({what}); {remedy}")


_opened: dict[tuple[int, int], lmdb.Environment] = {}


def _close_inherited() -> None:
    """LMDB must not be used across a fork: a child gives up what it inherited, and opens anew when it reads."""
    for environment in _opened.values():
        environment.close()
    _opened.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def band_key(photo: int, band: int) -> bytes:
    """Of the rows 64·band and below; keys grow with photo and band, and all come before the notes'."""
    return struct.pack(">IH", photo, band)


def space_needed(sizes: Iterable[tuple[int, int]]) -> int:
    """Bytes that the pixels of photos of such (height, width) take in a store."""
    return sum(-(-height // BAND) * (BAND * width * 3 + _PAGE) for height, width in sizes)


def write_store(path: Path, photos: Iterable[tuple[str, np.ndarray, str]], cleanup: float, space: int) -> int:
    """Write photos as they come (name, (height, width, 3) uint8, hash of the file); return how many, or DataError."""
    known: list[StoredPhoto] = []
    try:
        size = space + space // 4 + (64 << 20)  # an upper bound, with room for LMDB's tree
        with lmdb.open(str(path), subdir=False, lock=False, sync=False, map_size=size) as environment:
            for name, pixels, file in photos:
                with environment.begin(write=True) as transaction:
                    for band in range(-(-len(pixels) // BAND)):
                        rows = pixels[band * BAND : (band + 1) * BAND].tobytes()
                        transaction.put(band_key(len(known), band), rows, append=True)
                height, width, _ = pixels.shape
                known.append(StoredPhoto(name, height, width, file))
            notes: dict[str, Any] = {"version": _VERSION, "cleanup": cleanup, "band": BAND}
            notes["photos"] = [photo._asdict() for photo in known]
            with environment.begin(write=True) as transaction:  # last: a store without them is not whole
                transaction.put(_NOTES, json.dumps(notes, ensure_ascii=False).encode(), append=True)
            environment.sync(True)
    except lmdb.Error as error:
        raise DataError(f"cannot be written ({error}); make room, or choose another disk") from None
    return len(known)
