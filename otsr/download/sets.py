"""Data sets for training and testing that are too large to travel with the package: where they are, and getting them.

    folder = sets.get("div2k", Path("datasets"))      # datasets/div2k/DIV2K_train_HR/0001.png …

Each archive is fetched (resumed where it stopped), checked, unpacked into a folder of its own, and counted. A small
file beside it records that this is done, so the archive itself can be deleted. Hashes and numbers of pictures are those
that the authors or several public projects state; where no hash is known the size that the server announces is
checked, and the hash of what came recorded. Sizes here are estimates, for the disk's sake.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from filelock import FileLock

from otsr.download.archives import UnpackError, unpack
from otsr.download.fetching import DownloadError, fetch, require_room
from otsr.images import atomic_path, find_images


class DataSetError(ValueError):
    """A data set that cannot be had; the message says why and what to do."""


@dataclass(frozen=True)
class Archive:
    """One file of a data set.

    Attributes:
        file: its name; the pictures go to the folder of that name without suffix.
        size, unpacked: bytes of the file and of its pictures, about.
        pictures: how many it holds, if known.
        url: address; None if registration is required.
        known: its hash, see `otsr.download.fetch`; None if nobody published one.
        place: from an entry's name to its path in the folder, None to leave it out; by default a leading folder that is
            named like the archive is dropped.
        needed: whether the data set counts as present only with it.
    """

    file: str
    size: int
    unpacked: int
    pictures: int | None = None
    url: str | None = None
    known: str | None = None
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

    def pictures_in(self, root: Path) -> list[Path]:
        """Its pictures that lie unpacked in the folder of the data set."""
        folder = root / self.folder
        return find_images([folder]) if folder.is_dir() else []

    def mark(self, root: Path) -> Path:
        """The file that records that it is complete."""
        return root / f".{self.folder}.complete.json"

    def complete(self, root: Path) -> bool:
        """Recorded as complete, and no picture has gone since."""
        if not self.mark(root).is_file():
            return False
        return len(self.pictures_in(root)) >= int(json.loads(self.mark(root).read_text())["pictures"])


@dataclass(frozen=True)
class DataSet:
    """A data set with a name.

    Attributes:
        page: address of its authors, with the terms and, if required, the registration.
        advice: how to find the files there.
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
        """Whether its files are only available after registration."""
        return not any(archive.url for archive in self.archives)

    def present(self, root: Path) -> bool:
        """Whether all that is needed lies unpacked below root/NAME."""
        return all(archive.complete(root / self.name) for archive in self.archives if archive.needed)


def home() -> Path:
    """Where data sets go unless said otherwise: $OTSR_DATASETS, else the folder `datasets` here."""
    return Path(os.environ.get("OTSR_DATASETS", "datasets"))


def catalogue() -> list[DataSet]:
    """All data sets that have a name."""
    return list(DATA_SETS)


def get(name: str, root: Path, note: Callable[[str], None] = print) -> Path:
    """The folder of a data set below `root`, fetched and unpacked where it is not there yet.

    Args:
        note: receives what is being done.

    Raises:
        DataSetError: unknown name, registration is required first, too little disk, a download that failed, an
            archive that is damaged or not to be trusted, or another number of pictures than it should have.
    """
    chosen = next((one for one in DATA_SETS if one.name == name), None)
    if chosen is None:
        names = [one.name for one in DATA_SETS]
        close = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise DataSetError(f"no data set is called {name!r}; {hint}there are {', '.join(names)}")
    folder = root / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            _check_registered(chosen, folder)
            _check_room(chosen, folder)
            for archive in chosen.archives:
                if not archive.complete(folder):
                    _complete(archive, folder, note)
    except (DownloadError, UnpackError) as error:
        raise DataSetError(f"{name}: {error}") from None
    except OSError as error:
        raise DataSetError(
            f"{name}: {error.filename or folder}: cannot be written ({error.strerror or error}); make room, or choose "
            "another folder with --out, then run again to go on from here"
        ) from None
    return folder


def _complete(archive: Archive, folder: Path, note: Callable[[str], None]) -> None:
    """Fetch, unpack, count, record."""
    path, target = folder / archive.file, folder / archive.folder
    by_hand = len(archive.pictures_in(folder))
    if archive.url:
        if archive.known is None:
            note(f"{archive.file}: nobody published its hash, so its size is checked")
        fetch([archive.url], path, archive.known)
    elif not path.is_file() and by_hand:
        return _record(archive, folder, by_hand)
    elif not path.is_file():
        return note(f"{archive.file}: not in {folder}; left out; training does not need it")
    found = unpack(path, target, archive.placed).pictures
    if found == 0:
        raise UnpackError(f"{path}: it holds none of the pictures of {archive.file}; is it another archive?")
    _record(archive, folder, found)
    return note(f"{target}: {found} pictures; {path} ({path.stat().st_size / 1e9:.1f} GB) may be deleted")


def _record(archive: Archive, folder: Path, found: int) -> None:
    if archive.pictures is not None and found != archive.pictures:
        raise UnpackError(
            f"{folder / archive.folder} holds {found} pictures, {archive.file} has {archive.pictures}; delete both and "
            "fetch the archive again"
        )
    with atomic_path(archive.mark(folder)) as temporary:
        temporary.write_text(json.dumps({"pictures": found}) + "\n")


def _check_registered(chosen: DataSet, folder: Path) -> None:
    """Where registration is required: has the user put the files there?"""
    missing = [
        archive.file
        for archive in chosen.archives
        if archive.needed
        and not archive.url
        and not (folder / archive.file).is_file()
        and not archive.pictures_in(folder)
    ]
    if missing:
        raise DataSetError(
            f"{chosen.name} is only available after registration.\n"
            f"  1. Register at {chosen.page} and accept the terms.\n"
            f"  2. Fetch {', '.join(archive.file for archive in chosen.archives)} there"
            f"{f' ({chosen.advice})' if chosen.advice else ''}.\n"
            f"  3. Put them into {folder} (or their pictures into folders of these names without .zip).\n"
            "  4. Run this command again: it checks and unpacks them.\n"
            f"Missing: {', '.join(missing)}"
        )


def _check_room(chosen: DataSet, folder: Path) -> None:
    """Room for the archives that are not there yet, and for what they unpack to, before the first byte comes."""
    needed = 0
    for archive in chosen.archives:
        path = folder / archive.file
        if archive.complete(folder) or not (
            archive.url or path.exists()
        ):  # or not to be had, or unpacked by hand
            continue
        there = [one.stat().st_size for one in (path, path.with_name(f"{path.name}.part")) if one.exists()]
        unpacked = [one.stat().st_size for one in archive.pictures_in(folder)]
        needed += max(0, archive.size - sum(there)) if archive.url else 0
        needed += max(0, archive.unpacked - sum(unpacked))
    require_room(folder, needed)


def _below(top: str) -> Callable[[str], str | None]:
    """Only the entries below a folder of the archive, without it."""
    return lambda name: name.removeprefix(f"{top}/") if name.startswith(f"{top}/") else None


def _with_folder(part: str) -> Callable[[str], str | None]:
    """Only the entries that have a folder of that name in their path."""
    return lambda name: name if part in PurePosixPath(name).parts[:-1] else None


_GB = 1_000_000_000
_DIV2K = "https://data.vision.ee.ethz.ch/cvl/DIV2K/"
_CODALAB = "https://competitions.codalab.org/competitions/"

DATA_SETS: tuple[DataSet, ...] = (
    DataSet(
        "div2k",
        "900 sharp photos of 2 megapixels and more: 800 to train, 100 to validate",
        "academic research only (its page)",
        _DIV2K,
        (
            Archive(
                "DIV2K_train_HR.zip", 3_530_603_713, 3_540_000_000, 800, _DIV2K + "DIV2K_train_HR.zip",
                "sha256:9d0b9c463f6e35b6c62cc6a930ee2224f670b34c1df841a57670f9acf0f6c335",
            ),
            Archive(
                "DIV2K_valid_HR.zip", 448_993_893, 450_000_000, 100, _DIV2K + "DIV2K_valid_HR.zip",
                "sha256:20dd31fd84d777bc1cf5d6b7654a3f569c0aec74458ae094122ad1d0489900fc",
            ),
        ),
    ),
    DataSet(
        "flickr2k",
        "2650 sharp photos of 2 megapixels; of the archive only the HR ones are unpacked",
        "research; each photo keeps its owner's licence",
        "https://github.com/LimBee/NTIRE2017",
        (
            Archive(
                "Flickr2K.tar", 21 * _GB, 12 * _GB, 2650, "https://cv.snu.ac.kr/research/EDSR/Flickr2K.tar",
                "md5:5d3f39443d5e9489bff8963f8f26cb03", place=_below("Flickr2K/Flickr2K_HR"),
            ),
        ),
    ),
    DataSet(
        "dped",
        "5727 photos of an iPhone 3GS; of the archive only these are unpacked",
        "not stated by its authors; cite Ignatov et al., ICCV 2017",
        "https://aiff22.github.io/#dataset",
        (
            Archive(
                "original_images.gz", 54 * _GB, 15 * _GB, None,
                "https://download.ai-benchmark.com/s/rC6PwBK8exRomy8/download/original_images.gz",
                place=_with_folder("iphone"),
            ),
        ),
    ),
    DataSet(
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
    DataSet(
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
