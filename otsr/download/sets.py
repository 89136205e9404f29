"""Data sets for training and testing that are too large to travel with the package: where they are, and getting them.

    folder = sets.get("div2k", Path("datasets"))      # datasets/div2k/DIV2K_train_HR/0001.png …

Each archive is fetched (resumed where it stopped), checked, unpacked into a folder of its own, and counted. A small
file beside it records that this is done, so the archive itself can be deleted. Hashes, exact sizes and numbers of
pictures are those that the authors or several public projects state; where no hash is known the size that the server
announces is checked, and the hash of what came recorded. Sizes that are not exact are estimates, for the disk's sake.
"""

from __future__ import annotations

import difflib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from filelock import FileLock

from otsr.download.archives import UnpackError, unpack
from otsr.download.fetching import DownloadError, fetch
from otsr.images import atomic_path, find_images


class CollectionError(ValueError):
    """A data set that cannot be had; the message says why and what to do."""


@dataclass(frozen=True)
class Archive:
    """One file of a data set.

    Attributes:
        file: its name; the pictures go to the folder of that name without suffix.
        size: bytes; exact where `exact` says so.
        unpacked: bytes of its pictures, about.
        pictures: how many it holds; None where nobody says.
        urls: addresses; none where a registration is needed.
        known: its hash, see `otsr.download.fetch`; None where nobody published one.
        place: from an entry's name to its path in the folder, None to leave it out; by default entries stay as they
            are, and those below a folder that is called like the archive lose that.
        needed: whether the data set counts as present only with it.
    """

    file: str
    size: int
    unpacked: int
    pictures: int | None = None
    urls: tuple[str, ...] = ()
    known: str | None = None
    exact: bool = False
    place: Callable[[str], str | None] | None = None
    needed: bool = True

    @property
    def folder(self) -> str:
        """Where its pictures go."""
        return self.file.split(".")[0]

    def placed(self, entry: str) -> str | None:
        """Where in its folder an entry goes; None if it is left out."""
        entry = entry.removeprefix("./")
        return self.place(entry) if self.place else entry.removeprefix(f"{self.folder}/")


@dataclass(frozen=True)
class Collection:
    """A data set with a name.

    Attributes:
        page: address of its authors, where terms and, if needed, the registration are.
        advice: what helps to find the files there.
    """

    name: str
    what: str
    licence: str
    page: str
    archives: tuple[Archive, ...]
    advice: str = ""

    @property
    def size(self) -> int:
        """Bytes to download, about."""
        return sum(archive.size for archive in self.archives)

    @property
    def needs_registration(self) -> bool:
        """Whether its files are handed out to registered people only."""
        return not any(archive.urls for archive in self.archives)

    def present(self, root: Path) -> bool:
        """Whether all that is needed lies unpacked below root/NAME."""
        return all(_is_done(root / self.name, archive) for archive in self.archives if archive.needed)


def home() -> Path:
    """Where data sets go unless said otherwise: $OTSR_DATASETS, else the folder `datasets` here."""
    return Path(os.environ.get("OTSR_DATASETS", "datasets"))


def catalogue() -> list[Collection]:
    """All data sets that have a name."""
    return list(COLLECTIONS)


def get(name: str, root: Path, note: Callable[[str], None] = print) -> Path:
    """The folder of a data set below `root`, fetched and unpacked where it is not there yet.

    Args:
        note: told what is done, and what a reader should know.

    Raises:
        CollectionError: unknown name, a registration is needed first, too little disk, a download that failed, an
            archive that is damaged or not to be trusted, or another number of pictures than it should have.
    """
    collection = next((one for one in COLLECTIONS if one.name == name), None)
    if collection is None:
        names = [one.name for one in COLLECTIONS]
        close = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise CollectionError(f"no data set is called {name!r}; {hint}there are {', '.join(names)}")
    folder = root / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            _check_handed_out(collection, folder)
            _check_room(collection, folder)
            for archive in collection.archives:
                if not _is_done(folder, archive):
                    _complete(archive, folder, note)
    except (DownloadError, UnpackError) as error:
        raise CollectionError(f"{name}: {error}") from None
    except OSError as error:
        raise CollectionError(
            f"{name}: {error.filename or folder}: cannot be written ({error.strerror or error}); make room, or choose "
            "another folder with --out, then run again: it goes on where it stopped"
        ) from None
    return folder


def _complete(archive: Archive, folder: Path, note: Callable[[str], None]) -> None:
    """Fetch, unpack, count, record."""
    path, target = folder / archive.file, folder / archive.folder
    if archive.urls:
        if archive.known is None:
            note(f"{archive.file}: its hash is unknown, its size is checked")
        fetch(archive.urls, path, archive.known, size=archive.size if archive.exact else None)
    elif not path.is_file():
        if found := len(_pictures(target)):  # unpacked by hand
            _record(archive, folder, found)
        else:
            note(f"{archive.file}: not in {folder}; left out, training does not need it")
        return
    unpacked = unpack(path, target, archive.placed)
    if unpacked.pictures == 0:
        raise UnpackError(f"{path}: none of its pictures are those looked for; is it {archive.file} at all?")
    _record(archive, folder, unpacked.pictures)
    note(
        f"{target}: {unpacked.pictures} pictures; {path} ({path.stat().st_size / 1e9:.1f} GB) may be deleted"
    )


def _record(archive: Archive, folder: Path, found: int) -> None:
    if archive.pictures is not None and found != archive.pictures:
        raise UnpackError(
            f"{folder / archive.folder} holds {found} pictures, {archive.file} has {archive.pictures}; delete both and "
            "fetch the archive again"
        )
    with atomic_path(_mark(folder, archive)) as temporary:
        temporary.write_text(json.dumps({"pictures": found}) + "\n")


def _mark(folder: Path, archive: Archive) -> Path:
    return folder / f".{archive.folder}.complete.json"


def _is_done(folder: Path, archive: Archive) -> bool:
    """Recorded as complete, and no picture has gone since."""
    mark = _mark(folder, archive)
    if not mark.is_file():
        return False
    return len(_pictures(folder / archive.folder)) >= int(json.loads(mark.read_text())["pictures"])


def _pictures(folder: Path) -> list[Path]:
    return find_images([folder]) if folder.is_dir() else []


def _check_handed_out(collection: Collection, folder: Path) -> None:
    """Where a registration is needed: has the user put the files there?"""
    missing = [
        archive.file
        for archive in collection.archives
        if archive.needed
        and not archive.urls
        and not (folder / archive.file).is_file()
        and not _pictures(folder / archive.folder)
    ]
    if missing:
        raise CollectionError(
            f"{collection.name} is handed out to registered people only.\n"
            f"  1. Register at {collection.page} and accept the terms.\n"
            f"  2. Fetch {', '.join(archive.file for archive in collection.archives)} there"
            f"{' (' + collection.advice + ')' if collection.advice else ''}.\n"
            f"  3. Put them into {folder} (or their pictures into folders of these names without .zip).\n"
            "  4. Run this command again: it checks and unpacks them.\n"
            f"Missing: {', '.join(missing)}"
        )


def _check_room(collection: Collection, folder: Path) -> None:
    """Room for the archives that are not there yet, and for what they unpack to, before the first byte comes."""
    needed = 0
    for archive in collection.archives:
        if _is_done(folder, archive):
            continue
        there = [folder / archive.file, folder / f"{archive.file}.part"]
        if archive.urls:
            needed += max(0, archive.size - sum(path.stat().st_size for path in there if path.exists()))
        elif not there[0].exists():
            continue  # not to be had, or unpacked by hand
        unpacked = sum(path.stat().st_size for path in _pictures(folder / archive.folder))
        needed += max(0, archive.unpacked - unpacked)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise CollectionError(
            f"{collection.name} needs {needed / 1e9:.1f} GB more, archives and pictures, and {folder} has "
            f"{free / 1e9:.1f} GB free; make room, or choose another folder with --out"
        )


def _below(top: str) -> Callable[[str], str | None]:
    """Only the entries below a folder of the archive, without it."""
    return lambda name: name.removeprefix(f"{top}/") if name.startswith(f"{top}/") else None


def _with_folder(part: str) -> Callable[[str], str | None]:
    """Only the entries that have a folder of that name in their path."""
    return lambda name: name if part in PurePosixPath(name).parts[:-1] else None


_GB = 1_000_000_000
_DIV2K = "https://data.vision.ee.ethz.ch/cvl/DIV2K/"
_CODALAB = "https://competitions.codalab.org/competitions/"

COLLECTIONS: tuple[Collection, ...] = (
    Collection(
        "div2k",
        "900 sharp photos of 2 megapixels and more: 800 to train, 100 to validate",
        "academic research only (its page)",
        _DIV2K,
        (
            Archive(
                "DIV2K_train_HR.zip", 3_530_603_713, 3_540_000_000, 800, (_DIV2K + "DIV2K_train_HR.zip",),
                "sha256:9d0b9c463f6e35b6c62cc6a930ee2224f670b34c1df841a57670f9acf0f6c335", exact=True,
            ),
            Archive(
                "DIV2K_valid_HR.zip", 448_993_893, 450_000_000, 100, (_DIV2K + "DIV2K_valid_HR.zip",),
                "sha256:20dd31fd84d777bc1cf5d6b7654a3f569c0aec74458ae094122ad1d0489900fc", exact=True,
            ),
        ),
    ),
    Collection(
        "flickr2k",
        "2650 sharp photos of 2 megapixels; of the archive only the HR ones are unpacked",
        "research; each photo keeps its owner's licence",
        "https://github.com/LimBee/NTIRE2017",
        (
            Archive(
                "Flickr2K.tar", 21 * _GB, 12 * _GB, 2650, ("https://cv.snu.ac.kr/research/EDSR/Flickr2K.tar",),
                "md5:5d3f39443d5e9489bff8963f8f26cb03", place=_below("Flickr2K/Flickr2K_HR"),
            ),
        ),
    ),
    Collection(
        "dped",
        "5727 photos of an iPhone 3GS; of the archive only these are unpacked",
        "not stated by its authors; cite Ignatov et al., ICCV 2017",
        "https://aiff22.github.io/#dataset",
        (
            Archive(
                "original_images.gz", 54 * _GB, 15 * _GB, None,
                ("https://download.ai-benchmark.com/s/rC6PwBK8exRomy8/download/original_images.gz",),
                place=_with_folder("iphone"),
            ),
        ),
    ),
    Collection(
        "ntire2020-track1",
        "NTIRE 2020 real-world SR, track 1: 2650 noisy photos, 800 clean ones, 100 to validate",
        "terms of the challenge",
        _CODALAB + "22220",
        (
            Archive("Corrupted-tr-x.zip", 12 * _GB, 12 * _GB, 2650),
            Archive("Corrupted-tr-y.zip", 4 * _GB, 4 * _GB, 800),
            Archive("Corrupted-va-x.zip", _GB // 10, _GB // 10, 100, needed=False),
            Archive("track1-valid-gt.zip", _GB // 2, _GB // 2, 100, needed=False),
        ),
        "where they are called track1-train-source.zip, train-target.zip and track1-valid-input.zip, rename them",
    ),
    Collection(
        "ntire2020-track2",
        "NTIRE 2020 real-world SR, track 2: photos of an iPhone 3GS, and 800 clean ones",
        "terms of the challenge",
        _CODALAB + "22221",
        (
            Archive("DPEDiphone-tr-x.zip", 15 * _GB, 15 * _GB),
            Archive("DPEDiphone-tr-y.zip", 4 * _GB, 4 * _GB, 800),
            Archive("DPEDiphone-va.zip", _GB, _GB, needed=False),
            Archive("DPEDiphone-crop-te-x.zip", _GB // 10, _GB // 10, 100, needed=False),
        ),
    ),
)  # fmt: skip
