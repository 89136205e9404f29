"""Archives from strangers: what is honest is unpacked, resumed, bounded; what is not is refused by its name."""

import io
import re
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from otsr.download import DownloadError, archives
from otsr.download.archives import unpack

RNG = np.random.default_rng(0)
PICTURES = {f"HR/{i:04d}.png": RNG.bytes(1000 + i) for i in range(5)}
Make = Callable[..., Path]


def make_zip(path: Path, entries: dict[str, bytes], mode: str = "w", **header: object) -> Path:
    with zipfile.ZipFile(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in entries.items():
            info = zipfile.ZipInfo(name)
            for key, value in {"compress_type": zipfile.ZIP_DEFLATED, **header}.items():
                setattr(info, key, value)
            archive.writestr(info, content)
    return path


def make_tar(path: Path, entries: dict[str, bytes], mode: str = "w", **header: object) -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            for key, value in {"size": len(content), **header}.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return path


KINDS = [make_zip, make_tar, partial(make_tar, mode="w:gz"), partial(make_tar, mode="w:xz")]
every_kind = pytest.mark.parametrize("make", KINDS, ids=["zip", "tar", "tar.gz", "tar.xz"])


def found(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refused(archive: Path, words: str) -> None:
    """Nothing of it is written."""
    with pytest.raises(DownloadError, match=words):
        unpack(archive, archive.parent / "out")
    assert found(archive.parent) == {archive.name: archive.read_bytes()}


@every_kind
def test_pictures_come_out_as_they_went_in_and_nothing_else(make: Make, tmp_path: Path) -> None:
    rest = ("run.sh", "HR/notes.txt", "__MACOSX/HR/._0.png", "HR/.hidden.png", "LR/a.png")
    archive = make(tmp_path / "archive.bin", {**PICTURES, **dict.fromkeys(rest, b"x")})
    assert unpack(archive, tmp_path / "out", lambda name: name[3:] if name.startswith("HR/") else None) == 5
    assert found(tmp_path / "out") == {name[3:]: content for name, content in PICTURES.items()}


@every_kind
def test_an_interrupted_unpacking_goes_on_with_what_is_missing(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = make(tmp_path / "a", PICTURES)
    whole, calls = archives.shutil.copyfileobj, []

    def copy(source: io.BytesIO, file: io.BytesIO, length: int) -> None:
        calls.append(1)
        if len(calls) == 3:
            file.write(source.read(10))
            raise KeyboardInterrupt
        whole(source, file, length)

    monkeypatch.setattr(archives.shutil, "copyfileobj", copy)
    with pytest.raises(KeyboardInterrupt):
        unpack(archive, tmp_path / "out")
    assert len(found(tmp_path / "out")) == 2
    (tmp_path / "out/HR/0000.png").write_bytes(b"cut short")
    assert unpack(archive, tmp_path / "out") == 5
    assert found(tmp_path / "out") == PICTURES
    assert len(calls) == 3 + 4


@every_kind
@pytest.mark.parametrize(
    "name", ["../evil.png", "/tmp/evil.png", "HR/../../evil.png", "C:/evil.png", "..\\evil.png", "\\evil.png"]
)
def test_an_entry_that_would_land_outside_is_refused(make: Make, tmp_path: Path, name: str) -> None:
    archive = make(tmp_path / "a", {**PICTURES, name: b"evil"})
    with pytest.raises(DownloadError, match=re.escape(f"{name!r} would be written outside the folder")):
        unpack(archive, tmp_path / "out")
    assert not list(tmp_path.rglob("*evil.png"))


@pytest.mark.parametrize(
    ("make", "header", "kind"),
    [
        (make_zip, {"external_attr": 0o120777 << 16}, "a link"),
        (make_zip, {"external_attr": 0o010777 << 16}, "a device"),
        (make_tar, {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd", "size": 0}, "a link"),
        (make_tar, {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd", "size": 0}, "a link"),
        (make_tar, {"type": tarfile.FIFOTYPE, "size": 0}, "a device"),
    ],
)
def test_links_and_devices_are_refused(make: Make, header: dict, kind: str, tmp_path: Path) -> None:
    refused(make(tmp_path / "a", {"a.png": b"/etc/passwd"}, **header), f"'a.png' is {kind}")


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (8, b"\1\0", r"'a\.png\.png' is an encrypted file"),
        (24, b"\x0a\0\0\0", r"damaged at its entry 'a\.png\.png'"),  # 10 bytes, it says, of 1000
        (51, b"\0", r"'a\.png\\x00png' would be written outside the folder"),
    ],
)
def test_a_directory_that_lies_is_refused(tmp_path: Path, place: int, value: bytes, words: str) -> None:
    archive = make_zip(tmp_path / "a.zip", {"a.png.png": RNG.bytes(1000)})
    data = archive.read_bytes()
    place += data.index(b"PK\x01\x02")
    archive.write_bytes(data[:place] + value + data[place + len(value) :])
    refused(archive, words)


def test_a_link_that_lay_in_the_target_before_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "HR").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DownloadError, match="a link leads out of"):
        unpack(make_zip(tmp_path / "a.zip", {"HR/new/a.png": b"x"}), tmp_path / "out")
    assert list((tmp_path / "elsewhere").iterdir()) == [], "not even a folder"


@pytest.mark.parametrize("make", [make_zip, partial(make_tar, mode="w:gz")])
def test_a_bomb_never_fills_the_disk(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_SMALL", 1 << 16)
    archive = make(tmp_path / "a", {f"{i}.png": bytes(1 << 20) for i in range(4)})
    assert archive.stat().st_size < 20_000
    refused(archive, r"'0\.png' brings the contents to 1 MB.*zip bomb")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_an_entry_that_is_there_twice_is_refused(make: Make, tmp_path: Path) -> None:
    for mode in ("w", "a"):
        make(tmp_path / "a", {"a.png": mode.encode()}, mode)
    with pytest.raises(DownloadError, match=r"'a\.png' is there twice"):
        unpack(tmp_path / "a", tmp_path / "out")


def test_a_damaged_archive_is_named_with_its_entry(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", PICTURES)
    data = bytearray(archive.read_bytes())
    data[data.index(PICTURES["HR/0002.png"][200:220])] ^= 255
    archive.write_bytes(data)
    with pytest.raises(DownloadError, match=r"a\.zip: damaged at its entry 'HR/0002\.png'"):
        unpack(archive, tmp_path / "out")
    assert set(found(tmp_path / "out")) == {"HR/0000.png", "HR/0001.png"}


@every_kind
def test_a_truncated_archive_is_damaged(make: Make, tmp_path: Path) -> None:
    archive = make(tmp_path / "a", PICTURES)
    archive.write_bytes(archive.read_bytes()[:3000])
    with pytest.raises(DownloadError, match="damaged"):
        unpack(archive, tmp_path / "out")


def test_what_is_no_archive_is_shown_as_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"<!DOCTYPE html><html>Please log in</html>")
    refused(tmp_path / "a.zip", r"neither zip nor tar.*begins with b'<!DOCTYPE ht'")
    with pytest.raises(DownloadError, match=r"b\.zip: no such file"):
        unpack(tmp_path / "b.zip", tmp_path / "out")
