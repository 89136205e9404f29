"""Data sets by name: what the catalogue says, what counts as present, what a user must do by hand."""

import re
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from otsr import weights
from otsr.download import DownloadError, sets
from otsr.download.sets import Archive, DataSet


def pack(path: Path, names: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, f"the picture {name}")


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> DataSet:
    """A data set for registered people."""
    one = DataSet("secret", "a test", "CC0", "https://example.org/join", (Archive("x.zip", 1000, 1000, 3),))
    monkeypatch.setattr(sets, "DATA_SETS", (one,))
    return one


def test_the_catalogue_holds_what_the_papers_train_on_and_can_be_checked() -> None:
    names = [one.name for one in sets.DATA_SETS]
    assert names == ["div2k", "flickr2k", "dped", "ntire2020-track1", "ntire2020-track2"]
    assert not set(names) & {entry.name for entry in weights.catalogue()}
    for one in sets.DATA_SETS:
        assert one.licence and one.page.startswith("https://")
        for archive in one.archives:
            assert archive.url is None or archive.url.startswith("https://")
            assert re.fullmatch(r"|sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", archive.known or "")
            assert archive.size > 0 and archive.unpacked > 0
            assert (archive.url is None) == one.name.startswith("ntire"), "only after registration"
        assert len({archive.folder for archive in one.archives}) == len(one.archives)


@pytest.mark.parametrize(
    ("name", "entry", "place"),
    [
        ("div2k", "DIV2K_train_HR/0001.png", "0001.png"),
        ("flickr2k", "./Flickr2K/Flickr2K_HR/000001.png", "000001.png"),
        ("flickr2k", "Flickr2K/Flickr2K_LR_bicubic/X4/000001x4.png", None),
        ("dped", "original_images/train/iphone/1.jpg", "original_images/train/iphone/1.jpg"),
        ("dped", "original_images/train/canon/1.jpg", None),
        ("ntire2020-track1", "0001.png", "0001.png"),
    ],
)
def test_pictures_land_in_one_folder_an_archive(name: str, entry: str, place: str | None) -> None:
    one = next(one for one in sets.DATA_SETS if one.name == name)
    assert one.archives[0].placed(entry) == place


def test_where_a_registration_is_needed_the_steps_are_named(registered: DataSet, tmp_path: Path) -> None:
    words = f"Register at https://example.org/join .*{re.escape(str(tmp_path / 'secret'))} .*Missing: x.zip"
    with pytest.raises(DownloadError, match=f"(?s){words}"):
        sets.get("secret", tmp_path)
    assert not registered.present(tmp_path)


def test_an_archive_put_there_by_hand_is_unpacked_and_again_when_a_picture_is_lost(
    registered: DataSet, tmp_path: Path
) -> None:
    pack(tmp_path / "secret" / "x.zip", ["x/1.png", "x/2.png", "x/3.png"])
    told: list[str] = []
    folder = sets.get("secret", tmp_path, told.append)
    assert registered.present(tmp_path)
    assert "3 pictures" in told[0] and "may be deleted" in told[0]
    (folder / "x" / "2.png").unlink()
    assert not registered.present(tmp_path)
    sets.get("secret", tmp_path, told.append)
    assert registered.present(tmp_path) and (folder / "x" / "2.png").read_text() == "the picture x/2.png"
    (folder / "x.zip").unlink()
    assert sets.get("secret", tmp_path, pytest.fail) == folder


def test_pictures_unpacked_by_hand_count_too(registered: DataSet, tmp_path: Path) -> None:
    (tmp_path / "secret" / "x").mkdir(parents=True)
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / "secret" / "x" / name).touch()
    sets.get("secret", tmp_path, lambda _: None)
    assert registered.present(tmp_path)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["1.png", "2.png"], r"holds 2 pictures, x\.zip has 3"),
        (["paper.pdf"], r"no pictures of x\.zip in it; is it a different archive"),
        (["1.png", "../../3.png"], r"secret: .*x\.zip: unsafe, its entry '\.\./\.\./3\.png'"),
    ],
)
def test_an_archive_that_is_not_the_one_expected_is_refused(
    registered: DataSet, tmp_path: Path, names: list[str], words: str
) -> None:
    pack(tmp_path / "secret" / "x.zip", names)
    with pytest.raises(DownloadError, match=words):
        sets.get("secret", tmp_path, lambda _: None)
    assert not registered.present(tmp_path)


@pytest.mark.parametrize(
    ("there", "free", "needed"), [(0, 7_900_000_000, "7.97"), (3_000_000_000, 1_000_000_000, "4.97")]
)
def test_the_disk_is_checked_for_archives_and_pictures_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: int, free: int, needed: str
) -> None:
    """A sparse file stands for what came before the connection broke."""
    (tmp_path / "div2k").mkdir()
    with (tmp_path / "div2k" / "DIV2K_train_HR.zip.part").open("wb") as file:
        file.truncate(there)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    words = rf"div2k: .*div2k: cannot be written \({needed} GB are needed, {free / 1e9:.3g} GB are free\); make room"
    with pytest.raises(DownloadError, match=words):
        sets.get("div2k", tmp_path)


def test_a_folder_that_cannot_be_written_is_named(registered: DataSet, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match=r"file.*cannot be written.*--out"):
        sets.get("secret", tmp_path / "file")
