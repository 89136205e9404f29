"""Where training photos come from: folders, stores, the course; read alike, as one list. And `pack`, folders to store.

Photos of folders are decoded when first shown and kept in memory as far as a budget goes. Those of stores stay where
they are.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pooch
import torch
from tqdm import tqdm

from otsr import datasets
from otsr.images import SUFFIXES, atomic_path, find_images, suggestion
from otsr.machine import available_memory
from otsr.training.runtime import one_thread
from otsr.training.store import SUFFIX, DataError, Store, StoreError, space_needed, write_store
from otsr.training.synthesis import clean_photo, cleaned_size

MEMORY = 4 << 30  # bytes of decoded photos that are kept, but no more than half of what is free
COURSE = {f"photos/{split}": split for split in ("train", "val", "test")}
_SHOWN = 5  # offenders that a message lists
Photo = tuple[str, tuple[int, int], Path | tuple[Store, int]]  # name, (height, width), where it is


def listed(offenders: Sequence[str], separator: str = ", ") -> str:
    """The first few, and how many more."""
    more = [f"and {len(offenders) - _SHOWN} more"] if len(offenders) > _SHOWN else []
    return separator.join([*offenders[:_SHOWN], *more])


class Photos:
    """The photos of folders, .lmdb stores, and the course (names in `COURSE`), in the order of places and names.

    Args:
        cleanup: by which photos of folders are shrunk when they are read; stores must have been packed with it.
        memory: bytes of decoded photos to keep; None: `MEMORY`.

    Raises:
        DataError: a place holds no photos, some cannot be read (each is named), or a store has another clean-up.
    """

    def __init__(self, places: Sequence[str], cleanup: float = 1.0, memory: int | None = None) -> None:
        self.cleanup = cleanup
        problems: list[str] = []
        found = [photo for place in places for photo in _photos(place, cleanup, problems)]
        if problems:
            raise DataError(f"{listed(problems, '; ')}: repair or remove what cannot be read")
        self.names = [name for name, _, _ in found]
        self.shapes = [shape for _, shape, _ in found]
        self._where = [where for _, _, where in found]
        self._files = [index for index, where in enumerate(self._where) if isinstance(where, Path)]
        free = available_memory()
        self._room = min(MEMORY, MEMORY if free is None else free // 2) if memory is None else memory
        self._kept: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.names)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_kept": {}}  # a process that unpickles this decodes for itself

    def place(self, index: int) -> str:
        """File of a photo, or store and name: for messages."""
        where = self._where[index]
        return str(where) if isinstance(where, Path) else f"{where[0].path}: {self.names[index]}"

    def crop(self, index: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """(height, width, 3) uint8 of a photo; not to be written to."""
        where = self._where[index]
        if not isinstance(where, Path):
            return where[0].crop(where[1], top, left, height, width)
        if (pixels := self._kept.get(index)) is None:
            pixels = self._decode(index)
            self._keep(index, pixels)
        return pixels[top : top + height, left : left + width]

    def read(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 of a whole photo; not to be written to."""
        return self.crop(index, 0, 0, *self.shapes[index])

    def share_memory(self, processes: int) -> None:
        """Divide the memory to keep photos in: so many processes each decode for themselves."""
        self._room //= max(1, processes)
        needed = sum(map(self._size, self._files))
        if needed > self._room:
            warnings.warn(
                f"decoded photos take {needed / 1e9:.2f} GB, but {self._room / 1e9:.2f} GB are kept in memory; the "
                f"rest is decoded for each crop, slowly. Pack them: otsr pack FOLDER -o NAME{SUFFIX}",
                stacklevel=3,
            )

    def preload(self) -> None:
        """Decode now what fits into memory, so that forked processes find it."""
        chosen, room = [], self._room
        for index in self._files:
            if index not in self._kept and self._size(index) <= room:
                chosen.append(index)
                room -= self._size(index)
        made = _in_threads(self._decode, chosen, desc="reading photos", delay=2, disable=None)
        for index, pixels in zip(chosen, made, strict=True):
            self._keep(index, pixels)

    def fingerprint(self) -> str:
        """sha256 of names, contents of the picture files, and clean-up: the same for a folder and for its store."""
        digest = hashlib.sha256(f"cleanup {self.cleanup:g}\n".encode())
        for name, where in zip(self.names, self._where, strict=True):
            file = pooch.file_hash(str(where)) if isinstance(where, Path) else where[0].photos[where[1]].file
            digest.update(f"{file} {name}\n".encode())
        return digest.hexdigest()

    def _decode(self, index: int) -> np.ndarray:
        path = self._where[index]
        assert isinstance(path, Path)
        with one_thread():
            pixels = clean_photo(path, self.cleanup)
        if pixels.shape[:2] != self.shapes[index]:
            was, now = (f"{width}×{height}" for height, width in (self.shapes[index], pixels.shape[:2]))
            raise DataError(f"{path}: {now} pixels, but {was} at the start; was it changed? Start again")
        return pixels

    def _keep(self, index: int, pixels: np.ndarray) -> None:
        if pixels.nbytes <= self._room:
            self._room -= pixels.nbytes
            self._kept[index] = pixels

    def _size(self, index: int) -> int:
        return 3 * math.prod(self.shapes[index])


# --- files


def _photos(place: str, cleanup: float, problems: list[str]) -> Iterator[Photo]:
    """The photos of one place."""
    if place in COURSE:
        return _sizes(_course(place), cleanup, problems)
    if Path(place).suffix.lower() != SUFFIX:
        return _sizes(_folder(Path(place), problems), cleanup, problems)
    store = Store(place)
    if store.cleanup != cleanup:
        raise DataError(
            f"{store.path}: packed with a clean-up of {store.cleanup:g}, but the recipe says {cleanup:g}; "
            f"set cleanup to {store.cleanup:g}, or pack the photos again with --cleanup {cleanup:g}"
        )
    return ((photo.name, store.shape(index), (store, index)) for index, photo in enumerate(store.photos))


def _course(place: str) -> dict[str, Path]:
    if Path(place).exists():
        raise DataError(f"{place}: also the course's name for its own photos; write ./{place} as a full path")
    return {path.stem: path for path in datasets.photos(COURSE[place])}


def _folder(folder: Path, problems: list[str]) -> dict[str, Path]:
    if not folder.is_dir():
        what = "not a folder" if folder.exists() else "no such folder"
        expected = f"expected a folder of pictures, a {SUFFIX} store, or photos/train"
        raise DataError(f"{folder}: {what}; {expected}{suggestion(folder)}")
    files = _by_name([folder], problems)
    if not files and not problems:
        raise DataError(f"{folder}: no pictures in this folder (looked for {', '.join(sorted(SUFFIXES))})")
    return files


def _by_name(places: Sequence[Path], failures: list[str]) -> dict[str, Path]:
    """Pictures in files and folders by name: the path below the folder, "/" between parts, no suffix; sorted.

    What cannot be walked is appended to `failures`. Raises StoreError: two pictures have one name.
    """
    found: dict[str, Path] = {}
    for top in places:
        for path in find_images([top], lambda path, reason: failures.append(f"{path}: {reason}")):
            below = path.relative_to(top) if path != top else Path(path.name)
            name = below.with_suffix("").as_posix()
            if found.setdefault(name, path) != path:
                raise StoreError(f"{found[name]} and {path} have the same name, {name!r}; rename one")
    return dict(sorted(found.items()))


def _sizes(files: dict[str, Path], cleanup: float, failures: list[str]) -> Iterator[Photo]:
    """The photos that can be read; what is wrong with the others goes to `failures`."""
    for name, path in files.items():
        try:
            yield name, cleaned_size(path, cleanup), path
        except (ValueError, OSError) as error:
            failures.append(_named(path, error))


def _named(path: Path, error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text if str(path) in text else f"{path}: {text}"


def _in_threads(work: Callable, jobs: list[Any], threads: int | None = None, **bar: Any) -> Iterator[Any]:
    """Results in order, made in several threads, each photo in one: Pillow and torch decode beside each other."""
    threads = threads or min(os.cpu_count() or 1, 16)
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    with one_thread(), pool, tqdm(total=len(jobs), unit="photo", **bar) as shown:
        for start in range(0, len(jobs), 4 * threads):  # a few ahead of whoever takes them, never all
            for done in pool.map(work, jobs[start : start + 4 * threads]):
                yield done
                shown.update()


# --- packing


class Packed(NamedTuple):
    """What `pack` has done."""

    path: Path
    photos: int
    size: int  # bytes
    failures: list[str]  # what could not be packed


def pack(
    images: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    cleanup: float = 1.0,
    *,
    overwrite: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> Packed:
    """Write a store, NAME.lmdb, of picture files and folders of them, decoded and cleaned once.

    It appears whole or not at all.

    Args:
        cleanup: see `clean_photo`.
        overwrite: replace a store that is there; programs that read the old one go on with the old one.
        workers: threads that decode; None: one per core.

    Raises:
        StoreError: nothing to pack, two photos of one name, or `out` cannot be written.
    """
    out = Path(out)
    _check_target(out, cleanup, overwrite)
    failures: list[str] = []
    chosen = list(_sizes(_by_name([*map(Path, images)], failures), cleanup, failures))
    space = space_needed(size for _, size, _ in chosen)
    _check_space(out, len(chosen), space)

    def decode(photo: tuple[str, object, Path]) -> tuple[str, np.ndarray, str] | str:
        name, _, path = photo
        try:
            return name, clean_photo(path, cleanup), pooch.file_hash(str(path))
        except (ValueError, OSError, MemoryError) as error:
            return _named(path, error)

    def decoded() -> Iterator[tuple[str, np.ndarray, str]]:
        for made in _in_threads(decode, chosen, workers, desc="packing", disable=None if progress else True):
            if isinstance(made, str):
                failures.append(made)
            else:
                yield made

    with atomic_path(out) as temporary:
        try:
            count = write_store(temporary, decoded(), cleanup, space)
        except StoreError as error:
            raise StoreError(f"{out}: {error}") from None
        if not count:
            reasons = "; ".join(failures[:5]) or f"no pictures in {', '.join(map(str, images))}"
            raise StoreError(f"{out}: nothing to pack ({reasons})")
    return Packed(out, count, out.stat().st_size, failures)


def _check_target(out: Path, cleanup: float, overwrite: bool) -> None:
    if not 1 <= cleanup < math.inf:
        raise StoreError(f"cleanup is {cleanup!r}, expected at least 1 (1 leaves the photos as they are)")
    if out.suffix.lower() != SUFFIX or out.is_dir():
        raise StoreError(f"{out}: a store is a file; name it with the suffix {SUFFIX}")
    if not out.parent.is_dir():
        raise StoreError(f"{out}: the folder {out.parent} does not exist; make it first")
    if out.exists() and not overwrite:
        raise StoreError(f"{out}: already exists; choose another name, or overwrite it (--overwrite)")


def _check_space(out: Path, count: int, space: int) -> None:
    free = shutil.disk_usage(out.parent).free
    if space > free:
        stale = sorted(out.parent.glob(f".{out.stem[:40]}.*.part{SUFFIX}"))
        advice = f", or remove {stale[0]}, left behind by a pack that was killed" if stale else ""
        what = f"{count} photos take {space / 1e9:.2f} GB as raw pixels, but {free / 1e9:.2f} GB are free"
        raise StoreError(f"{out}: {what}; make room, or choose another disk{advice}")
