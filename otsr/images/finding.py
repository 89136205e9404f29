"""Which files of a folder are pictures, and what to say of a path that is not there."""

import difflib
import os
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

SUFFIXES = {
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".avif", ".heic", ".heif", ".hif", ".tif",
    ".tiff", ".bmp", ".dib", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".psd", ".tga", ".pcx", ".qoi",
}  # fmt: skip
"""Suffixes of the pictures that are found in folders."""
UNREADABLE = {".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2", ".pef", ".srw"}
"""Suffixes of pictures that cannot be read; a search names them instead of skipping them silently."""

Report = Callable[[Path, str], None]


def find_images(paths: Iterable[str | os.PathLike[str]], on_error: Report | None = None) -> list[Path]:
    """Files named by `paths`, and the pictures (by suffix, sorted) below the folders among them.

    Hidden files are skipped. Unreadable or empty folders, loops of links, missing paths and pictures in formats that
    cannot be read go to `on_error(path, reason)` (a warning by default) and do not stop the walk.
    """
    report = on_error or (lambda path, reason: warnings.warn(f"{path}: {reason}", stacklevel=3))
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        pictures = dict.fromkeys(_pictures(path, report))
        if not pictures and path.is_dir():
            report(path, f"no pictures in this folder (looked for {', '.join(sorted(SUFFIXES))})")
        found |= pictures
    return list(found)


def _pictures(path: Path, report: Report, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Args: above: the folders that lead to `path`; none if it was named, and then it need not look like a picture."""
    suffix = path.suffix.lower()
    try:
        if path.is_dir():
            real = path.resolve()
            if real in above:
                report(path, "a link that leads back to a folder above it; skipped")
                return
            for inside in sorted(path.iterdir()):
                if not inside.name.startswith("."):
                    yield from _pictures(inside, report, (*above, real))
        elif above and suffix in UNREADABLE:
            report(path, f"{suffix} cannot be read; convert it to PNG, TIFF or JPEG; skipped")
        elif above and suffix not in SUFFIXES:
            return
        elif path.exists():
            yield path
        else:
            report(path, f"no such file or folder{suggestion(path)}")
    except OSError as error:
        report(path, error.strerror or str(error))


def name_of(path: str | os.PathLike[str]) -> str:
    """A path as text that any file can hold: what is not UTF-8, as in names out of old archives, becomes "\\xe9"."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def label(path: Path, taken: Collection[str]) -> str:
    """The name of a file; its whole path where the name is taken, as folders of a camera may hold the same one."""
    return name_of(path if name_of(path.name) in taken else path.name)


def suggestion(path: Path) -> str:
    """For a path that does not exist: the name in its folder that is nearest, as `did_you_mean` says it."""
    try:
        return did_you_mean(path.name, {other.name for other in path.parent.iterdir()} - {path.name})
    except OSError:
        return ""


def did_you_mean(name: str, known: Collection[str]) -> str:
    """ "; did you mean X?", the known name nearest to an unknown one; "" if none is close."""
    close = difflib.get_close_matches(name, sorted(known), 1)
    return f"; did you mean {close[0]}?" if close else ""
