"""Where training photos come from: folders, stores, the course; read alike, as one list. `pack` makes stores."""

import hashlib
import math
import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pooch
import torch
from tqdm import tqdm

from otsr import datasets
from otsr.images import atomic_path, find_images, name_of, suggestion
from otsr.machine import available_memory
from otsr.training.runtime import one_thread
from otsr.training.store import SUFFIX, DataError, Store, space_needed, write_store
from otsr.training.synthesis import clean_photo, cleaned_size

MEMORY = 4 << 30  # bytes of decoded photos that are kept, but no more than half of what is free
COURSE = {f"photos/{split}": split for split in ("train", "val", "test")}
_SHOWN = 5  # offenders that a message lists


def listed(offenders: Sequence[str], separator: str = ", ") -> str:
    """The first few, and how many more."""
    more = len(offenders) - _SHOWN
    return separator.join([*offenders[:_SHOWN], *([f"and {more} more"] if more > 0 else [])])


class Photo(NamedTuple):
    """A photo and where it is: a file, or a number in a store."""

    name: str
    shape: tuple[int, int]  # height, width
    file: Path
    store: Store | None = None
    number: int = 0

    def __str__(self) -> str:
        return str(self.file) if self.store is None else f"{self.file}: {self.name}"

    @property
    def sized(self) -> str:
        """The photo and its size, "a.png (48×36)"."""
        return f"{self} ({self.shape[1]}×{self.shape[0]})"


class Photos:
    """The photos of folders, .lmdb stores, and the course (names in `COURSE`), in the order of places and names.

    Those of folders are decoded when first shown and kept in memory, as far as the budget goes.

    Args:
        cleanup: by which photos of folders are shrunk when they are read; stores must have been packed with it.
        processes: that share the budget of `MEMORY`; 0: no photo is kept.

    Raises:
        DataError: a place holds no photos, some cannot be read (each is named), or a store has another clean-up.
    """

    def __init__(self, places: Sequence[str], cleanup: float = 1.0, processes: int = 0) -> None:
        self.cleanup = cleanup
        failures: list[str] = []
        self.photos = [photo for place in places for photo in _photos(place, cleanup, failures)]
        if failures:
            raise DataError(f"{listed(failures, '; ')}: repair or remove what cannot be read")
        self._kept: dict[int, np.ndarray] = {}
        free = available_memory() or 2 * MEMORY
        self._room = min(MEMORY, free // 2) // processes if processes else 0
        needed = sum(3 * math.prod(photo.shape) for photo in self.photos if photo.store is None)
        if needed > self._room and processes:
            warnings.warn(
                f"decoded photos take {needed / 1e9:.2f} GB, but {self._room / 1e9:.2f} GB are kept in memory; the "
                f"rest is decoded for each crop, slowly. Pack them: otsr pack FOLDER -o NAME{SUFFIX}",
                stacklevel=4,  # at whoever makes the batches
            )

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_kept": {}}  # a process that unpickles this decodes for itself

    def crop(self, index: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """(height, width, 3) uint8 of a photo; not to be written to."""
        photo = self.photos[index]
        if photo.store is not None:
            return photo.store.crop(photo.number, top, left, height, width)
        if (pixels := self._kept.get(index)) is None:
            with one_thread():
                pixels = clean_photo(photo.file, self.cleanup)
            if pixels.shape[:2] != photo.shape:
                size = f"{pixels.shape[1]}×{pixels.shape[0]} pixels, but {photo.shape[1]}×{photo.shape[0]}"
                raise DataError(f"{photo.file}: {size} at the start; was it changed? Start again")
            if pixels.nbytes <= self._room:
                self._room -= pixels.nbytes
                self._kept[index] = pixels
        return pixels[top : top + height, left : left + width]

    def read(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 of a whole photo; not to be written to."""
        return self.crop(index, 0, 0, *self.photos[index].shape)

    def fingerprint(self) -> str:
        """sha256 of names, contents of the picture files, and clean-up: the same for a folder and for its store."""
        digest = hashlib.sha256(f"cleanup {self.cleanup:g}\n".encode())
        for name, _, file, store, number in self.photos:
            content = pooch.file_hash(str(file)) if store is None else store.photos[number].file
            digest.update(f"{content} {name}\n".encode())
        return digest.hexdigest()


def _photos(place: str, cleanup: float, failures: list[str]) -> list[Photo]:
    """The photos of one place; what cannot be read is appended to `failures`."""
    path = Path(place)
    if place in COURSE:
        if path.exists():
            raise DataError(f"{place}: also the course's name for its own photos; write ./{place} as a full path")
        return _found(datasets.photos(COURSE[place]), cleanup, failures)
    if path.suffix.lower() == SUFFIX:
        store = Store(place)
        if (packed := store.cleanup) != cleanup:
            raise DataError(
                f"{store.path}: packed with a clean-up of {packed:g}, but the recipe says {cleanup:g}; "
                f"set cleanup to {packed:g}, or pack the photos again with --cleanup {cleanup:g}"
            )
        return [Photo(name, (h, w), store.path, store, i) for i, (name, h, w, _) in enumerate(store.photos)]
    if not path.is_dir():
        what = "not a folder" if path.exists() else "no such folder"
        expected = f"expected a folder of pictures, a {SUFFIX} store, or photos/train"
        raise DataError(f"{path}: {what}; {expected}{suggestion(path)}")
    return _found([path], cleanup, failures)


def _found(places: Sequence[Path], cleanup: float, failures: list[str]) -> list[Photo]:
    """Pictures in files and folders, sorted by name: the path below the folder, "/" between parts, no suffix.

    What cannot be read is appended to `failures`. Raises DataError: two pictures have one name.
    """
    files: dict[str, Path] = {}
    for top in places:
        for path in find_images([top], lambda path, reason: failures.append(f"{path}: {reason}")):
            below = path.relative_to(top) if path != top else Path(path.name)
            name = name_of(below.with_suffix("").as_posix())
            if files.setdefault(name, path) != path:
                raise DataError(f"{files[name]} and {path} have the same name, {name!r}; rename one")
    photos = []
    for name, path in sorted(files.items()):
        try:
            photos.append(Photo(name, cleaned_size(path, cleanup), path))
        except (ValueError, OSError) as error:
            failures.append(_named(path, error))
    return photos


def _named(path: Path, error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text if str(path) in text else f"{path}: {text}"


class Packed(NamedTuple):
    """What `pack` has done."""

    path: Path
    photos: int
    size: int  # bytes
    failures: list[str]  # what could not be packed


def pack(
    images: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str], cleanup: float = 1.0, *,
    overwrite: bool = False, workers: int | None = None, progress: bool = True,
) -> Packed:  # fmt: skip
    """Write a store, NAME.lmdb, of picture files and folders of them, decoded and cleaned once.

    It appears whole or not at all; programs that read one that it replaces go on with the old one.

    Args:
        cleanup: see `clean_photo`.
        workers: threads that decode; None: one per core.

    Raises:
        DataError: nothing to pack, two photos of one name, or `out` cannot be written.
    """
    out = Path(out)
    if not 1 <= cleanup < math.inf:
        raise DataError(f"cleanup is {cleanup!r}, expected at least 1 (1 leaves the photos as they are)")
    if out.suffix.lower() != SUFFIX or out.is_dir():
        raise DataError(f"{out}: a store is a file; name it with the suffix {SUFFIX}")
    if out.exists() and not overwrite:
        raise DataError(f"{out}: already exists; choose another name, or overwrite it (--overwrite)")
    if not out.parent.is_dir():
        raise DataError(f"{out}: there is no folder {out.parent}; make it first")
    failures: list[str] = []
    photos = _found([*map(Path, images)], cleanup, failures)
    space, free = space_needed(photo.shape for photo in photos), shutil.disk_usage(out.parent).free
    if space > free:
        needed = f"{len(photos)} photos take {space / 1e9:.2f} GB as raw pixels"
        raise DataError(f"{out}: {needed}, {free / 1e9:.2f} GB are free; make room, or choose another disk")
    with atomic_path(out) as temporary:
        try:
            count = write_store(temporary, _decoded(photos, cleanup, workers, progress, failures), cleanup, space)
        except DataError as error:
            raise DataError(f"{out}: {error}") from None
        if not count:
            reasons = listed(failures, "; ") or f"no pictures in {', '.join(map(str, images))}"
            raise DataError(f"{out}: nothing to pack ({reasons})")
    return Packed(out, count, out.stat().st_size, failures)


def _decoded(
    photos: list[Photo], cleanup: float, threads: int | None, progress: bool, failures: list[str]
) -> Iterator[tuple[str, np.ndarray, str]]:
    """Name, pixels and file's sha256 of each photo, in order; each in one thread, a few ahead of the writer."""

    def decode(photo: Photo) -> tuple[str, np.ndarray, str] | str:
        try:
            return photo.name, clean_photo(photo.file, cleanup), pooch.file_hash(str(photo.file))
        except (ValueError, OSError, MemoryError) as error:
            return _named(photo.file, error)

    threads = threads or min(os.cpu_count() or 1, 16)
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    bar = tqdm(total=len(photos), unit="photo", desc="packing", disable=None if progress else True)
    with one_thread(), pool, bar:
        for start in range(0, len(photos), 4 * threads):
            for made in pool.map(decode, photos[start : start + 4 * threads]):
                if isinstance(made, str):
                    failures.append(made)
                else:
                    yield made
                bar.update()
