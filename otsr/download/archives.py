"""Unpack the pictures of an archive that a stranger made.

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
from typing import IO

from tqdm import tqdm

from otsr.download.fetching import DownloadError, require_room
from otsr.images import SUFFIXES, atomic_path

BOMB = 20
"""Times the archive's size that it may unpack to. Pictures are compressed already: honest archives stay below 2."""

_SMALL = 64 << 20  # bytes that any archive may unpack to
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)
_NOWHERE = (
    "/nowhere"  # entries are judged by their names alone, links in the target only when a picture is written
)
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zX")  # gzip, bzip2, xz

Read = Callable[[tarfile.TarInfo], "IO[bytes] | None"]


def unpack(archive: Path, target: Path, place: Callable[[str], str | None] = lambda name: name) -> int:
    """Write the pictures of a zip or tar archive (plain or compressed) below `target`.

    A picture that is there with its full size is not written again. Names of zip and plain tar are all checked before
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
    with _opened(archive) as (entries, read, streamed):
        planned: Iterable[tuple[tarfile.TarInfo, Path]] = (
            (entry, target / below)
            for entry in _trusted(archive, entries)
            if _is_picture(entry) and (below := place(entry.name)) is not None
        )
        if not streamed:
            planned = list(planned)
            target.mkdir(parents=True, exist_ok=True)
            require_room(target, sum(entry.size for entry, path in planned if not path.exists()))
        with tqdm(desc=f"unpacking {archive.name}", unit="B", unit_scale=True, delay=1, disable=None) as bar:
            for entry, path in planned:
                if not (path.is_file() and path.stat().st_size == entry.size):
                    _write(archive, entry, read, path, target)
                bar.update(entry.size)
                pictures += 1
    return pictures


@contextmanager
def _opened(archive: Path) -> Iterator[tuple[Iterable[tarfile.TarInfo], Read, bool]]:
    """Entries, how to read one, and whether they can be seen only one after the other."""
    with archive.open("rb") as file:
        head = file.read(12)
    try:
        if head[:2] == b"PK":
            with zipfile.ZipFile(archive) as opened:
                infos = {info.orig_filename: info for info in opened.infolist()}
                entries = [_of_zip(archive, info) for info in opened.infolist()]
                yield entries, lambda entry: opened.open(infos[entry.name]), False
        else:
            with tarfile.open(archive) as tar:
                yield tar, tar.extractfile, head.startswith(_COMPRESSED)
    except _DAMAGE as error:
        reason = str(error).partition("\n")[0].rstrip(":")  # tarfile lists what each of its readers said
        found = f"damaged, or neither zip nor tar ({reason}; it begins with {head!r})"
        raise DownloadError(f"{archive}: {found}; delete it, and fetch it again") from None


def _of_zip(archive: Path, info: zipfile.ZipInfo) -> tarfile.TarInfo:
    """A zip's entry as a tar's, so that both go through the same guard."""
    if info.flag_bits & 1:
        raise _distrust(archive, info.orig_filename, "is an encrypted file")
    entry = tarfile.TarInfo(info.orig_filename)  # before Python's own cleaning, which hides a zero byte
    entry.size = info.file_size
    kinds = {0: tarfile.REGTYPE, stat.S_IFREG: tarfile.REGTYPE, stat.S_IFLNK: tarfile.SYMTYPE}
    entry.type = kinds.get(stat.S_IFMT(info.external_attr >> 16), tarfile.FIFOTYPE)
    if info.is_dir():
        entry.type = tarfile.DIRTYPE
    return entry


def _trusted(archive: Path, entries: Iterable[tarfile.TarInfo]) -> Iterator[tarfile.TarInfo]:
    """The entries, up to the first that no honest archive would hold."""
    limit = max(_SMALL, BOMB * archive.stat().st_size)
    total = 0
    seen: set[str] = set()
    for entry in entries:
        total += entry.size
        reason = _fault(entry)
        if not reason and entry.isreg() and entry.name in seen:
            reason = "is there twice"
        elif not reason and total > limit:
            reason = f"brings the contents to {total / 1e6:.0f} MB, {BOMB} times the archive: a zip bomb"
        if reason:
            raise _distrust(archive, entry.name, reason)
        seen.add(entry.name)
        yield entry


def _fault(entry: tarfile.TarInfo) -> str:
    """Why an entry is not to be trusted: tarfile's filter for data, and what that would repair or let through."""
    if entry.issym() or entry.islnk():
        return "is a link"
    if not (entry.isreg() or entry.isdir()):
        return "is a device"
    outside = "would be written outside the folder"
    if re.search(r"[\\\0]|^[A-Za-z]:|^/", entry.name):  # of any system
        return outside
    try:
        tarfile.data_filter(entry, _NOWHERE)
    except tarfile.FilterError:
        return outside
    return ""


def _distrust(archive: Path, name: str, reason: str) -> DownloadError:
    return DownloadError(f"{archive}: not to be trusted, its entry {name!r} {reason}; delete the archive")


def _is_picture(entry: tarfile.TarInfo) -> bool:
    """Hidden files and macOS's shadows of files are none."""
    path = PurePosixPath(entry.name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return entry.isreg() and path.suffix.lower() in SUFFIXES and not hidden


def _write(archive: Path, entry: tarfile.TarInfo, read: Read, path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if target.resolve() not in path.resolve().parents:  # through a link that lay there before
        raise DownloadError(f"{path}: a link leads out of {target}; remove the link")
    try:
        source = read(entry)
        assert source is not None  # a regular file
        with source, atomic_path(path) as temporary, temporary.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
            if file.tell() != entry.size:
                raise EOFError(f"{file.tell()} bytes of {entry.size}")
    except _DAMAGE as error:
        found = f"damaged at its entry {entry.name!r} ({error})"
        raise DownloadError(f"{archive}: {found}; delete it, and fetch it again") from None
