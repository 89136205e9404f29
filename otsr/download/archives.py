"""Unpack the pictures of an archive from an unknown source.

Nothing is written outside the target, nothing but pictures is written, and nothing that unpacks to far more than the
archive holds. Each picture appears whole or not at all, so a second call goes on where the first one stopped.
"""

import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from tqdm import tqdm

from otsr.download.fetching import DownloadError
from otsr.images import SUFFIXES, atomic_path

BOMB = 20
"""Times the archive's size that it may unpack to. Pictures are compressed already: honest archives stay below 2."""

_SMALL = 64 << 20  # bytes that any archive may unpack to
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)


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
    """Write the pictures of a zip or tar archive (plain or compressed) below `target`, but for those there already.

    Args:
        place: from an entry's name to its path below `target`; None leaves it out.

    Returns how many pictures of the archive are in the target now.

    Raises:
        DownloadError: no such archive, or a damaged one; an entry that would land outside the target, is a link, a
            device, encrypted or named twice; contents far larger than the archive.
        OSError: the disk is full or not writable.
    """
    if not archive.is_file():
        raise DownloadError(f"{archive}: no such file")
    pictures, at = 0, ", or neither zip nor tar"
    try:
        with tqdm(desc=f"unpacking {archive.name}", unit="B", unit_scale=True, delay=1, disable=None) as bar:
            for entry in _trusted(archive):
                at = f" at its entry {entry.name!r}"
                if entry.is_picture and (below := place(entry.name)) is not None:
                    _write(entry, target / below, target)
                    pictures += 1
                bar.update(entry.size)
    except _DAMAGE as error:
        reason = str(error).partition("\n")[0].rstrip(":")  # tarfile lists what each of its readers said
        with archive.open("rb") as file:
            found = f"damaged{at} ({reason}; it begins with {file.read(12)!r})"
        raise DownloadError(f"{archive}: {found}; delete it, and fetch it again") from None
    return pictures


def _trusted(archive: Path) -> Iterator[Entry]:
    """The entries, up to the first that no honest archive would hold."""
    limit = max(_SMALL, BOMB * archive.stat().st_size)
    total = 0
    seen: set[str] = set()
    for entry in _entries(archive):
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
            raise DownloadError(f"{archive}: unsafe, its entry {entry.name!r} {reason}; delete the archive")
        seen.add(entry.name)
        yield entry


def _entries(archive: Path) -> Iterator[Entry]:
    with archive.open("rb") as file:
        is_zip = file.read(2) == b"PK"
    if is_zip:
        kinds = {0: "file", stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "a link"}
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                kind = kinds.get(stat.S_IFMT(info.external_attr >> 16), "a device")
                kind = "an encrypted file" if info.flag_bits & 1 else "folder" if info.is_dir() else kind
                # The name before Python's own cleaning, which hides a zero byte.
                yield Entry(info.orig_filename, kind, info.file_size, partial(opened.open, info))
    else:
        with tarfile.open(archive) as tar:
            for item in tar:
                other = "a link" if item.issym() or item.islnk() else "a device"
                kind = "file" if item.isreg() else "folder" if item.isdir() else other
                yield Entry(item.name, kind, item.size, partial(tar.extractfile, item))


def _write(entry: Entry, path: Path, target: Path) -> None:
    """Write one picture, if it is not there with its full size."""
    if path.is_file() and path.stat().st_size == entry.size:
        return
    if target.resolve() not in path.resolve().parents:  # through a link that lay there before
        raise DownloadError(f"{path}: a link leads out of {target}; remove the link")
    path.parent.mkdir(parents=True, exist_ok=True)
    source = entry.open()
    assert source is not None  # a file
    with source, atomic_path(path) as temporary, temporary.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
        if file.tell() != entry.size:
            raise EOFError(f"{file.tell()} bytes of {entry.size}")
