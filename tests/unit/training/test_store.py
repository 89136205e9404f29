"""Stores: what is read is what was packed, from any process; what cannot be read or made is named."""

from __future__ import annotations

import gc
import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import lmdb
import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from otsr.images import crop_to_multiple, read, resize, to_array
from otsr.training import sources, store
from otsr.training.sources import Photos, pack
from otsr.training.store import DataError, Store
from otsr.training.synthesis import clean_photo, cleaned_size

SIZES = {
    "small": (20, 30),
    "sub/tall": (200, 33),
    "wide": (129, 150),
}  # (height, width): one, four, three bands


def paint(path: Path, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Write random pixels to a file, and give them back."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, np.ndarray]:
    return {
        n: paint(tmp_path / "hr" / f"{n}.png", *size, seed=i) for i, (n, size) in enumerate(SIZES.items())
    }


@pytest.fixture
def packed(tmp_path: Path, photos: dict[str, np.ndarray]) -> Path:
    pack([tmp_path / "hr"], tmp_path / "hr.lmdb", progress=False)
    return tmp_path / "hr.lmdb"


# --- what is read is what was packed


def test_a_store_gives_back_every_photo_by_name_and_size(packed: Path, photos: dict[str, np.ndarray]) -> None:
    opened = Store(packed)
    assert [photo.name for photo in opened.photos] == sorted(photos) and opened.cleanup == 1
    for index, photo in enumerate(opened.photos):
        assert opened.shape(index) == (photo.height, photo.width) == SIZES[photo.name]
        assert np.array_equal(opened.read(index), photos[photo.name])


def test_any_crop_is_that_part_of_the_photo(packed: Path, photos: dict[str, np.ndarray]) -> None:
    opened = Store(packed)
    draw = np.random.default_rng(0)
    for _ in range(300):
        index = int(draw.integers(len(opened)))
        height, width = opened.shape(index)
        top, left = int(draw.integers(height)), int(draw.integers(width))
        h, w = int(draw.integers(1, height - top + 1)), int(draw.integers(1, width - left + 1))
        expected = photos[opened.photos[index].name][top : top + h, left : left + w]
        assert np.array_equal(opened.crop(index, top, left, h, w), expected)


def test_a_crop_reads_only_the_bands_that_it_touches(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Store(packed)
    touched: list[int] = []
    rows = Store._rows

    def noted(self: Store, transaction: lmdb.Transaction, index: int, band: int) -> np.ndarray:
        touched.append(band)
        return rows(self, transaction, index, band)

    monkeypatch.setattr(Store, "_rows", noted)
    tall = [photo.name for photo in opened.photos].index("sub/tall")
    opened.crop(tall, 64, 0, 64, 8)
    assert touched == [1]
    opened.crop(tall, 63, 0, 66, 8)
    assert touched == [1, 0, 1, 2]


def test_a_crop_may_be_written_to_without_harm(packed: Path) -> None:
    opened = Store(packed)
    before = opened.crop(0, 0, 0, 8, 8)
    opened.crop(0, 0, 0, 8, 8)[...] = 0
    assert np.array_equal(opened.crop(0, 0, 0, 8, 8), before)


def test_clean_up_is_matlabs_bicubic_cropped_to_multiples_of_4(tmp_path: Path) -> None:
    paint(tmp_path / "hr" / "a.png", 71, 90)
    pack([tmp_path / "hr"], tmp_path / "x.lmdb", 2.0, progress=False)
    opened = Store(tmp_path / "x.lmdb")
    expected = to_array(crop_to_multiple(resize(read(tmp_path / "hr" / "a.png"), 0.5), 4))
    assert opened.cleanup == 2 and opened.shape(0) == (36, 44) == expected.shape[:2]
    assert np.array_equal(opened.read(0), expected)


@pytest.mark.parametrize("cleanup", [1.0, 1.5, 2.0, 3.3])
def test_the_size_after_clean_up_is_known_without_decoding(tmp_path: Path, cleanup: float) -> None:
    for height, width in ((40, 61), (33, 33), (99, 47)):
        paint(tmp_path / "a.png", height, width)
        assert cleaned_size(tmp_path / "a.png", cleanup) == clean_photo(tmp_path / "a.png", cleanup).shape[:2]
    exif = Image.Exif()
    exif[0x0112] = 6
    told = PngImagePlugin.PngInfo()
    told.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')  # as photo editors write it
    for name, how in (("a.jpg", {"exif": exif}), ("a.tif", {"exif": exif}), ("a.png", {"pnginfo": told})):
        Image.new("RGB", (64, 40)).save(tmp_path / name, **how)
        assert cleaned_size(tmp_path / name, cleanup) == clean_photo(tmp_path / name, cleanup).shape[:2]
        assert cleaned_size(tmp_path / name) == (64, 40)
    Image.new("RGB", (64, 40)).save(tmp_path / "early.png", exif=exif)
    whole = (tmp_path / "early.png").read_bytes()
    start = whole.index(b"eXIf") - 4
    chunk = whole[start : start + 12 + int.from_bytes(whole[start : start + 4], "big")]
    (tmp_path / "late.png").write_bytes(
        whole.replace(chunk, b"")[:-12] + chunk + whole[-12:]
    )  # as exiftool does
    assert cleaned_size(tmp_path / "late.png") == clean_photo(tmp_path / "late.png").shape[:2] == (64, 40)


# --- many times, many processes


def test_one_file_opens_many_times_in_one_process_and_under_another_name(
    packed: Path, tmp_path: Path
) -> None:
    (tmp_path / "link.lmdb").symlink_to(packed)
    stores = [Store(packed), Store(packed), Store(tmp_path / "link.lmdb")]
    crops = [opened.crop(2, 5, 5, 100, 100) for opened in stores]
    assert np.array_equal(crops[0], crops[1]) and np.array_equal(crops[0], crops[2])
    del stores[0]
    gc.collect()
    assert np.array_equal(stores[0].crop(2, 5, 5, 100, 100), crops[0])


def report(opened: Store, path: Path, answers: multiprocessing.queues.Queue[list[str]]) -> None:
    """In a child: hashes of what an inherited store and a new one read."""
    answers.put([sha256(opened.read(2)), sha256(Store(path).read(2)), str(opened.path == path)])


def sha256(pixels: np.ndarray) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()


@pytest.mark.parametrize(
    "method", [m for m in ("fork", "spawn") if m in multiprocessing.get_all_start_methods()]
)
def test_a_store_that_is_open_works_in_children(packed: Path, method: str) -> None:
    opened, second = Store(packed), Store(packed)
    expected = sha256(opened.read(2))
    context = multiprocessing.get_context(method)
    answers = context.Queue()
    child = context.Process(target=report, args=(opened, packed, answers))
    child.start()
    assert answers.get(timeout=60) == [expected, expected, "True"]
    child.join(30)
    assert child.exitcode == 0
    assert sha256(second.read(2)) == expected


def test_a_store_can_be_replaced_while_it_is_read(packed: Path, tmp_path: Path) -> None:
    old = Store(packed)
    before = old.read(2)
    paint(tmp_path / "hr" / "wide.png", 129, 150, seed=99)
    with pytest.raises(DataError, match=r"hr\.lmdb: already exists.*--overwrite"):
        pack([tmp_path / "hr"], packed, progress=False)
    pack([tmp_path / "hr"], packed, overwrite=True, progress=False)
    assert np.array_equal(old.read(2), before)
    assert not np.array_equal(Store(packed).read(2), before)


# --- what cannot be packed


def test_a_broken_photo_is_named_and_the_others_are_packed(
    tmp_path: Path, photos: dict[str, np.ndarray]
) -> None:
    whole = (tmp_path / "hr" / "wide.png").read_bytes()
    (tmp_path / "hr" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "hr" / "text.jpg").write_text("no picture")
    result = pack([tmp_path / "hr", tmp_path / "gone"], tmp_path / "hr.lmdb", progress=False)
    assert [photo.name for photo in Store(result.path).photos] == sorted(photos) and result.photos == 3
    assert [Path(failure.split(":")[0]).name for failure in result.failures] == [
        "gone",
        "text.jpg",
        "cut.png",
    ]


def test_nothing_to_pack_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "hr").mkdir()
    with pytest.raises(DataError, match="no pictures in"):
        pack([tmp_path / "hr"], tmp_path / "a.lmdb")
    (tmp_path / "hr" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match=r"nothing to pack.*a\.png"):
        pack([tmp_path / "hr"], tmp_path / "a.lmdb")
    paint(tmp_path / "hr" / "a.png", 40, 40)
    whole = (tmp_path / "hr" / "a.png").read_bytes()
    (tmp_path / "hr" / "a.png").write_bytes(whole[:-300])
    with pytest.raises(DataError, match=r"nothing to pack.*a\.png"):
        pack([tmp_path / "hr"], tmp_path / "a.lmdb", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["hr"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_not_utf_8_can_be_packed_and_fingerprinted(tmp_path: Path) -> None:
    paint(tmp_path / "hr" / os.fsdecode(b"caf\xe9.png"), 20, 30)
    pack([tmp_path / "hr"], tmp_path / "x.lmdb", progress=False)
    folder, store = Photos([str(tmp_path / "hr")]), Photos([str(tmp_path / "x.lmdb")])
    assert folder.names == store.names == ["caf\\xe9"]
    assert folder.fingerprint() == store.fingerprint()


def test_two_photos_of_one_name_are_refused(tmp_path: Path) -> None:
    paint(tmp_path / "hr" / "a.png", 20, 20)
    paint(tmp_path / "hr" / "a.bmp", 20, 20)
    with pytest.raises(DataError, match=r"a\.bmp and .*a\.png have the same name, 'a'"):
        pack([tmp_path / "hr"], tmp_path / "a.lmdb")


@pytest.mark.parametrize(
    ("out", "cleanup", "message"),
    [
        ("a.mdb", 1.0, r"suffix \.lmdb"),
        ("folder.lmdb", 1.0, "a store is a file"),
        ("a.lmdb", 0.5, "cleanup is 0.5"),
        ("a.lmdb", float("nan"), "cleanup is nan"),
        ("a.lmdb", 7.0, "too few for a clean-up by 7"),
    ],
)
def test_a_target_or_clean_up_that_cannot_be_is_refused(
    tmp_path: Path, out: str, cleanup: float, message: str
) -> None:
    paint(tmp_path / "hr" / "a.png", 20, 20)
    (tmp_path / "folder.lmdb").mkdir()
    with pytest.raises(DataError, match=message):
        pack([tmp_path / "hr"], tmp_path / out, cleanup, progress=False)


def test_the_disk_is_asked_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: object
) -> None:
    monkeypatch.setattr(sources.shutil, "disk_usage", lambda _: SimpleNamespace(free=9000))
    monkeypatch.setattr(sources, "clean_photo", lambda *_: pytest.fail("decoded"))
    with pytest.raises(DataError, match=r"3 photos take 0\.00 GB.*make room"):
        pack([tmp_path / "hr"], tmp_path / "hr.lmdb", progress=False)


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of POSIX")
def test_a_disk_that_fills_up_leaves_the_old_store(packed: Path, tmp_path: Path) -> None:
    before = packed.read_bytes()
    program = (
        "import resource, sys\n"
        "from otsr.training.sources import pack\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "pack([sys.argv[1]], sys.argv[2], overwrite=True, progress=False)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "hr"), str(packed)], capture_output=True, text=True
    )
    assert done.returncode == 1 and "DataError" in done.stderr and "hr.lmdb: cannot be written" in done.stderr
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


def notes(path: Path, **changes: object) -> None:
    def change(transaction: lmdb.Transaction) -> None:
        stored = json.loads(transaction.get(b"otsr store"))
        transaction.put(b"otsr store", json.dumps({**stored, **changes}).encode())

    rewrite(path, change)


def refused(path: Path) -> str:
    """What opening and reading all says."""
    with pytest.raises(DataError) as caught:
        opened = Store(path)
        for index in range(len(opened)):
            opened.read(index)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_missing_file_and_folders_say_how_to_make_a_store(tmp_path: Path) -> None:
    assert "no such file; make one: otsr pack" in refused(tmp_path / "a.lmdb")
    (tmp_path / "b.lmdb").mkdir()
    assert "a folder; expected a .lmdb file; make one: otsr pack" in refused(tmp_path / "b.lmdb")


def test_files_of_another_kind_are_no_stores(tmp_path: Path) -> None:
    for content in (b"", b"hello", os.urandom(20_000)):
        (tmp_path / "a.lmdb").write_bytes(content)
        assert "cannot be used as a store" in refused(tmp_path / "a.lmdb")
    (tmp_path / "a.lmdb").unlink()
    rewrite(tmp_path / "a.lmdb", lambda t: t.put(b"0001", b"png"))
    assert "not made by otsr pack" in refused(tmp_path / "a.lmdb")


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_truncated_store_is_refused_before_it_is_read(packed: Path, kept: float) -> None:
    whole = packed.read_bytes()
    packed.write_bytes(whole[: int(len(whole) * kept)])
    assert "cut, or not copied whole" in refused(packed)


def test_stores_of_other_versions_are_told_apart(packed: Path) -> None:
    for version in (0, 2):
        notes(packed, version=version)
        assert f"version {version}, bands of 64 rows; expected 1 and 64" in refused(packed)


def test_missing_bands_wrong_lengths_and_unreadable_notes_are_damage(packed: Path) -> None:
    rewrite(packed, lambda t: t.put(store.band_key(1, 2), b"short"))
    assert "rows 128 and below of sub/tall are missing or cut" in refused(packed)
    rewrite(packed, lambda t: t.delete(store.band_key(1, 2)))
    assert "rows 128 and below of sub/tall are missing" in refused(packed)
    notes(packed, photos=[{"name": "a"}])
    assert "cannot be used as a store" in refused(packed)
    rewrite(packed, lambda t: t.put(b"otsr store", b"{"))
    assert "cannot be used as a store" in refused(packed)


def test_a_tree_with_bad_bytes_never_kills_the_process(packed: Path) -> None:
    """60 times a few random bytes of LMDB's own pages: read, or refused by name."""
    whole = bytearray(packed.read_bytes())
    inner = [
        i for i in range(0, len(whole), 4096) if int.from_bytes(whole[i + 10 : i + 12], "little") in (1, 2, 8)
    ]
    draw = np.random.default_rng(0)
    outcomes = set()
    for trial in range(60):
        changed = bytearray(whole)
        for _ in range(4):
            changed[int(draw.choice(inner)) + int(draw.integers(200))] = int(draw.integers(256))
        path = packed.with_name(f"changed{trial}.lmdb")
        path.write_bytes(changed)
        try:
            opened = Store(path)
            for index in range(len(opened)):
                opened.read(index)
            outcomes.add("read")
        except DataError:
            outcomes.add("refused")
        path.unlink()
    assert outcomes == {"read", "refused"}


def test_threads_can_read_at_once(packed: Path, photos: dict[str, np.ndarray]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    opened = Store(packed)
    with ThreadPoolExecutor(8) as pool:
        for pixels in pool.map(lambda _: opened.read(2), range(200)):
            assert np.array_equal(pixels, photos["wide"])


def test_packing_leaves_torchs_threads_as_they_were(tmp_path: Path, photos: object) -> None:
    before = torch.get_num_threads()
    pack([tmp_path / "hr"], tmp_path / "hr.lmdb", progress=False)
    assert torch.get_num_threads() == before
