"""Unpack the pictures of an archive from an unknown source.

Nothing is written outside the target, nothing but pictures is written, and nothing that unpacks to far more than the
archive holds. Each picture appears whole or not at all, so a second call goes on where the first one stopped.
"""

from __future__ import annotations

import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from tqdm import tqdm

from otsr.download.fetching import DownloadError, require_room
from otsr.images import SUFFIXES, atomic_path

BOMB = 20
"""Times the archive's size that it may unpack to. Pictures are compressed already: honest archives stay below 2."""

_SMALL = 64 << 20  # bytes that any archive may unpack to
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zX")  # gzip, bzip2, xz


class Entry(NamedTuple):
    """What an archive says of one of its entries, and how to read it."""

    name: str
    kind: str  # "file", "folder", or in words what no honest archive holds
    size: int
    open: Callable[[], IO[bytes] | None]

    @property
    def is_picture(self) -> bool:
        """Not a hidden file, and not one of the shadow files of macOS."""
        path = PurePosixPath(self.name)
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
        return self.kind == "file" and path.suffix.lower() in SUFFIXES and not hidden


def unpack(archive: Path, target: Path, place: Callable[[str], str | None] = lambda name: name) -> int:
    """Write the pictures of a zip or tar archive (plain or compressed) below `target`.

    A picture that is there with its full size is not written again. Entries of zip and plain tar are all checked before
    the first picture is written, those of a compressed tar as they come.

    Args:
        place: from an entry's name to its path below `target`; None leaves it out.

    Returns how many pictures of the archive are in the target now.

    Raises:
        DownloadError: no such archive, or a damaged one; an entry that would land outside the target, is a link, a
            device, encrypted or named twice; contents far larger than the archive.
        OSError: the disk is full (also found before the first picture, where sizes are known) or not writable.
    """
    if not archive.is_file():
        raise DownloadError(f"{archive}: no such file")
    pictures = 0
    with _opened(archive) as (entries, streamed):
        planned: Iterable[tuple[Entry, Path]] = (
            (entry, target / below)
            for entry in _trusted(archive, entries)
            if entry.is_picture and (below := place(entry.name)) is not None
        )
        if not streamed:
            planned = list(planned)
            target.mkdir(parents=True, exist_ok=True)
            require_room(target, sum(entry.size for entry, path in planned if not path.exists()))
        with tqdm(desc=f"unpacking {archive.name}", unit="B", unit_scale=True, delay=1, disable=None) as bar:
            for entry, path in planned:
                if not (path.is_file() and path.stat().st_size == entry.size):
                    _write(archive, entry, path, target)
                bar.update(entry.size)
                pictures += 1
    return pictures


@contextmanager
def _opened(archive: Path) -> Iterator[tuple[Iterable[Entry], bool]]:
    """The entries, and whether they can be seen only one after the other."""
    with archive.open("rb") as file:
        head = file.read(12)
    try:
        if head[:2] == b"PK":
            with zipfile.ZipFile(archive) as opened:
                yield [_of_zip(opened, info) for info in opened.infolist()], False
        else:
            with tarfile.open(archive) as tar:
                yield (_of_tar(tar, info) for info in tar), head.startswith(_COMPRESSED)
    except _DAMAGE as error:
        reason = str(error).partition("\n")[0].rstrip(":")  # tarfile lists what each of its readers said
        found = f"damaged, or neither zip nor tar ({reason}; it begins with {head!r})"
        raise DownloadError(f"{archive}: {found}; delete it, and fetch it again") from None


def _of_zip(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Entry:
    kinds = {0: "file", stat.S_IFREG: "file", stat.S_IFLNK: "a link"}
    kind = "folder" if info.is_dir() else kinds.get(stat.S_IFMT(info.external_attr >> 16), "a device")
    if info.flag_bits & 1:
        kind = "an encrypted file"
    name = info.orig_filename  # before Python's own cleaning, which hides a zero byte
    return Entry(name, kind, info.file_size, lambda: opened.open(info))


def _of_tar(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Entry:
    other = "a link" if info.issym() or info.islnk() else "a device"
    kind = "file" if info.isreg() else "folder" if info.isdir() else other
    return Entry(info.name, kind, info.size, lambda: tar.extractfile(info))


def _trusted(archive: Path, entries: Iterable[Entry]) -> Iterator[Entry]:
    """The entries, up to the first that no honest archive would hold."""
    limit = max(_SMALL, BOMB * archive.stat().st_size)
    total = 0
    seen: set[str] = set()
    for entry in entries:
        total += entry.size
        reason = ""
        if entry.kind not in ("file", "folder"):
            reason = f"is {entry.kind}"
        elif re.search(r"[\\\0]|^[A-Za-z]:|^/|(^|/)\.\.(/|$)", entry.name):  # of any system
            reason = "would be written outside the folder"
        elif entry.kind == "file" and entry.name in seen:
            reason = "is there twice"
        elif total > limit:
            reason = f"brings the contents to {total / 1e6:.0f} MB, {BOMB} times the archive: a zip bomb"
        if reason:
            found = f"unsafe, its entry {entry.name!r} {reason}"
            raise DownloadError(f"{archive}: {found}; delete the archive")
        seen.add(entry.name)
        yield entry


def _write(archive: Path, entry: Entry, path: Path, target: Path) -> None:
    if target.resolve() not in path.resolve().parents:  # through a link that lay there before
        raise DownloadError(f"{path}: a link leads out of {target}; remove the link")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        source = entry.open()
        assert source is not None  # a file
        with source, atomic_path(path) as temporary, temporary.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
            if file.tell() != entry.size:
                raise EOFError(f"{file.tell()} bytes of {entry.size}")
    except _DAMAGE as error:
        found = f"damaged at its entry {entry.name!r} ({error})"
        raise DownloadError(f"{archive}: {found}; delete it, and fetch it again") from None
