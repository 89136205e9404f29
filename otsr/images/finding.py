"""Which files of a folder are pictures."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

from otsr.images.decoding import HEIF

_HEIF = frozenset({".heic", ".heif", ".hif"})
SUFFIXES = _HEIF | {
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".avif", ".tif", ".tiff", ".bmp", ".dib",
    ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".psd", ".tga", ".pcx", ".qoi",
}  # fmt: skip
"""Suffixes of the pictures that are found in folders."""
UNREADABLE = frozenset(
    {".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2", ".pef", ".srw"}
)
"""Suffixes of pictures that cannot be read; a search names them instead of skipping them silently."""


def find_images(
    paths: Iterable[str | os.PathLike[str]], on_error: Callable[[Path, str], None] | None = None
) -> list[Path]:
    """Files named by `paths`, and the pictures (by suffix, sorted) below the folders among them.

    Hidden files are skipped. Unreadable folders, loops of links, missing paths and pictures in formats that cannot be
    read go to `on_error(path, reason)` (a warning by default) and do not stop the walk.
    """
    report = on_error or (lambda path, reason: warnings.warn(f"{path}: {reason}", stacklevel=3))
    found: list[Path] = []
    for path in map(Path, paths):
        try:
            if path.is_dir():
                found += _walk(path, frozenset(), report)
            elif path.exists():
                found.append(path)
            else:
                report(path, "no such file or folder")
        except OSError as error:
            report(path, error.strerror or str(error))
    return list(dict.fromkeys(found))


def _walk(folder: Path, above: frozenset[Path], report: Callable[[Path, str], None]) -> list[Path]:
    real = folder.resolve()
    if real in above:
        report(folder, "a link that leads back to a folder above it; skipped")
        return []
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        report(folder, error.strerror or str(error))
        return []
    found: list[Path] = []
    for entry in entries:
        path = folder / entry.name
        try:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                found += _walk(path, above | {real}, report)
            elif reason := _unreadable(path.suffix.lower()):
                report(path, f"{reason}; skipped")
            elif path.suffix.lower() in SUFFIXES:
                found.append(path)
        except OSError as error:
            report(path, error.strerror or str(error))
    return found


def _unreadable(suffix: str) -> str | None:
    if suffix in _HEIF and not HEIF:
        return "HEIC is read by pillow-heif, which is missing here: pip install pillow-heif"
    return f"{suffix} cannot be read; convert it to PNG, TIFF or JPEG" if suffix in UNREADABLE else None
