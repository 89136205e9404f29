"""A store: photos as raw pixels in one memory-mapped file, so that a crop reads the rows it shows and decodes nothing.

The file is LMDB's. A photo lies in bands of 64 rows, uint8 RGB, row after row; a band's key is (photo, band). LMDB
reads a value whole, so bands are what keeps a crop of 128 pixels from touching all of a large photo. One more key
holds JSON: names, sizes and hashes. `packing` makes stores.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import lmdb
import numpy as np

SUFFIX = ".lmdb"
BAND = 64  # rows; 32 to 128 are equally fast, fewer cost calls, more cost reading
_NOTES = b"otsr store"
_VERSION = 1
_REMEDY = "make it again: otsr pack PHOTOS -o {}"


class StoreError(ValueError):
    """A store that cannot be read or made; the message names it and says what to do."""


@dataclass(frozen=True)
class StoredPhoto:
    """What a store knows of a photo.

    Attributes:
        name: path below the folder that was packed, with "/", without suffix.
        height, width: in pixels.
        pixels: sha256 of the pixels, (height, width, 3) uint8.
        file: sha256 of the picture file that was packed.
    """

    name: str
    height: int
    width: int
    pixels: str
    file: str


def band_key(photo: int, band: int) -> bytes:
    """Key of the rows 64·band and below; keys grow with photo and band, and all are below that of the notes."""
    return struct.pack(">IH", photo, band)


def notes_record(photos: Sequence[StoredPhoto], cleanup: float) -> tuple[bytes, bytes]:
    """Key and value of what a store says of itself. Written last: a store without it is not whole."""
    notes = {"version": _VERSION, "cleanup": cleanup, "band": BAND, "photos": [asdict(p) for p in photos]}
    return _NOTES, json.dumps(notes, ensure_ascii=False).encode()


class Store:
    """Photos in a file that `otsr pack` wrote: read-only, as often as wanted in one process, and in its children.

    Pickled, a store is its path: the process that unpickles it opens it anew. Crops may be read from many threads.

    Args:
        path: the .lmdb file.

    Raises:
        StoreError: no such file, none of `otsr pack`, damaged, or of another version.

    Attributes:
        path: absolute.
        cleanup: by which the photos were shrunk before.
        photos: what is known of each.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self._mapping = _mapping(self.path)
        notes = _read_notes(self.path, self._mapping)
        self.cleanup: float = notes["cleanup"]
        self.photos: tuple[StoredPhoto, ...] = notes["photos"]
        self._band: int = notes["band"]

    def __reduce__(self) -> tuple[type[Store], tuple[Path]]:
        return Store, (self.path,)

    def __len__(self) -> int:
        return len(self.photos)

    def shape(self, index: int) -> tuple[int, int]:
        """(height, width) of a photo."""
        photo = self.photos[index]
        return photo.height, photo.width

    def crop(self, index: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Rows top to top + height and columns left to left + width of a photo, (height, width, 3) uint8, a copy.

        Raises:
            IndexError: no such photo, or the crop is not inside it.
            StoreError: the file is damaged.
        """
        photo = self.photos[index]
        inside = top >= 0 <= left and top + height <= photo.height and left + width <= photo.width
        if not inside or min(height, width) < 1:
            raise IndexError(
                f"{self.path}: a crop of {width}×{height} at column {left}, row {top} is not inside {photo.name}, "
                f"{photo.width}×{photo.height}"
            )
        result = np.empty((height, width, 3), np.uint8)
        first, last = top // self._band, (top + height - 1) // self._band
        for band in range(first, last + 1):
            start = band * self._band
            low, high = max(top, start), min(top + height, start + self._band, photo.height)
            target = result[low - top : high - top]
            self._copy_rows(index, band, slice(low - start, high - start), slice(left, left + width), target)
        return result

    def read(self, index: int) -> np.ndarray:
        """A whole photo, (height, width, 3) uint8."""
        return self.crop(index, 0, 0, *self.shape(index))

    def verify(self) -> None:
        """Read every photo and compare it with its hash.

        Raises:
            StoreError: pixels have changed since the store was made; the photos are named.
        """
        bad = [p.name for i, p in enumerate(self.photos) if sha256(self.read(i)) != p.pixels]
        if bad:
            shown = ", ".join(bad[:5]) + (f" and {len(bad) - 5} more" if len(bad) > 5 else "")
            raise StoreError(
                f"{self.path}: the pixels of {shown} have changed since it was made; {_again(self.path)}"
            )

    def _copy_rows(self, index: int, band: int, rows: slice, columns: slice, target: np.ndarray) -> None:
        photo = self.photos[index]
        count = min(self._band, photo.height - band * self._band)
        with self._mapping.reading() as transaction:
            try:
                value = transaction.get(band_key(index, band))
            except lmdb.Error as error:
                raise _damaged(self.path, f"{photo.name}: {error}") from None
            if value is None or len(value) != count * photo.width * 3:
                found = "are missing" if value is None else f"hold {len(value)} bytes"
                raise _damaged(self.path, f"rows {band * self._band} and below of {photo.name} {found}")
            target[...] = np.frombuffer(value, np.uint8).reshape(count, photo.width, 3)[rows, columns]


def sha256(pixels: np.ndarray) -> str:
    """Hash of an array's bytes, row after row."""
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()


class _Mapping:
    """One LMDB file, opened once in a process: LMDB allows no second time, and no use in a child that was forked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._identity = _identity(path)
        self._open()

    def reading(self) -> _Mapping:
        """To be used in `with`: values are valid, and no other thread reads, until its end."""
        if self._process != os.getpid():  # forked: what was inherited is given up, and the file opened anew
            self._transaction.abort()
            self._environment.close()
            if not self.path.is_file() or _identity(self.path) != self._identity:
                raise StoreError(f"{self.path}: was replaced or removed while in use; start again")
            self._open()
        return self

    def __enter__(self) -> lmdb.Transaction:
        self._lock.acquire()
        return self._transaction

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _open(self) -> None:
        self._lock = threading.Lock()
        self._process = os.getpid()
        try:
            self._environment = lmdb.open(str(self.path), subdir=False, readonly=True, lock=False)
        except lmdb.Error as error:
            raise _foreign(self.path, str(error)) from None
        expected = (self._environment.info()["last_pgno"] + 1) * self._environment.stat()["psize"]
        found = self.path.stat().st_size
        if found < expected:  # to read beyond the end would kill the process
            self._environment.close()
            raise _damaged(
                self.path, f"{found} bytes long, expected {expected}; it was cut or not copied whole"
            )
        self._transaction = self._environment.begin(buffers=True)


_mappings: WeakValueDictionary[tuple[int, int], _Mapping] = WeakValueDictionary()
_opening = threading.Lock()


def _mapping(path: Path) -> _Mapping:
    if not path.exists():
        raise StoreError(f"{path}: no such file; make it: otsr pack PHOTOS -o {path}")
    if path.is_dir():
        what = "an LMDB folder of another program" if (path / "data.mdb").exists() else "a folder"
        what = what if any(path.iterdir()) else "an empty folder"
        raise StoreError(
            f"{path}: {what}, expected a {SUFFIX} file; make one: otsr pack PHOTOS -o NAME{SUFFIX}"
        )
    with _opening:
        identity = _identity(path)
        mapping = _mappings.get(identity)
        if mapping is None:
            mapping = _mappings[identity] = _Mapping(path)
        return mapping


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _read_notes(path: Path, mapping: _Mapping) -> dict[str, Any]:
    """The JSON of a store, checked."""
    with mapping.reading() as transaction:
        try:
            value = transaction.get(_NOTES)
            stored = None if value is None else bytes(value)
            entries = transaction.stat()["entries"]
        except lmdb.Error as error:
            raise _damaged(path, str(error)) from None
    if stored is None:
        raise _foreign(path, f"its {entries} entries are not of this program")
    try:
        notes: dict[str, Any] = json.loads(stored)
        version = notes["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"its notes cannot be read: {error!r}") from None
    if version != _VERSION:
        remedy = "update otsr" if version > _VERSION else _again(path)
        raise StoreError(
            f"{path}: a store of version {version}, this program reads version {_VERSION}; {remedy}"
        )
    try:
        notes["photos"] = tuple(StoredPhoto(**photo) for photo in notes["photos"])
        bands = sum(-(-photo.height // notes["band"]) for photo in notes["photos"])
        notes["cleanup"] = float(notes["cleanup"])
    except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise _damaged(path, f"its notes cannot be read: {error!r}") from None
    if entries != bands + 1:
        raise _damaged(path, f"{entries} entries, expected {bands + 1}")
    return notes


def _again(path: Path) -> str:
    return _REMEDY.format(path.name)


def _damaged(path: Path, what: str) -> StoreError:
    return StoreError(f"{path}: this store is damaged ({what}); copy it again, or {_again(path)}")


def _foreign(path: Path, what: str) -> StoreError:
    return StoreError(f"{path}: no store of otsr ({what}); {_again(path)}")
