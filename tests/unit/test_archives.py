"""Archives from strangers: what is honest is unpacked, resumed, bounded; what is not is refused by its name."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from otsr.download import DownloadError, archives
from otsr.download.archives import unpack

RNG = np.random.default_rng(0)
PICTURES = {f"HR/{i:04d}.png": RNG.bytes(1000 + i) for i in range(5)}


def make_zip(
    path: Path, entries: dict[str, bytes], edit: Callable[[zipfile.ZipInfo], None] | None = None
) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if edit:
                edit(info)
            archive.writestr(info, content)
    return path


def make_tar(
    path: Path,
    entries: dict[str, bytes],
    mode: str = "w",
    edit: Callable[[tarfile.TarInfo], None] | None = None,
) -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if edit:
                edit(info)
            archive.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return path


MAKERS: dict[str, Callable[[Path, dict[str, bytes]], Path]] = {
    "zip": make_zip,
    "tar": make_tar,
    "tar.gz": lambda path, entries: make_tar(path, entries, "w:gz"),
    "tar.xz": lambda path, entries: make_tar(path, entries, "w:xz"),
}


def found(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[dict[str, bytes]], Path]:
    """An archive of each kind, under a name that does not say which."""
    return lambda entries: MAKERS[request.param](tmp_path / "archive.bin", entries)


def test_pictures_come_out_as_they_went_in(make: Callable[[dict[str, bytes]], Path], tmp_path: Path) -> None:
    assert unpack(make(PICTURES), tmp_path / "out") == 5
    assert found(tmp_path / "out") == PICTURES


def test_only_pictures_are_written_and_only_those_wanted(
    make: Callable[[dict[str, bytes]], Path], tmp_path: Path
) -> None:
    rest = {
        "run.sh": b"rm",
        "HR/notes.txt": b"x",
        "__MACOSX/HR/._0.png": b"x",
        "HR/.hidden.png": b"x",
        "LR/a.png": b"y",
    }
    archive = make({**PICTURES, **rest})
    unpack(archive, tmp_path / "out", lambda name: name[3:] if name.startswith("HR/") else None)
    assert found(tmp_path / "out") == {name[3:]: content for name, content in PICTURES.items()}


def test_an_interrupted_unpacking_goes_on_with_what_is_missing(
    make: Callable[[dict[str, bytes]], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = make(PICTURES)
    whole, calls = archives.shutil.copyfileobj, []

    def interrupted(source: io.BytesIO, file: io.BytesIO, length: int) -> None:
        calls.append(1)
        if len(calls) == 3:
            file.write(source.read(10))
            raise KeyboardInterrupt
        whole(source, file, length)

    monkeypatch.setattr(archives.shutil, "copyfileobj", interrupted)
    with pytest.raises(KeyboardInterrupt):
        unpack(archive, tmp_path / "out")
    assert len(found(tmp_path / "out")) == 2
    (tmp_path / "out/HR/0000.png").write_bytes(b"cut short")
    calls.clear()
    monkeypatch.setattr(
        archives.shutil, "copyfileobj", lambda *arguments: (calls.append(1), whole(*arguments))
    )
    assert unpack(archive, tmp_path / "out") == 5
    assert found(tmp_path / "out") == PICTURES
    assert len(calls) == 4


@pytest.mark.parametrize(
    "name", ["../evil.png", "/tmp/evil.png", "HR/../../evil.png", "C:/evil.png", "..\\evil.png", "\\evil.png"]
)
def test_an_entry_that_would_land_outside_is_refused_by_its_name(
    make: Callable[[dict[str, bytes]], Path], tmp_path: Path, name: str
) -> None:
    archive = make({**PICTURES, name: b"evil"})
    with pytest.raises(DownloadError) as caught:
        unpack(archive, tmp_path / "out")
    assert repr(name) in str(caught.value) and "outside the folder" in str(caught.value)
    assert not any(path.name == "evil.png" for path in tmp_path.rglob("*"))


def test_a_zero_byte_in_a_name_is_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"a.png_.sh": b"evil"})
    archive.write_bytes(archive.read_bytes().replace(b"a.png_.sh", b"a.png\0.sh"))
    with pytest.raises(DownloadError, match="outside the folder"):
        unpack(archive, tmp_path / "out")


def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    def zip_link(info: zipfile.ZipInfo) -> None:
        info.external_attr = 0o120777 << 16

    def tar_kind(kind: bytes) -> Callable[[tarfile.TarInfo], None]:
        def edit(info: tarfile.TarInfo) -> None:
            info.type, info.linkname, info.size = kind, "/etc/passwd", 0

        return edit

    archives = {"link": make_zip(tmp_path / "a.zip", {"a.png": b"/etc/passwd"}, zip_link)}
    kinds = [(tarfile.SYMTYPE, "link"), (tarfile.LNKTYPE, "link"), (tarfile.FIFOTYPE, "device")]
    for number, (kind, word) in enumerate(kinds):
        path = tmp_path / f"{number}.tar"
        archives[f"{word} {number}"] = make_tar(path, {"a.png": b""}, edit=tar_kind(kind))
    for word, archive in archives.items():
        with pytest.raises(DownloadError, match=f"'a.png' is a {word.split()[0]}"):
            unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_link_that_lay_in_the_target_before_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "HR").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DownloadError, match="a link leads out of"):
        unpack(make_zip(tmp_path / "a.zip", {"HR/new/a.png": b"x"}), tmp_path / "out")
    assert list((tmp_path / "elsewhere").iterdir()) == [], "not even a folder"


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_bomb_is_refused_before_it_fills_the_disk(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "_SMALL", 1 << 16)
    archive = MAKERS[kind](tmp_path / "a", {f"{i}.png": bytes(1 << 20) for i in range(4)})
    assert archive.stat().st_size < 20_000
    with pytest.raises(DownloadError, match=r"'0\.png' brings the contents to 1 MB.*zip bomb"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [(8, b"\1\0", r"'a\.png' is an encrypted file"), (24, b"\x0a\0\0\0", r"damaged at its entry 'a\.png'")],
    ids=["encrypted", "10 bytes, it says, of 1000"],
)
def test_an_entry_whose_directory_says_otherwise_is_refused(
    tmp_path: Path, place: int, value: bytes, words: str
) -> None:
    archive = make_zip(tmp_path / "a.zip", {"a.png": RNG.bytes(1000)})
    data = bytearray(archive.read_bytes())
    place += data.index(b"PK\x01\x02")
    data[place : place + len(value)] = value
    archive.write_bytes(data)
    with pytest.raises(DownloadError, match=words):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists() or found(tmp_path / "out") == {}


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    make_tar(tmp_path / "a.tar", {"a.png": b"one"})
    make_tar(tmp_path / "a.tar", {"a.png": b"other"}, "a")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for content in ("one", "other"):
            archive.writestr("a.png", content)
    for kind in ("tar", "zip"):
        with pytest.raises(DownloadError, match=r"'a\.png' is there twice"):
            unpack(tmp_path / f"a.{kind}", tmp_path / "out")


def test_a_damaged_archive_is_named_with_its_entry(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", PICTURES)
    data = bytearray(archive.read_bytes())
    place = data.index(PICTURES["HR/0002.png"][200:220])
    data[place] ^= 255
    archive.write_bytes(data)
    with pytest.raises(DownloadError, match=r"a\.zip: damaged at its entry 'HR/0002\.png'"):
        unpack(archive, tmp_path / "out")
    assert set(found(tmp_path / "out")) == {"HR/0000.png", "HR/0001.png"}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_truncated_archive_is_damaged(kind: str, tmp_path: Path) -> None:
    archive = MAKERS[kind](tmp_path / "a", PICTURES)
    archive.write_bytes(archive.read_bytes()[:3000])
    with pytest.raises(DownloadError, match="damaged"):
        unpack(archive, tmp_path / "out")


def test_what_is_no_archive_is_shown_as_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"<!DOCTYPE html><html>Please log in</html>")
    with pytest.raises(DownloadError, match=r"neither zip nor tar.*begins with b'<!DOCTYPE ht'"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    with pytest.raises(DownloadError, match=r"b\.zip: no such file"):
        unpack(tmp_path / "b.zip", tmp_path / "out")
