"""Stores: what is read is what was packed, from any process; what cannot be read or made is named."""

from __future__ import annotations

import gc
import hashlib
import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import lmdb
import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin
from small_training import paint

from otsr.images import crop_to_multiple, read, resize, to_array
from otsr.training import sources, store
from otsr.training.sources import Photos, pack
from otsr.training.store import DataError, Store
from otsr.training.synthesis import clean_photo, cleaned_size

# (height, width): one band of rows, four, three.
SIZES = {"small": (20, 30), "sub/tall": (200, 33), "wide": (129, 150)}


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, np.ndarray]:
    return {n: paint(tmp_path / "hr" / f"{n}.png", *size, i) for i, (n, size) in enumerate(SIZES.items())}


@pytest.fixture
def packed(tmp_path: Path, photos: dict[str, np.ndarray]) -> Path:
    pack([tmp_path / "hr"], tmp_path / "hr.lmdb", progress=False)
    return tmp_path / "hr.lmdb"


def whole(opened: Store, index: int) -> np.ndarray:
    return opened.crop(index, 0, 0, *opened.shape(index))


# --- what is read is what was packed


def test_a_store_gives_back_every_photo_and_any_crop_of_it_as_a_copy(
    packed: Path, photos: dict[str, np.ndarray]
) -> None:
    opened = Store(packed)
    assert [photo.name for photo in opened.photos] == sorted(photos) and opened.cleanup == 1
    draw = np.random.default_rng(0)
    for turn in range(300):
        index = turn % len(opened)
        photo = photos[opened.photos[index].name]
        height, width = opened.shape(index)
        top, left = int(draw.integers(height)), int(draw.integers(width))
        h, w = int(draw.integers(1, height - top + 1)), int(draw.integers(1, width - left + 1))
        crop = opened.crop(index, top, left, h, w)
        assert np.array_equal(crop, photo[top : top + h, left : left + w])
        crop[...] = 0
    for index, photo in enumerate(opened.photos):
        assert np.array_equal(whole(opened, index), photos[photo.name])


def test_clean_up_is_matlabs_bicubic_cropped_to_multiples_of_4(tmp_path: Path) -> None:
    paint(tmp_path / "hr" / "a.png", 71, 90)
    threads = torch.get_num_threads()
    pack([tmp_path / "hr"], tmp_path / "x.lmdb", 2.0, progress=False)
    assert torch.get_num_threads() == threads
    opened = Store(tmp_path / "x.lmdb")
    expected = to_array(crop_to_multiple(resize(read(tmp_path / "hr" / "a.png"), 0.5), 4))
    assert opened.cleanup == 2 and opened.shape(0) == (36, 44) == expected.shape[:2]
    assert np.array_equal(whole(opened, 0), expected)


def at_the_end(content: bytes, name: bytes) -> bytes:
    """A PNG with a chunk moved behind its pixels, as exiftool writes it."""
    start = content.index(name) - 4
    chunk = content[start : start + 12 + int.from_bytes(content[start : start + 4], "big")]
    return content.replace(chunk, b"")[:-12] + chunk + content[-12:]


@pytest.mark.parametrize("cleanup", [1.0, 1.5, 3.3])
def test_the_size_after_clean_up_is_known_without_decoding(tmp_path: Path, cleanup: float) -> None:
    exif, odd, told = Image.Exif(), Image.Exif(), PngImagePlugin.PngInfo()
    exif[0x0112], odd[0x0112] = 6, 9  # on its side; there is no such orientation
    told.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')  # as photo editors write it
    for name, how in (
        ("a.jpg", {"exif": exif}), ("a.tif", {"exif": exif}), ("early.png", {"exif": exif}),
        ("xmp.png", {"pnginfo": told}), ("odd.jpg", {"exif": odd}),
    ):  # fmt: skip
        Image.new("RGB", (64, 40)).save(tmp_path / name, **how)
    for name, chunk in (("early.png", b"eXIf"), ("xmp.png", b"iTXt")):
        (tmp_path / f"late_{name}").write_bytes(at_the_end((tmp_path / name).read_bytes(), chunk))
    for path in list(tmp_path.iterdir()):
        assert cleaned_size(path, cleanup) == clean_photo(path, cleanup).shape[:2]
        assert cleaned_size(path) == ((40, 64) if path.name == "odd.jpg" else (64, 40))
    paint(tmp_path / "b.png", 99, 47)
    assert cleaned_size(tmp_path / "b.png", cleanup) == clean_photo(tmp_path / "b.png", cleanup).shape[:2]


# --- many times, many processes


def test_one_file_opens_many_times_in_one_process_and_under_another_name(
    packed: Path, tmp_path: Path, photos: dict[str, np.ndarray]
) -> None:
    (tmp_path / "link.lmdb").symlink_to(packed)
    stores = [Store(packed), Store(packed), Store(tmp_path / "link.lmdb")]
    del stores[0]
    gc.collect()
    with ThreadPoolExecutor(8) as pool:
        for pixels in pool.map(lambda number: whole(stores[number % 2], 2), range(200)):
            assert np.array_equal(pixels, photos["wide"])


PARENTS = (0, 0)  # the place of a file that no child may use


def report(opened: Store, path: Path, answers: multiprocessing.queues.Queue[list[str]]) -> None:
    """In a child: hashes of what an inherited store and a new one read, and whether both opened the file anew."""
    answers.put([sha256(whole(opened, 2)), sha256(whole(Store(path), 2)), str(PARENTS not in store._opened)])


def sha256(pixels: np.ndarray) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()


@pytest.mark.parametrize("method", sorted({"fork", "spawn"} & {*multiprocessing.get_all_start_methods()}))
def test_a_store_that_is_open_works_in_children(packed: Path, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(store._opened, PARENTS, SimpleNamespace(close=lambda: None))  # type: ignore[misc]
    opened, second = Store(packed), Store(packed)
    expected = sha256(whole(opened, 2))
    context = multiprocessing.get_context(method)
    answers = context.Queue()
    child = context.Process(target=report, args=(opened, packed, answers))
    child.start()
    assert answers.get(timeout=60) == [expected, expected, "True"]
    child.join(30)
    assert child.exitcode == 0
    assert sha256(whole(second, 2)) == expected


def test_a_store_can_be_replaced_while_it_is_read(packed: Path, tmp_path: Path) -> None:
    old = Store(packed)
    before = whole(old, 2)
    paint(tmp_path / "hr" / "wide.png", 129, 150, seed=99)
    with pytest.raises(DataError, match=r"hr\.lmdb: already exists.*--overwrite"):
        pack([tmp_path / "hr"], packed, progress=False)
    pack([tmp_path / "hr"], packed, overwrite=True, progress=False)
    assert np.array_equal(whole(old, 2), before)
    assert not np.array_equal(whole(Store(packed), 2), before)


# --- what cannot be packed


def not_packed(folder: Path, message: str, out: str = "a.lmdb", cleanup: float = 1.0) -> None:
    with pytest.raises(DataError, match=message):
        pack([folder / "hr"], folder / out, cleanup, progress=False)


def test_a_broken_photo_is_named_and_the_others_are_packed(tmp_path: Path, photos: dict[str, np.ndarray]) -> None:
    content = (tmp_path / "hr" / "wide.png").read_bytes()
    (tmp_path / "hr" / "cut.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "hr" / "text.jpg").write_text("no picture")
    result = pack([tmp_path / "hr", tmp_path / "gone"], tmp_path / "hr.lmdb", progress=False)
    assert [photo.name for photo in Store(result.path).photos] == sorted(photos) and result.photos == 3
    broken = [Path(failure.split(":")[0]).name for failure in result.failures]
    assert broken == ["gone", "text.jpg", "cut.png"]


def test_nothing_to_pack_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "hr").mkdir()
    not_packed(tmp_path, "no pictures in")
    paint(tmp_path / "hr" / "a.png", 40, 40)
    content = (tmp_path / "hr" / "a.png").read_bytes()
    for kept in (8, -300):  # not even a header; cut in the middle of the pixels
        (tmp_path / "hr" / "a.png").write_bytes(content[:kept])
        not_packed(tmp_path, r"nothing to pack.*a\.png")
    assert [path.name for path in tmp_path.iterdir()] == ["hr"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_not_utf_8_can_be_packed_and_fingerprinted(tmp_path: Path) -> None:
    paint(tmp_path / "hr" / os.fsdecode(b"caf\xe9.png"), 20, 30)
    pack([tmp_path / "hr"], tmp_path / "x.lmdb", progress=False)
    folder, store = Photos([str(tmp_path / "hr")]), Photos([str(tmp_path / "x.lmdb")])
    assert [photos.photos[0].name for photos in (folder, store)] == ["caf\\xe9"] * 2
    assert folder.fingerprint() == store.fingerprint()


def test_a_target_a_clean_up_or_a_name_that_cannot_be_is_refused(tmp_path: Path) -> None:
    paint(tmp_path / "hr" / "a.png", 20, 20)
    (tmp_path / "folder.lmdb").mkdir()
    not_packed(tmp_path, r"suffix \.lmdb", out="a.mdb")
    not_packed(tmp_path, "a store is a file", out="folder.lmdb")
    not_packed(tmp_path, r"there is no folder .*gone; make it first", out="gone/a.lmdb")
    not_packed(tmp_path, "cleanup is nan", cleanup=float("nan"))
    not_packed(tmp_path, "too few for a clean-up by 7", cleanup=7.0)
    paint(tmp_path / "hr" / "a.bmp", 20, 20)
    not_packed(tmp_path, r"a\.bmp and .*a\.png have the same name, 'a'")


def test_the_disk_is_asked_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: object
) -> None:
    monkeypatch.setattr(sources.shutil, "disk_usage", lambda _: SimpleNamespace(free=9000))
    monkeypatch.setattr(sources, "clean_photo", lambda *_: pytest.fail("decoded"))
    not_packed(tmp_path, r"3 photos take 0\.00 GB.*make room")


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of POSIX")
def test_a_disk_that_fills_up_leaves_the_old_store(packed: Path, tmp_path: Path) -> None:
    import resource

    before, limits = packed.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, limits[1]))  # Python ignores the signal
    try:
        with pytest.raises(DataError, match=r"hr\.lmdb: cannot be written"):
            pack([tmp_path / "hr"], packed, overwrite=True, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert packed.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hr", "hr.lmdb"]


# --- what cannot be read


def rewrite(path: Path, change: Callable[[lmdb.Transaction], object]) -> None:
    """Change records of an LMDB file, as a new file in its place: LMDB itself may still have the old one open."""
    copy = path.with_suffix(".copy")
    if path.exists():
        shutil.copy(path, copy)
    environment = lmdb.open(str(copy), subdir=False, lock=False, map_size=1 << 24)
    with environment.begin(write=True) as transaction:
        change(transaction)
    environment.close()
    copy.replace(path)


def refused(path: Path) -> str:
    """What opening and reading all says."""
    with pytest.raises(DataError) as caught:
        opened = Store(path)
        for index in range(len(opened)):
            whole(opened, index)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_what_is_no_store_is_told(tmp_path: Path) -> None:
    assert "no such file; make one: otsr pack" in refused(tmp_path / "a.lmdb")
    assert "a folder; expected a .lmdb file; make one: otsr pack" in refused(tmp_path)
    for content in (b"", b"hello", os.urandom(20_000)):
        (tmp_path / "a.lmdb").write_bytes(content)
        assert "cannot be used as a store" in refused(tmp_path / "a.lmdb")
    rewrite(tmp_path / "b.lmdb", lambda t: t.put(b"0001", b"png"))
    assert "not made by otsr pack" in refused(tmp_path / "b.lmdb")


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_truncated_store_is_refused_before_it_is_read(packed: Path, kept: float) -> None:
    packed.write_bytes(packed.read_bytes()[: int(packed.stat().st_size * kept)])
    assert "cut, or not copied whole" in refused(packed)


def test_another_version_missing_bands_wrong_lengths_and_unreadable_notes_are_told(packed: Path) -> None:
    rewrite(packed, lambda t: t.put(store.band_key(1, 2), b"short"))
    assert "rows 128 and below of sub/tall are missing or cut" in refused(packed)
    rewrite(packed, lambda t: t.delete(store.band_key(1, 2)))
    assert "rows 128 and below of sub/tall are missing or cut" in refused(packed)
    notes = json.dumps({"version": 2, "band": 64, "cleanup": 1, "photos": []}).encode()
    rewrite(packed, lambda t: t.put(b"otsr store", notes))
    assert "version 2, bands of 64 rows; expected 1 and 64" in refused(packed)
    without_sizes = notes.replace(b"2", b"1", 1).replace(b"[]", b'[{"name": "a"}]')
    for content in (without_sizes, b"{", b"[]", b"[" * 100_000, b"\xff"):
        rewrite(packed, lambda t, content=content: t.put(b"otsr store", content))
        assert "cannot be used as a store" in refused(packed)


def test_a_tree_with_bad_bytes_never_kills_the_process(packed: Path) -> None:
    """60 times a few random bytes of LMDB's own pages: read, or refused by name."""
    content = packed.read_bytes()
    kinds = {at: int.from_bytes(content[at + 10 : at + 12], "little") for at in range(0, len(content), 4096)}
    inner = [at for at, kind in kinds.items() if kind in (1, 2, 8)]
    draw = np.random.default_rng(0)
    outcomes = set()
    for trial in range(60):
        changed = bytearray(content)
        for _ in range(4):
            changed[int(draw.choice(inner)) + int(draw.integers(200))] = int(draw.integers(256))
        path = packed.with_name(f"changed{trial}.lmdb")
        path.write_bytes(changed)
        try:
            opened = Store(path)
            for index in range(len(opened)):
                whole(opened, index)
            outcomes.add("read")
        except DataError:
            outcomes.add("refused")
        path.unlink()
    assert outcomes == {"read", "refused"}
