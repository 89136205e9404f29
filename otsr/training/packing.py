"""Make a store of photos: decoded once, cleaned once, in many threads (Pillow and torch decode beside each other).

The store appears whole or not at all. A photo that cannot be read is named, the others are packed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import lmdb
import numpy as np
import torch
from tqdm import tqdm

from otsr.images import atomic_path, find_images
from otsr.training.cleaning import clean_photo, cleaned_size
from otsr.training.draws import one_thread
from otsr.training.store import BAND, SUFFIX, StoredPhoto, StoreError, band_key, notes_record, sha256

_PAGE = 4096  # bytes; LMDB rounds a band up to it
_GROWTH = 1 << 28  # bytes by which the map grows at least


@dataclass(frozen=True)
class Packed:
    """What `pack` has done.

    Attributes:
        path: the store.
        photos: how many are in it.
        size: of the file, bytes.
        failures: what could not be packed, one sentence each, the file named.
    """

    path: Path
    photos: int
    size: int
    failures: list[str]


def pack(
    images: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    cleanup: float = 1.0,
    *,
    overwrite: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> Packed:
    """Write a store of all pictures in `images`.

    A photo's name is its path below the folder that was given, without suffix; LR and HR stores of pairs are
    matched by it.

    Args:
        images: picture files, and folders of them.
        out: the store to write, NAME.lmdb.
        cleanup: factor, at least 1, by which photos are shrunk first; see `cleaning.clean_photo`.
        overwrite: replace a store that is there. Programs that read the old one go on with the old one.
        workers: threads that decode; None: one a core.

    Raises:
        StoreError: nothing to pack, two photos of one name, `out` is there or cannot be written; nothing is
            left behind.
    """
    out = Path(out)
    if not 1 <= cleanup < float("inf"):
        raise StoreError(
            f"cleanup is {cleanup!r}, expected a number, at least 1 (1 leaves the photos as they are)"
        )
    _check_target(out, overwrite)
    failures: list[str] = []
    found = name_photos([Path(path) for path in images], failures)
    sizes = _sizes(found, cleanup, failures)
    if not sizes:
        reasons = "; ".join(failures[:5]) or f"no pictures in {', '.join(map(str, images))}"
        raise StoreError(f"{out}: nothing to pack ({reasons})")
    _check_space(out, sizes)
    threads = max(1, workers or min(os.cpu_count() or 1, 16))
    with (
        atomic_path(out) as temporary,
        tqdm(total=len(sizes), desc="packing", unit="photo", disable=None if progress else True) as bar,
    ):
        writer = _Writer(temporary)
        try:
            for name, made in _decoded({name: found[name] for name in sizes}, cleanup, threads):
                if isinstance(made, str):
                    failures.append(made)
                else:
                    writer.add(name, *made)
                bar.update()
            count = writer.finish(cleanup)
        except lmdb.Error as error:
            raise StoreError(f"{out}: cannot be written ({error}); make room, or name another disk") from None
        finally:
            writer.close()
        if not count:
            raise StoreError(f"{out}: nothing to pack ({'; '.join(failures[:5])})")
    return Packed(out, count, out.stat().st_size, failures)


def name_photos(paths: Sequence[Path], failures: list[str]) -> dict[str, Path]:
    """Pictures in files and folders by their names: paths below the folder, "/" between parts, no suffix; sorted.

    What cannot be walked is appended to `failures`.

    Raises:
        StoreError: two pictures have one name.
    """
    found: dict[str, Path] = {}
    for top in paths:
        for path in find_images([top], lambda path, reason: failures.append(f"{path}: {reason}")):
            below = path.relative_to(top) if path != top else Path(path.name)
            name = below.with_suffix("").as_posix()
            if found.setdefault(name, path) != path:
                raise StoreError(
                    f"{found[name]} and {path} would have one name, {name!r}; rename one, or use them apart"
                )
    return dict(sorted(found.items()))


def _check_target(out: Path, overwrite: bool) -> None:
    if out.suffix.lower() != SUFFIX:
        raise StoreError(f"{out}: name the store with the suffix {SUFFIX}")
    if not out.parent.is_dir():
        raise StoreError(f"{out}: the folder {out.parent} does not exist; make it first")
    if out.is_dir():
        raise StoreError(f"{out}: a folder; a store is one file, choose another name")
    if out.exists() and not overwrite:
        raise StoreError(f"{out}: is there already; choose another name, or overwrite it (--overwrite)")


def _sizes(found: dict[str, Path], cleanup: float, failures: list[str]) -> dict[str, tuple[int, int]]:
    sizes: dict[str, tuple[int, int]] = {}
    for name, path in found.items():
        try:
            sizes[name] = cleaned_size(path, cleanup)
        except (ValueError, OSError) as error:
            failures.append(_named(path, error))
    return sizes


def _check_space(out: Path, sizes: dict[str, tuple[int, int]]) -> None:
    needed = sum(-(-height // BAND) * (BAND * width * 3 + _PAGE) for height, width in sizes.values())
    free = shutil.disk_usage(out.parent).free
    if needed > free:
        stale = sorted(out.parent.glob(f".{out.stem[:40]}.*.part{SUFFIX}"))
        advice = f", or remove {stale[0]}, which a pack that was killed left behind" if stale else ""
        raise StoreError(
            f"{out}: {len(sizes)} photos take {needed / 1e9:.2f} GB as raw pixels, {free / 1e9:.2f} GB are free; "
            f"make room, name another disk{advice}"
        )


def _decoded(
    found: dict[str, Path], cleanup: float, threads: int
) -> Iterator[tuple[str, tuple[np.ndarray, str, str] | str]]:
    """In order: each name with pixels and both hashes, or with what went wrong. A few photos ahead, not all."""
    waiting: deque[tuple[str, Future[tuple[np.ndarray, str, str] | str]]] = deque()
    with one_thread(), ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for name, path in found.items():
                waiting.append((name, pool.submit(_decode, path, cleanup)))
                if len(waiting) > 2 * threads:
                    first, future = waiting.popleft()
                    yield first, future.result()
            for name, future in waiting:
                yield name, future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _decode(path: Path, cleanup: float) -> tuple[np.ndarray, str, str] | str:
    try:
        pixels = clean_photo(path, cleanup)
        return pixels, sha256(pixels), file_hash(path)
    except (ValueError, OSError, MemoryError) as error:
        return _named(path, error)


def file_hash(path: Path) -> str:
    """sha256 of a file's content."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _named(path: Path, error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text if str(path) in text else f"{path}: {text}"


class _Writer:
    """Photos into a fresh LMDB file, whose map grows when it is full."""

    def __init__(self, path: Path) -> None:
        self._environment = lmdb.open(str(path), subdir=False, lock=False, sync=False, map_size=_GROWTH)
        self._photos: list[StoredPhoto] = []

    def add(self, name: str, pixels: np.ndarray, pixel_hash: str, source_hash: str) -> None:
        number = len(self._photos)
        bands = [pixels[row : row + BAND] for row in range(0, len(pixels), BAND)]
        self._put([(band_key(number, i), band.tobytes()) for i, band in enumerate(bands)])
        height, width, _ = pixels.shape
        self._photos.append(StoredPhoto(name, height, width, pixel_hash, source_hash))

    def finish(self, cleanup: float) -> int:
        """Write what the store says of itself; how many photos it holds."""
        self._put([notes_record(self._photos, cleanup)])
        self._environment.sync(True)
        return len(self._photos)

    def close(self) -> None:
        self._environment.close()

    def _put(self, records: list[tuple[bytes, bytes]]) -> None:
        """All records in one transaction, keys in growing order."""
        while True:
            try:
                with self._environment.begin(write=True) as transaction:
                    for key, value in records:
                        transaction.put(key, value, append=True)
                return
            except lmdb.MapFullError:
                size = self._environment.info()["map_size"]
                self._environment.set_mapsize(
                    size + max(size // 2, _GROWTH, 2 * sum(len(v) for _, v in records))
                )
