"""Unpack the pictures of an archive that a stranger made.

Nothing is written outside the target, nothing but pictures is written, and nothing that unpacks to far more than the
archive holds. Each picture appears whole or not at all, so a second call goes on where the first one stopped.
"""

from __future__ import annotations

import lzma
import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from tqdm import tqdm

from otsr.images import SUFFIXES, atomic_path

BOMB = 20
"""Times the archive's size that it may unpack to. Pictures are compressed already: honest archives stay below 2."""

_SMALL = 64 << 20  # bytes that any archive may unpack to
_PIECE = 1 << 20
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)


class UnpackError(ValueError):
    """An archive that is damaged or not to be trusted; the message names the entry and says what to do."""


@dataclass(frozen=True)
class Entry:
    """One entry of an archive: its name there, its size unpacked, what it is, and how to read it."""

    name: str
    size: int
    kind: Literal["file", "folder", "link", "device", "encrypted file"]
    open: Callable[[], IO[bytes]]


@dataclass(frozen=True)
class Unpacked:
    """Pictures of an archive that are in the target now, and their bytes."""

    pictures: int
    size: int


def unpack(archive: Path, target: Path, place: Callable[[str], str | None] = lambda name: name) -> Unpacked:
    """Write the pictures of a zip or tar archive (plain or compressed) below `target`.

    A picture that is there with its full size is not written again. Names of zip and plain tar are all checked before
    the first picture is written, those of a compressed tar as they come.

    Args:
        place: from an entry's name to its path below `target`; None leaves it out.

    Raises:
        UnpackError: no such archive, or a damaged one; an entry that would land outside the target, is a link, a
            device, encrypted or named twice; contents far larger than the archive.
        OSError: the disk is full (also found before the first picture, where sizes are known) or not writable.
    """
    if not archive.is_file():
        raise UnpackError(f"{archive}: no such file")
    guard = _Guard(archive)
    pictures = written = 0
    with _entries(archive) as (entries, streamed):
        if not streamed:
            known = list(entries)
            for entry in known:
                guard.check(entry)
            _require_room(target, known, place)
            entries = iter(known)
        with tqdm(desc=f"unpacking {archive.name}", unit="B", unit_scale=True, delay=1, disable=None) as bar:
            for entry in entries:
                if streamed:
                    guard.check(entry)
                destination = _destination(entry, target, place)
                if destination is None:
                    continue
                if not (destination.is_file() and destination.stat().st_size == entry.size):
                    _write(entry, destination, target, archive)
                bar.update(entry.size)
                pictures += 1
                written += entry.size
    return Unpacked(pictures, written)


class _Guard:
    """Refuses entries that nobody honest would pack."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        self.limit = max(_SMALL, BOMB * archive.stat().st_size)
        self.total = 0
        self.seen: set[str] = set()

    def check(self, entry: Entry) -> None:
        path = PurePosixPath(entry.name)
        if (
            path.is_absolute()
            or ".." in path.parts
            or "\\" in entry.name
            or "\0" in entry.name
            or re.match("[A-Za-z]:", entry.name)
        ):
            self._refuse(entry, "would be written outside the folder")
        if entry.kind in ("link", "device", "encrypted file"):
            self._refuse(entry, f"is a {entry.kind}".replace("a enc", "an enc"))
        if entry.kind == "file" and entry.name in self.seen:
            self._refuse(entry, "is there twice")
        self.seen.add(entry.name)
        self.total += entry.size
        if self.total > self.limit:
            self._refuse(
                entry,
                f"brings the contents to {self.total / 1e6:.0f} MB, more than {BOMB} times the archive: a zip bomb",
            )

    def _refuse(self, entry: Entry, reason: str) -> None:
        raise UnpackError(
            f"{self.archive}: not to be trusted, its entry {entry.name!r} {reason}; delete it, and fetch it "
            "from its authors again"
        )


@contextmanager
def _entries(archive: Path) -> Iterator[tuple[Iterator[Entry], bool]]:
    """The entries, and whether they can be seen only one after the other."""
    try:
        with archive.open("rb") as file:
            head = file.read(12)
        if head[:2] == b"PK":
            with zipfile.ZipFile(archive) as opened:
                yield iter([_of_zip(opened, info) for info in opened.infolist()]), False
        else:
            with tarfile.open(archive) as tar:
                yield (
                    (_of_tar(tar, member) for member in tar),
                    tar.fileobj is not None and not _is_plain(head),
                )
    except _DAMAGE as error:
        reason = str(error).partition("\n")[0].rstrip(":")  # tarfile lists what each of its readers said
        raise UnpackError(
            f"{archive}: damaged, or neither zip nor tar ({reason}; it begins with {head!r}); delete it, and "
            "fetch it again"
        ) from None


def _is_plain(head: bytes) -> bool:
    """Whether the tar is not compressed: it begins with a file's name, not with the mark of gzip, bzip2 or xz."""
    return head[:2] != b"\x1f\x8b" and head[:3] != b"BZh" and head[:4] != b"\xfd7zX"


def _of_zip(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Entry:
    mode = info.external_attr >> 16 & 0o170000
    kind: Literal["file", "folder", "link", "device", "encrypted file"] = "file"
    if info.is_dir():
        kind = "folder"
    elif mode == 0o120000:
        kind = "link"
    elif mode not in (0, 0o100000):
        kind = "device"
    elif info.flag_bits & 1:
        kind = "encrypted file"
    name = info.orig_filename  # before Python's own cleaning, which hides a zero byte
    return Entry(name, info.file_size, kind, lambda: opened.open(info))


def _of_tar(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Entry:
    kind: Literal["file", "folder", "link", "device"] = "device"
    if member.isreg():
        kind = "file"
    elif member.isdir():
        kind = "folder"
    elif member.issym() or member.islnk():
        kind = "link"

    def open_it() -> IO[bytes]:
        file = tar.extractfile(member)
        assert file is not None  # a regular file
        return file

    return Entry(member.name, member.size, kind, open_it)


def _destination(entry: Entry, target: Path, place: Callable[[str], str | None]) -> Path | None:
    """Where a picture goes; None for all else, hidden files and macOS's shadows of files among it."""
    path = PurePosixPath(entry.name)
    if entry.kind != "file" or path.suffix.lower() not in SUFFIXES:
        return None
    if any(part.startswith(".") or part == "__MACOSX" for part in path.parts):
        return None
    below = place(entry.name)
    return None if below is None else target / below


def _require_room(target: Path, entries: list[Entry], place: Callable[[str], str | None]) -> None:
    """Before the first picture: is there room for those that are not there yet?"""
    missing = 0
    for entry in entries:
        destination = _destination(entry, target, place)
        if destination is not None and not destination.exists():
            missing += entry.size
    target.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target).free
    if missing > free:
        raise OSError(
            28, f"{missing / 1e9:.1f} GB are needed to unpack, {free / 1e9:.1f} GB are free", str(target)
        )


def _write(entry: Entry, destination: Path, target: Path, archive: Path) -> None:
    destination.parent.mkdir(parents=True, exist_ok=True)
    if target.resolve() not in destination.resolve().parents:  # through a link that lay there before
        raise UnpackError(f"{destination}: a link leads out of {target}; remove the link")
    try:
        with (
            entry.open() as source,
            atomic_path(destination) as temporary,
            temporary.open("wb") as file,
        ):
            shutil.copyfileobj(source, file, _PIECE)
            if file.tell() != entry.size:
                raise EOFError(f"{file.tell()} bytes of {entry.size}")
    except _DAMAGE as error:
        raise UnpackError(
            f"{archive}: damaged at its entry {entry.name!r} ({error}); delete it, and fetch it again"
        ) from None
