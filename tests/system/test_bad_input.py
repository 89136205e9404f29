"""Bad input, full disks, interruptions: a clear message, nothing half-written, the rest done."""

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from command import Run, files, picture, start
from PIL import Image

from otsr import machine
from otsr.cli import jobs
from otsr.datasets import phone_crops
from otsr.degradation import Degradation

DISK = 256


def test_bad_files_are_named_and_the_rest_is_done(upscale: Run, tmp_path: Path) -> None:
    for name in ("a good.png", "b cut.png", "c cut.jpg", "z good.png"):
        path = picture(tmp_path / "in" / name, 64, 64)
        if "cut" in name:
            os.truncate(path, path.stat().st_size // 2)
    (tmp_path / "in" / "d empty.png").touch()
    (tmp_path / "in" / "e text.jpg").write_text("Dear diary, this is not a picture.")
    Image.new("1", (20_000, 10_000)).save(tmp_path / "in" / "f huge.png")
    result = upscale(tmp_path / "in", "-o", tmp_path / "out")
    assert result.exit_code == 1 and "2 done, 5 failed" in result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error")]
    reasons = ["damaged or truncated"] * 2 + ["it is empty", "not a picture", "limit of 100"]
    for error, name, reason in zip(errors, "bcdef", reasons, strict=True):
        assert f"{os.sep}{name} " in error and reason in error
    assert files(tmp_path / "out") == ["a good.png", "z good.png"]


@pytest.mark.parametrize(
    "command",
    ["pack {}/in -o {}/out.lmdb", "estimate {}/in -o {}/out.safetensors",
     "degrade {}/in -o {}/out --degradation {}/bicubic.safetensors", "evaluate --data {}/in --degradation bicubic"],
    ids=lambda command: command.split()[0],
)  # fmt: skip
def test_one_bad_file_and_one_of_a_foreign_format_are_named_by_every_command(
    otsr: Run, tmp_path: Path, command: str
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.tif").write_bytes(b"II*\0")
    (tmp_path / "in" / "new.jxl").write_bytes(b"\xff\x0a")
    Image.open(phone_crops("texture")[0]).crop((0, 0, 128, 128)).save(tmp_path / "in" / "z good.png")
    Degradation(4).save(tmp_path / "bicubic.safetensors")
    result = otsr(*command.format(*[tmp_path] * 3).split())
    assert result.exit_code == 1, result.stderr
    for words in (r"^error.*bad\.tif: ", r"^error.*new\.jxl.*convert"):
        assert re.search(words, result.stderr, re.MULTILINE)


def test_what_cannot_be_found_or_entered_is_named_and_the_rest_is_done(
    upscale: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing and locked ones, empty folders, links that lead to themselves."""
    photos = [picture(tmp_path / name) for name in ("a.png", "in/sub/b.png", "in/locked/c.png")]
    (tmp_path / "in" / "sub" / "up").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "itself.png").symlink_to(tmp_path / "in" / "itself.png")
    (tmp_path / "empty").mkdir()
    iterdir = Path.iterdir

    def refusing(path: Path) -> Iterator[Path]:  # permissions do not stop root
        if path.name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refusing)
    inputs = (tmp_path / "aa.png", tmp_path / "empty", tmp_path / "in", photos[0])
    result = upscale(*inputs, "-o", tmp_path / "out")
    assert result.exit_code == 1
    for words in (
        "aa.png: no such file or folder; did you mean a.png?", "empty: no pictures in this folder",
        "locked: Permission denied", "sub/up: a link that leads back", "itself.png: ",
    ):  # fmt: skip
        assert words in result.stderr
    assert files(tmp_path / "out") == ["a.png", "sub/b.png"]


def test_a_picture_whose_result_does_not_fit_is_refused_and_the_rest_done(
    upscale: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (1500, 1200), 90).save(tmp_path / "large.png")
    picture(tmp_path / "small.png")
    monkeypatch.setattr(machine, "available_memory", lambda: 100_000_000)
    result = upscale(tmp_path / "large.png", tmp_path / "small.png", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "large.png" in result.stderr and "0.10 GB are free" in result.stderr
    assert files(tmp_path / "out") == ["small.png"]


@pytest.mark.parametrize("format", ["png", "jpg", "webp", "tiff"])
def test_a_full_disk_is_said_and_leaves_nothing_half_written(
    upscale: Run, tmp_path: Path, small_disk: Path, format: str
) -> None:
    for name, side in (("a.png", 10), ("b.png", 200), ("c.png", 10)):
        picture(tmp_path / "in" / name, side, side)
    result = upscale(tmp_path / "in", "-o", small_disk, "--format", format, "--quality", 100)
    assert result.exit_code == 1
    assert "stopped: 1 of 3 done" in result.stderr and "space" in result.stderr
    assert files(small_disk) == [f"a.{format}"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError("encoder error -2")], ids=str)
def test_a_disk_that_fills_at_the_last_moment_leaves_nothing(
    upscale: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    """Some file systems notice only when the data are flushed; some encoders lose the error's number."""

    def full(handle: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=0))
    result = upscale(picture(tmp_path / "in.png"), "-o", tmp_path / "out" / "x.png")
    assert result.exit_code == 1
    assert (error.strerror or str(error)) in result.stderr and "stopped: 0 of 1 done" in result.stderr
    assert files(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
    ids=["Ctrl-C", "kill"],
)
def test_an_interruption_leaves_whole_files_and_the_next_run_goes_on(
    tmp_path: Path, tiny_weights: Path, upscale: Run, number: signal.Signals, status: int
) -> None:
    count = 20
    for index in range(count):
        picture(tmp_path / "in" / f"{index:02}.png", 90, 90)
    command = (tmp_path / "in", "-o", tmp_path / "out")
    process = start("upscale", *command, "--weights", tiny_weights)
    while process.poll() is None and len(list((tmp_path / "out").glob("[0-9]*.png"))) < 3:
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    made = files(tmp_path / "out")
    assert process.returncode == status, errors
    assert 3 <= len(made) < count and not [name for name in made if "part" in name]
    for name in made:
        Image.open(tmp_path / "out" / name).load()
    if number == signal.SIGINT:
        assert f"interrupted: {len(made)} of {count} done" in errors and "same command" in errors
        again = upscale(*command)
        assert again.exit_code == 0 and f"{count - len(made)} done, {len(made)} there already" in again.stderr


def test_a_file_that_was_made_when_the_interruption_came_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [jobs.Job(picture(tmp_path / f"{n}.png", 8, 8), tmp_path / "out" / f"{n}.png") for n in (1, 2, 3)]

    def work(job: jobs.Job, progress: jobs.Progress) -> None:
        picture(job.target, 8, 8)
        if job is made[1]:
            raise KeyboardInterrupt

    assert jobs.run(made, work) == 130
    assert "interrupted: 2 of 3 done" in capsys.readouterr().err
