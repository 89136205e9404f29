"""Where training photos are: in folders, in stores, in the course; read alike, as one list.

Photos of folders are decoded when first shown and kept in memory as far as a budget goes. Those of stores stay where
they are.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from otsr import datasets
from otsr.images import SUFFIXES
from otsr.machine import available_memory
from otsr.training.cleaning import clean_photo, cleaned_size
from otsr.training.draws import one_thread
from otsr.training.packing import file_hash, name_photos
from otsr.training.store import SUFFIX, Store

MEMORY = 4 << 30  # bytes of decoded photos that are kept, but no more than half of what is free
COURSE = {f"photos/{split}": split for split in ("train", "val", "test")}
_SHOWN = 5  # offenders that a message lists


class DataError(ValueError):
    """Training data that cannot be used; the message names the files and says what to do."""


class Photos:
    """The photos of several places, in the order of places and names.

    Args:
        places: folders, .lmdb stores, or names of `COURSE`.
        cleanup: by which photos of folders are shrunk when they are read; stores must have been packed with it.
        memory: bytes of decoded photos to keep; None: `MEMORY`.

    Raises:
        DataError: a place holds no photos, some cannot be read (each is named), or a store has another clean-up.
        StoreError: a store cannot be opened.
    """

    def __init__(self, places: Sequence[str], cleanup: float = 1.0, memory: int | None = None) -> None:
        self.cleanup = cleanup
        self.names: list[str] = []
        self.shapes: list[tuple[int, int]] = []
        self._where: list[Path | tuple[Store, int]] = []
        problems: list[str] = []
        for place in places:
            if place in COURSE:
                self._add_files({path.stem: path for path in _course_photos(place)}, problems)
            elif Path(place).suffix.lower() == SUFFIX:
                self._add_store(Store(place))
            else:
                self._add_files(_folder(Path(place), problems), problems)
        if problems:
            raise DataError(f"{listed(problems, '; ')}: repair or remove what cannot be read")
        free = available_memory()
        self._room = memory if memory is not None else min(MEMORY, MEMORY if free is None else free // 2)
        self._kept: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.names)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_kept": {}}  # a process that unpickles this decodes for itself

    def place(self, index: int) -> str:
        """File of a photo, or store and name: for messages."""
        where = self._where[index]
        return str(where) if isinstance(where, Path) else f"{where[0].path}: {self.names[index]}"

    def read(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8; not to be written to."""
        where = self._where[index]
        if not isinstance(where, Path):
            return where[0].read(where[1])
        if index not in self._kept:
            pixels = self._decode(index, where)
            self._keep(index, pixels)
            return pixels
        return self._kept[index]

    def crop(self, index: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """(height, width, 3) uint8 of a photo; not to be written to."""
        where = self._where[index]
        if not isinstance(where, Path):
            return where[0].crop(where[1], top, left, height, width)
        return self.read(index)[top : top + height, left : left + width]

    def share_memory(self, processes: int) -> None:
        """Divide the memory to keep photos in: so many processes each decode for themselves."""
        self._room //= max(1, processes)
        needed = sum(self._size(index) for index, where in enumerate(self._where) if isinstance(where, Path))
        if needed > self._room:
            warnings.warn(
                f"decoded photos take {needed / 1e9:.2f} GB, {self._room / 1e9:.2f} GB are kept in memory: the rest is "
                f"decoded anew for each crop, which is slow; pack them: otsr pack FOLDER -o NAME{SUFFIX}",
                stacklevel=3,
            )

    def preload(self) -> None:
        """Decode now what fits into memory, in many threads, so that forked processes find it."""
        chosen, room = [], self._room
        for index, where in enumerate(self._where):
            if isinstance(where, Path) and index not in self._kept and self._size(index) <= room:
                chosen.append((index, where))
                room -= self._size(index)
        threads = min(os.cpu_count() or 1, 16)
        with (
            one_thread(),
            ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool,
        ):
            try:
                made = pool.map(lambda job: self._decode(*job), chosen)
                bar = tqdm(made, "reading photos", len(chosen), unit="photo", delay=2, disable=None)
                for (index, _), pixels in zip(chosen, bar, strict=True):
                    self._keep(index, pixels)
            finally:
                pool.shutdown(cancel_futures=True)

    def fingerprint(self) -> str:
        """sha256 of names, contents of the picture files, and clean-up: the same for a folder and for its store."""
        digest = hashlib.sha256(f"cleanup {self.cleanup:g}\n".encode())
        for name, where in zip(self.names, self._where, strict=True):
            content = file_hash(where) if isinstance(where, Path) else where[0].photos[where[1]].file
            digest.update(f"{content} {name}\n".encode())
        return digest.hexdigest()

    def _decode(self, index: int, path: Path) -> np.ndarray:
        with one_thread():
            pixels = clean_photo(path, self.cleanup)
        if pixels.shape[:2] != self.shapes[index]:
            expected, found = (
                f"{width}×{height}" for height, width in (self.shapes[index], pixels.shape[:2])
            )
            raise DataError(
                f"{path}: {found} pixels, but {expected} at the start; was it changed? Start again"
            )
        return pixels

    def _keep(self, index: int, pixels: np.ndarray) -> None:
        if pixels.nbytes <= self._room:
            self._room -= pixels.nbytes
            self._kept[index] = pixels

    def _size(self, index: int) -> int:
        height, width = self.shapes[index]
        return 3 * height * width

    def _add_store(self, store: Store) -> None:
        if store.cleanup != self.cleanup:
            raise DataError(
                f"{store.path}: packed with a clean-up of {store.cleanup:g}, but the recipe says {self.cleanup:g}; "
                f"set cleanup to {store.cleanup:g}, or pack again: "
                f"otsr pack PHOTOS -o NAME{SUFFIX} --cleanup {self.cleanup:g}"
            )
        for index, photo in enumerate(store.photos):
            self.names.append(photo.name)
            self.shapes.append((photo.height, photo.width))
            self._where.append((store, index))

    def _add_files(self, files: dict[str, Path], problems: list[str]) -> None:
        for name, path in files.items():
            try:
                self.shapes.append(cleaned_size(path, self.cleanup))
            except (ValueError, OSError) as error:
                problems.append(str(error))
                continue
            self.names.append(name)
            self._where.append(path)


def listed(offenders: Sequence[str], separator: str = ", ") -> str:
    """The first few, and how many more."""
    more = f"{separator}and {len(offenders) - _SHOWN} more" if len(offenders) > _SHOWN else ""
    return separator.join(offenders[:_SHOWN]) + more


def _course_photos(place: str) -> list[Path]:
    if Path(place).exists():
        raise DataError(
            f"{place}: is the course's name for its own photos; name the folder ./{place} by its full path"
        )
    return datasets.photos(COURSE[place])


def _folder(folder: Path, problems: list[str]) -> dict[str, Path]:
    if not folder.exists():
        raise DataError(
            f"{folder}: no such folder; expected a folder of pictures, a {SUFFIX} store, or photos/train"
        )
    if not folder.is_dir():
        raise DataError(f"{folder}: a file; expected a folder of pictures, or a {SUFFIX} store")
    try:
        files = name_photos([folder], problems)
    except ValueError as error:
        raise DataError(str(error)) from None
    if not files and not problems:
        raise DataError(f"{folder}: no pictures in this folder (looked for {', '.join(sorted(SUFFIXES))})")
    return files


def match_pairs(hr: Photos, lr: Photos, scale: int) -> list[int]:
    """For each HR photo the number of its LR photo: of the same name, or of that name with "x4" (the scale) after it.

    The LR photo is as large as ⌊HR/scale⌋ on both sides.

    Raises:
        DataError: HR photos without LR photo, or of sizes that do not match, or several of one name; they are named.
    """
    found = {name: index for index, name in enumerate(lr.names)}
    if len(found) < len(lr.names) or len(set(hr.names)) < len(hr.names):
        names = hr.names if len(set(hr.names)) < len(hr.names) else lr.names
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"pairs are matched by name, but {listed(twice)} occur twice; rename them")
    matched = [found.get(name, found.get(f"{name}x{scale}")) for name in hr.names]
    missing = [hr.place(index) for index, other in enumerate(matched) if other is None]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(hr)} HR photos have no LR photo of their name: {listed(missing)}; LR names are "
            f"such as {listed(lr.names[:2])}"
        )
    pairs = [index for index in matched if index is not None]
    wrong = [
        f"{hr.place(i)} ({hr.shapes[i][1]}×{hr.shapes[i][0]}) and its LR ({lr.shapes[j][1]}×{lr.shapes[j][0]})"
        for i, j in enumerate(pairs)
        if lr.shapes[j] != (hr.shapes[i][0] // scale, hr.shapes[i][1] // scale)
    ]
    if wrong:
        raise DataError(
            f"{len(wrong)} of {len(hr)} pairs do not differ by the scale {scale}: {listed(wrong)}"
        )
    return pairs
