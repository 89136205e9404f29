"""Data sets for training and testing that are too large to travel with the package: where they are, and getting them.

    folder = sets.get("div2k", Path("datasets"))      # datasets/div2k/DIV2K_train_HR/0001.png …

`data_sets.yml` lists them. Each archive is fetched, checked, unpacked into a folder of its own, and counted. A small
file beside it records that this is done, so the archive itself can be deleted.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from otsr.download.archives import unpack
from otsr.download.fetching import DownloadError, alone, fetch, require_room
from otsr.images import atomic_path, find_images


@dataclass(frozen=True)
class Archive:
    """One file of a data set, whose folder is called `root` here."""

    file: str
    size: int  # bytes of the file, about
    unpacked: int  # bytes of its pictures, about
    pictures: int | None = None  # how many it holds, if known
    url: str | None = None  # None: registration is required
    known: str | None = None  # its hash, see `otsr.download.fetch`, if somebody published it
    only: str = ""  # pattern of the entries to unpack; its group is the path in the folder

    @property
    def folder(self) -> str:
        """The name of the folder of its pictures."""
        return self.file.split(".")[0]

    def placed(self, entry: str) -> str | None:
        """Where in its folder an entry goes, without a leading folder named like it; None if it is left out."""
        match = re.fullmatch(self.only or rf"(?:{self.folder}/)?(.+)", entry.removeprefix("./"))
        return match and match[1]

    def pictures_in(self, root: Path) -> list[Path]:
        """Its pictures that lie unpacked there."""
        return find_images([root / self.folder], lambda *_: None)

    def mark(self, root: Path) -> Path:
        """The file that records that it is complete."""
        return root / f".{self.folder}.complete.json"

    def complete(self, root: Path) -> bool:
        """Recorded as complete, and no picture has gone since."""
        mark = self.mark(root)
        return mark.is_file() and len(self.pictures_in(root)) >= int(json.loads(mark.read_text())["pictures"])

    def needs(self, root: Path) -> int:
        """Bytes that it and its pictures will still take on the disk."""
        there = [*root.glob(f"{self.file}*"), *self.pictures_in(root)]
        return max(0, self.size + self.unpacked - sum(path.stat().st_size for path in there))


@dataclass(frozen=True)
class DataSet:
    """A data set with a name; `page` is that of its authors, with the terms and, if required, the registration."""

    name: str
    what: str
    licence: str
    page: str
    archives: tuple[Archive, ...]

    @property
    def size(self) -> int:
        """Bytes to download, about."""
        return sum(archive.size for archive in self.archives)

    def present(self, root: Path) -> bool:
        """Whether it lies unpacked below root/NAME."""
        return all(archive.complete(root / self.name) for archive in self.archives)


def get(name: str, root: Path, note: Callable[[str], None] = print) -> Path:
    """The folder of a data set below `root`, fetched and unpacked where it is not there; `note` is told what is done.

    Raises DownloadError: registration is required first, too little disk, a download that failed, an archive that is
    damaged or unsafe, or the wrong number of pictures.
    """
    chosen = next(one for one in DATA_SETS if one.name == name)
    folder = root / name
    try:
        with alone(folder / ".lock"):
            missing = [archive for archive in chosen.archives if not archive.complete(folder)]
            _check_registered(chosen, missing, folder)
            require_room(folder, sum(archive.needs(folder) for archive in missing if archive.url))
            for archive in missing:
                _complete(archive, folder, note)
    except DownloadError as error:
        raise DownloadError(f"{name}: {error}") from None
    return folder


def _check_registered(chosen: DataSet, missing: list[Archive], folder: Path) -> None:
    """Where registration is required: has the user put the files there?"""
    asked = (one for one in missing if not one.url and not one.pictures_in(folder))
    if absent := [one.file for one in asked if not (folder / one.file).is_file()]:
        raise DownloadError(
            f"{chosen.name} is only available after registration.\n"
            f"  1. Register at {chosen.page} and accept the terms.\n"
            f"  2. Fetch {', '.join(archive.file for archive in chosen.archives)} there.\n"
            f"  3. Put them into {folder} (or their pictures into folders of these names without .zip).\n"
            "  4. Run this command again: it checks and unpacks them.\n"
            f"Missing: {', '.join(absent)}"
        )


def _complete(archive: Archive, folder: Path, note: Callable[[str], None]) -> None:
    """Fetch, unpack, count, record."""
    path, target = folder / archive.file, folder / archive.folder
    if archive.url:
        if archive.known is None:
            note(f"{archive.file}: nobody published its hash, so its size is checked")
        fetch([archive.url], path, archive.known)
    done = ""
    if path.is_file():
        if not unpack(path, target, archive.placed):
            raise DownloadError(f"{path}: no pictures of {path.name} in it; is it a different archive?")
        done = f"; {path} ({path.stat().st_size / 1e9:.1f} GB) may be deleted"
    found = len(archive.pictures_in(folder))
    if archive.pictures not in (None, found):
        counts = f"{target} holds {found} pictures, {archive.file} has {archive.pictures}"
        raise DownloadError(f"{counts}; delete both and fetch it again")
    with atomic_path(archive.mark(folder)) as temporary:
        temporary.write_text(json.dumps({"pictures": found}) + "\n")
    note(f"{target}: {found} pictures{done}")


_LIST = yaml.safe_load(Path(__file__).with_name("data_sets.yml").read_text(encoding="utf-8"))
DATA_SETS = tuple(
    DataSet(name, **{**row, "archives": tuple(Archive(**archive) for archive in row["archives"])})
    for name, row in _LIST.items()
)
