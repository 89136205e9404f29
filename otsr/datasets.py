"""Course photos and phone crops: where they are, which split they belong to, whether they are intact.

They travel with the package, so that a notebook in Colab and a laptop without network find the same files.
"""

import csv
import os
from pathlib import Path

_SPLITS = ("train", "val", "test")
_PACKAGE = Path(__file__).parent


def data_dir() -> Path:
    """The folder `data/`: $OTSR_DATA if set, else inside the installed package, else the checkout's."""
    chosen = os.environ.get("OTSR_DATA")
    candidates = [Path(chosen)] if chosen else [_PACKAGE / "data", _PACKAGE.parent / "data"]
    for folder in candidates:
        if (folder / "photos" / "SOURCES.tsv").is_file():
            return folder
    places = " or ".join(map(str, candidates))
    raise FileNotFoundError(f"no course data in {places}; set OTSR_DATA to the repository's data/ folder")


def recipes() -> dict[str, Path]:
    """The recipes for training that come with the package, by name, sorted."""
    folders = (_PACKAGE.parent / "configs", _PACKAGE / "configs")
    found = {path.stem: path for folder in folders for path in folder.glob("*.yml")}
    return dict(sorted(found.items()))


def sources(folder: str) -> list[dict[str, str]]:
    """Rows of data/<folder>/SOURCES.tsv: file, licence, author, source, sha256 and more, one dict a file."""
    with (data_dir() / folder / "SOURCES.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def photos(split: str | None = None) -> list[Path]:
    """Sharp photographs, about 1024×700, public domain or CC0, sorted by name.

    Args:
        split: "train", "val" or "test"; None for all. Test photos never enter training or tuning.
    """
    if split not in (None, *_SPLITS):
        raise ValueError(f"split is {split!r}, expected one of {', '.join(_SPLITS)}, or None for all")
    folder = data_dir() / "photos"
    return sorted(folder / row["file"] for row in sources("photos") if split in (None, row["split"]))


def phone_crops(kind: str | None = None, iso: int | None = None) -> list[Path]:
    """JPEG crops, 1024×768, of four photos of one phone (Xiaomi Mi A3), sorted by name.

    Args:
        kind: "smooth" (noise), "texture" (detail) or "mixed"; None for all.
        iso: sensitivity, 100, 132, 382 or 1792; None for all.
    """
    found = [
        data_dir() / "phone" / row["file"]
        for row in sources("phone")
        if iso in (None, int(row["iso"])) and kind in (None, Path(row["file"]).stem.split("_")[1])
    ]
    if not found:
        there = "kinds are smooth, texture, mixed; ISO is 100, 132, 382 or 1792"
        raise ValueError(f"no phone crop of kind {kind!r} at ISO {iso}; {there}")
    return sorted(found)


def damaged_files() -> list[str]:
    """Vendored files that are missing or whose sha256 differs from SOURCES.tsv; empty when all is well."""
    from otsr.download import matches  # not at the top: the rest of this file needs no network's libraries

    return [
        f"{table.parent.name}/{row['file']}"
        for table in sorted(data_dir().glob("*/SOURCES.tsv"))
        for row in sources(table.parent.name)
        if not (path := table.parent / row["file"]).is_file() or not matches(path, f"sha256:{row['sha256']}")
    ]
