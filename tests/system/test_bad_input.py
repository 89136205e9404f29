"""Bad input, full disks, interruptions: a clear message, nothing half-written, the rest done."""

from __future__ import annotations

import io
import os
import signal
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import Run, files, picture, start
from PIL import Image

from otsr import machine

DISK = 256


def png(width: int, height: int, rows: bytes, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG written by hand, for kinds that Pillow cannot write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def second_page_without_size() -> bytes:
    """A TIFF whose second page lacks width and height: Pillow raises a TypeError."""
    file = io.BytesIO()
    Image.new("L", (4, 4), 9).save(file, "TIFF")
    content = file.getvalue()
    start = struct.unpack("<I", content[4:8])[0]
    link = start + 2 + 12 * struct.unpack("<H", content[start : start + 2])[0]
    return content[:link] + struct.pack("<I", len(content)) + content[link + 4 :] + bytes(6)


def broken(kind: str, folder: Path) -> Path:
    """A file that cannot be upscaled, by the name of what is wrong with it."""
    whole = picture(folder.parent / "whole.png", 64, 64).read_bytes()
    jpeg = picture(folder.parent / "whole.jpg", 64, 64).read_bytes()
    content = {
        "truncated.png": whole[: len(whole) // 2],
        "truncated.jpg": jpeg[: len(jpeg) // 2],
        "header only.png": whole[:33],
        "empty.png": b"",
        "text.jpg": b"Dear diary, this is not a picture.",
        "zeros.webp": bytes(1000),
        "huge.png": png(20_000, 10_000, b""),
        "second page without size.tif": second_page_without_size(),
    }[kind]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / kind).write_bytes(content)
    return folder / kind


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("truncated.png", "damaged or truncated"),
        ("truncated.jpg", "damaged or truncated"),
        ("header only.png", "not a picture"),
        ("empty.png", "empty"),
        ("text.jpg", "not a picture"),
        ("zeros.webp", "not a picture"),
        ("huge.png", "limit of 100"),
        ("second page without size.tif", "damaged or truncated"),
    ],
)
def test_one_bad_file_is_named_and_the_rest_is_done(
    upscale: Run, tmp_path: Path, kind: str, words: str
) -> None:
    broken(kind, tmp_path / "in")
    picture(tmp_path / "in" / "a good.png")
    picture(tmp_path / "in" / "z good.png")
    result = upscale(tmp_path / "in", "-o", tmp_path / "out")
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error")]
    assert kind in line and words in line
    assert files(tmp_path / "out") == ["a good.png", "z good.png"]


@pytest.mark.parametrize(
    "command",
    [
        "pack {}/in -o {}/out.lmdb",
        "estimate {}/in -o {}/out.safetensors",
        "degrade {}/in -o {}/out --degradation {}/bicubic.safetensors",
        "evaluate --data {}/in --degradation bicubic",
    ],
    ids=lambda command: command.split()[0],
)
def test_one_bad_file_and_one_of_a_foreign_format_are_named_by_every_command(
    otsr: Run, tmp_path: Path, command: str
) -> None:
    from otsr.datasets import phone_crops
    from otsr.degradation import Degradation

    broken("second page without size.tif", tmp_path / "in")
    (tmp_path / "in" / "new.jxl").write_bytes(b"\xff\x0a")
    Image.open(phone_crops("texture")[0]).crop((0, 0, 128, 128)).save(tmp_path / "in" / "z good.png")
    Degradation(4).save(tmp_path / "bicubic.safetensors")
    result = otsr(*command.format(*[tmp_path] * 3).split())
    assert result.exit_code == 1, result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error")]
    assert any("second page without size.tif: damaged or truncated" in line for line in errors)
    assert any("new.jxl" in line and "convert" in line for line in errors)


def test_a_missing_file_and_an_empty_folder_are_named_and_the_rest_is_done(
    upscale: Run, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    inputs = (tmp_path / "aa.png", tmp_path / "in", picture(tmp_path / "a.png"))
    result = upscale(*inputs, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "in: no pictures in this folder" in result.stderr
    assert "aa.png: no such file or folder; did you mean a.png?" in result.stderr
    assert files(tmp_path / "out") == ["a.png"]


def test_a_picture_whose_result_does_not_fit_is_refused_and_the_rest_done(
    upscale: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (10_000, 9_900), 90).save(tmp_path / "large.png")
    picture(tmp_path / "small.png")
    monkeypatch.setattr(machine, "available_memory", lambda: 1_000_000_000)
    result = upscale(tmp_path / "large.png", tmp_path / "small.png", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "large.png" in result.stderr and "1.00 GB are free" in result.stderr
    assert files(tmp_path / "out") == ["small.png"]


def test_loops_of_links_are_reported_and_do_not_hang(upscale: Run, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "sub" / "a.png")
    (tmp_path / "in" / "sub" / "up").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "itself.png").symlink_to(tmp_path / "in" / "itself.png")
    result = upscale(tmp_path / "in", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "sub/up" in result.stderr and "itself.png" in result.stderr
    assert files(tmp_path / "out") == ["sub/a.png"]


def test_an_unreadable_folder_is_reported_and_the_rest_done(
    upscale: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(tmp_path / "in" / "open" / "a.png")
    picture(tmp_path / "in" / "locked" / "b.png")
    iterdir = Path.iterdir

    def refusing(path: Path) -> Iterator[Path]:  # permissions do not stop root
        if path.name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refusing)
    result = upscale(tmp_path / "in", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "locked: Permission denied" in result.stderr
    assert files(tmp_path / "out") == ["open/a.png"]


@pytest.mark.parametrize("way", ["same name", "same folder", "through a link"])
def test_an_output_that_is_an_input_is_refused(upscale: Run, tmp_path: Path, way: str) -> None:
    path = picture(tmp_path / "in" / "a.png")
    before = path.read_bytes()
    (tmp_path / "link").symlink_to(tmp_path / "in")
    arguments = {
        "same name": (path, "-o", path),
        "same folder": (tmp_path / "in", "-o", tmp_path / "in"),
        "through a link": (tmp_path / "in", "-o", tmp_path / "link"),
    }[way]
    result = upscale(*arguments, "--overwrite")
    assert result.exit_code == 2
    assert "also an input" in result.stderr
    assert path.read_bytes() == before


@pytest.mark.parametrize("out", ["out.png", "a file"])
def test_a_file_for_many_outputs_is_refused(upscale: Run, tmp_path: Path, out: str) -> None:
    (tmp_path / "a file").write_text("kept")
    inputs = [picture(tmp_path / name) for name in ("a.png", "b.png")]
    result = upscale(*inputs, "-o", tmp_path / out)
    assert result.exit_code == 2
    assert "folder" in result.stderr
    assert (tmp_path / "a file").read_text() == "kept"


@pytest.mark.parametrize("format", ["png", "jpg", "webp", "tiff"])
def test_a_full_disk_is_said_and_leaves_nothing_half_written(
    upscale: Run, tmp_path: Path, small_disk: Path, format: str
) -> None:
    picture(tmp_path / "in" / "a.png", 10, 10)
    picture(tmp_path / "in" / "b.png", 200, 200)
    picture(tmp_path / "in" / "c.png", 10, 10)
    result = upscale(tmp_path / "in", "-o", small_disk, "--format", format, "--quality", 100)
    assert result.exit_code == 1
    assert "stopped: 1 of 3 done" in result.stderr and "space" in result.stderr
    assert files(small_disk) == [f"a.{format}"]


def test_a_disk_that_fills_at_the_last_moment_leaves_nothing(
    upscale: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems notice only when the data are flushed."""

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = upscale(picture(tmp_path / "in.png"), "-o", tmp_path / "out" / "x.png")
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr
    assert files(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("number", "status"),
    [
        pytest.param(signal.SIGINT, 130, id="Ctrl-C"),
        pytest.param(signal.SIGTERM, 143, id="kill", marks=pytest.mark.slow),
    ],
)
def test_an_interruption_leaves_whole_files_and_the_next_run_goes_on(
    tmp_path: Path, tiny_weights: Path, upscale: Run, number: signal.Signals, status: int
) -> None:
    count = 20
    for index in range(count):
        picture(tmp_path / "in" / f"{index:02}.png", 150, 150)
    command = (tmp_path / "in", "-o", tmp_path / "out")
    process = start("upscale", *command, "--weights", tiny_weights)
    while process.poll() is None and len(list((tmp_path / "out").glob("[0-9]*.png"))) < 3:
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    made = files(tmp_path / "out")
    assert process.returncode == status, errors
    assert 3 <= len(made) < count
    assert not [name for name in made if "part" in name]
    for name in made:
        Image.open(tmp_path / "out" / name).load()
    if number == signal.SIGINT:
        assert f"interrupted: {len(made)} of {count} done" in errors and "same command" in errors
        again = upscale(*command)
        assert again.exit_code == 0
        assert f"{count - len(made)} done, {len(made)} there already" in again.stderr
