"""The vendored pictures are the recorded ones, free to use, and carry no trace of who took them where."""

from pathlib import Path

import pytest
from PIL import Image

from otsr import datasets

FREE = {"Public Domain", "CC0-1.0", "CC-BY-SA-4.0", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "MIT"}


def test_every_file_has_author_licence_source_and_the_recorded_hash() -> None:
    assert datasets.damaged_files() == []
    kept = {".webp", ".jpg", ".npz", ".json", ".safetensors"}
    for folder in filter(Path.is_dir, datasets.data_dir().iterdir()):
        rows = datasets.sources(folder.name)
        found = {path.name for path in folder.iterdir() if path.suffix in kept}
        assert found == {row["file"] for row in rows}
        for row in rows:
            assert row["author"] and row["source"] and row["licence"] in FREE, row["file"]


def test_data_stays_small() -> None:
    assert sum(path.stat().st_size for path in datasets.data_dir().rglob("*") if path.is_file()) < 45e6


def test_no_picture_carries_exif_or_gps_and_each_has_its_recorded_size() -> None:
    for folder in ("photos", "phone"):
        for row in datasets.sources(folder):
            path = datasets.data_dir() / folder / row["file"]
            with Image.open(path) as image:
                assert image.size == (int(row["width"]), int(row["height"])), path
                assert not image.getexif(), path
                assert not {"exif", "xmp", "photoshop", "comment"} & set(image.info), path
            content = path.read_bytes()
            assert not any(word in content for word in (b"Exif\0\0", b"GPS", b"http://ns.adobe.com")), path


def test_splits_share_no_photo_and_cover_all() -> None:
    splits = [set(datasets.photos(split)) for split in ("train", "val", "test")]
    assert [len(split) for split in splits] == [35, 6, 8]
    assert set.union(*splits) == set(datasets.photos()) and len(set.union(*splits)) == 49


def test_phone_crops_are_found_by_kind_and_iso_and_unknown_kinds_and_splits_refused() -> None:
    assert [path.name for path in datasets.phone_crops("smooth", 1792)] == ["iso1792_smooth.jpg"]
    assert len(datasets.phone_crops("smooth")) == 4 and len(datasets.phone_crops()) == 11
    with pytest.raises(ValueError, match="train, val, test"):
        datasets.photos("dev")
    with pytest.raises(ValueError, match="smooth, texture, mixed"):
        datasets.phone_crops("blurry")


def test_damaged_files_are_noticed_and_missing_data_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTSR_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="OTSR_DATA"):
        datasets.data_dir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "SOURCES.tsv").write_text("file\tsha256\na.webp\t00\nb.webp\t00\n")
    (tmp_path / "photos" / "a.webp").write_bytes(b"not what was recorded")
    assert datasets.damaged_files() == ["photos/a.webp", "photos/b.webp"]
