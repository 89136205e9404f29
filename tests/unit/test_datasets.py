"""The vendored pictures are the recorded ones, free to use, and carry no trace of who took them where."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from PIL import Image

from otsr import datasets

FREE = {"Public Domain", "CC0-1.0", "CC-BY-SA-4.0", "Apache-2.0", "BSD-2-Clause", "MIT"}
FOLDERS = sorted(path.parent.name for path in datasets.data_dir().glob("*/SOURCES.tsv"))


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_file_has_author_licence_source_and_the_recorded_hash(folder: str) -> None:
    for row in datasets.sources(folder):
        content = (datasets.data_dir() / folder / row["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row["sha256"], row["file"]
        assert row["author"] and row["source"], row["file"]
        assert row["licence"] in FREE, row["file"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_file_lacks_a_row(folder: str) -> None:
    kept = {".webp", ".jpg", ".npz", ".json", ".safetensors"}
    files = {path.name for path in (datasets.data_dir() / folder).iterdir() if path.suffix in kept}
    assert files == {row["file"] for row in datasets.sources(folder)}


def test_every_folder_of_data_records_its_sources() -> None:
    folders = {path.name for path in datasets.data_dir().iterdir() if path.is_dir()}
    assert folders == set(FOLDERS)


def test_data_stays_small() -> None:
    assert sum(path.stat().st_size for path in datasets.data_dir().rglob("*") if path.is_file()) < 45e6


@pytest.mark.parametrize("path", datasets.photos() + datasets.phone_crops(), ids=lambda path: path.stem)
def test_no_picture_carries_exif_or_gps(path: Path) -> None:
    with Image.open(path) as image:
        assert not image.getexif()
        assert not {"exif", "xmp", "photoshop", "comment"} & set(image.info)
    content = path.read_bytes()
    assert b"Exif\0\0" not in content and b"GPS" not in content and b"http://ns.adobe.com" not in content


def test_sizes_are_the_recorded_ones() -> None:
    for folder in ("photos", "phone"):
        for row in datasets.sources(folder):
            with Image.open(datasets.data_dir() / folder / row["file"]) as image:
                assert image.size == (int(row["width"]), int(row["height"])), row["file"]


def test_splits_share_no_photo_and_cover_all() -> None:
    splits = [set(datasets.photos(split)) for split in ("train", "val", "test")]
    assert [len(split) for split in splits] == [35, 6, 8]
    assert set.union(*splits) == set(datasets.photos()) and len(set.union(*splits)) == 49


def test_phone_crops_are_found_by_kind_and_iso() -> None:
    assert [path.name for path in datasets.phone_crops("smooth", 1792)] == ["iso1792_smooth.jpg"]
    assert len(datasets.phone_crops("smooth")) == 4 and len(datasets.phone_crops()) == 11


def test_unknown_splits_and_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="train, val, test"):
        datasets.photos("dev")
    with pytest.raises(ValueError, match="smooth, texture, mixed"):
        datasets.phone_crops("blurry")


def test_damage_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "SOURCES.tsv").write_text("file\tsha256\na.webp\t00\nb.webp\t00\n")
    (folder / "a.webp").write_bytes(b"not what was recorded")
    monkeypatch.setenv("OTSR_DATA", str(tmp_path))
    assert datasets.damaged_files() == ["photos/a.webp", "photos/b.webp"]


def test_missing_data_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTSR_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="OTSR_DATA"):
        datasets.data_dir()
