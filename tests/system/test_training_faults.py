"""What can go wrong in a training: each fault is named, ends with its status, and leaves the last checkpoint intact."""

import errno
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command import Run, picture
from filelock import FileLock
from safetensors.torch import load_file
from tensorboard.summary.writer import record_writer

from otsr.training import checkpoints
from otsr.training.batches import TrainingBatches
from otsr.training.sources import pack
from otsr.training.trainer import Trainer

RECIPE = """\
name: quick
steps: 8
network: {name: Compact, nf: 4, nb: 1}
data: {hr: photos, crop: 16, batch: 2, workers: 0}
validation: {images: 0}
losses: {pixel: {weight: 1}}
precision: fp32
every: {validate: 4, checkpoint: 2, log: 1, pictures: 4}
"""
DISK = 512
GAN = ("losses.gan={weight: 0.1, kind: wgan-qc}", "critic={name: patch, nf: 4}")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with two photos and a recipe."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png"):
        picture(tmp_path / "photos" / name, 40, 30)
    (tmp_path / "quick.yml").write_text(RECIPE)
    return tmp_path


def intact(folder: Path, step: int) -> None:
    """The checkpoint is that of a step, with finite weights, and no half-written file lies beside it."""
    assert checkpoints.load(folder)["step"] == step
    assert all(bool(value.isfinite().all()) for value in load_file(folder / "last.safetensors").values())
    assert not [path.name for path in folder.iterdir() if ".part" in path.name]


def settings(*values: str) -> list[str]:
    return [word for value in values for word in ("--set", value)]


def after_update(monkeypatch: pytest.MonkeyPatch, step: int, do: Callable[[Trainer], Any]) -> None:
    """Call `do` once, when a step's update is done and not yet counted."""
    update = Trainer.update

    def counted(trainer: Trainer, *arguments: Any) -> None:
        update(trainer, *arguments)
        if trainer.step == step:
            do(trainer)

    monkeypatch.setattr(Trainer, "update", counted)


def fill(disk: Path, but: int) -> None:
    """Leave so many bytes free."""
    status = os.statvfs(disk)
    (disk / "other").write_bytes(bytes(status.f_bavail * status.f_bsize - but))


def test_a_disk_that_is_full_in_mid_checkpoint_keeps_the_one_before_and_the_run_can_go_on(
    otsr: Run, place: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        after_update(patch, 4, lambda _: fill(small_disk, but=12288))
        result = otsr("train", "quick.yml", "-o", small_disk / "run")
    assert result.exit_code == 1, result.output
    assert "last.state: cannot be written" in result.stderr and "the one before it is intact" in result.stderr
    assert "Traceback" not in result.stderr
    (small_disk / "other").unlink()
    intact(small_disk / "run", 4)
    assert otsr("train", "quick.yml", "-o", small_disk / "run", "--resume").exit_code == 0
    assert otsr("train", "quick.yml", "-o", "whole").exit_code == 0
    one, other = (load_file(folder / "last.safetensors") for folder in (small_disk / "run", place / "whole"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_disk_that_is_full_from_the_first_byte_is_named(otsr: Run, place: Path, small_disk: Path) -> None:
    fill(small_disk, but=4096)
    result = otsr("train", "quick.yml", "-o", small_disk / "run")
    assert result.exit_code == 1
    assert "disk/run" in result.stderr and "No space left" in result.stderr
    (small_disk / "other").unlink()
    assert otsr("train", "quick.yml", "-o", small_disk / "run").exit_code == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_journal_that_cannot_be_written_is_named_and_the_training_goes_on_later(
    otsr: Run, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorBoard writes in a thread of its own, whose error comes back with a later point of a curve."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        after_update(patch, 4, lambda _: patch.setattr(record_writer.RecordWriter, "write", full))
        result = otsr("train", "quick.yml")
    assert result.exit_code == 1, result.output
    assert "runs/quick/log" in result.stderr and "No space left" in result.stderr
    assert checkpoints.load(place / "runs/quick")["step"] >= 4
    assert otsr("train", "quick.yml", "--resume").exit_code == 0


def test_a_data_process_that_is_killed_is_named_and_the_run_can_go_on(
    otsr: Run, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(_: Trainer) -> None:
        for process in multiprocessing.active_children():
            os.kill(process.pid or 0, signal.SIGKILL)

    with monkeypatch.context() as patch:
        after_update(patch, 3, kill)
        result = otsr("train", "quick.yml", *settings("data.workers=1", "steps=50"))
    assert result.exit_code == 1
    for words in ("worker", "was killed before step", "--resume"):
        assert words in result.stderr
    folder = place / "runs" / "quick"
    step = checkpoints.load(folder)["step"]
    assert 4 <= step < 50
    intact(folder, step)
    assert otsr("train", "quick.yml", "--resume").exit_code == 0


@pytest.mark.parametrize(("ctrl_c", "finite"), [(False, True), (False, False), (True, False)])
def test_photos_that_go_during_a_training_cost_no_step_but_one_that_was_not_finite_is_not_saved(
    otsr: Run, place: Path, monkeypatch: pytest.MonkeyPatch, ctrl_c: bool, finite: bool
) -> None:
    def photos_go(trainer: Trainer) -> object:
        """Also from memory; nobody has read the last step's numbers yet."""
        trainer.watch._rows[-1].mul_(1 if finite else torch.nan)
        if ctrl_c:
            return os.kill(os.getpid(), signal.SIGINT)
        trainer.batches.hr._kept.clear()
        return (place / "photos").rename(place / "gone")

    seldom = settings("every.checkpoint=100", "every.log=100", "every.validate=100")
    with monkeypatch.context() as patch:
        after_update(patch, 4, photos_go)
        patch.setattr(Trainer, "_check_due", lambda _: False)  # as on CUDA
        result = otsr("train", "quick.yml", *seldom)
    assert result.exit_code == 1, result.output
    if not finite:
        assert "not finite" in result.stderr
        assert not (place / "runs" / "quick" / checkpoints.NAME).exists()
        return
    assert "error: step 5: " in result.stderr and "photos/" in result.stderr
    intact(place / "runs" / "quick", 5)
    (place / "gone").rename(place / "photos")
    assert otsr("train", "quick.yml", "--resume").exit_code == 0


def test_two_trainings_never_share_a_folder(otsr: Run, place: Path) -> None:
    folder = place / "runs" / "quick"
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"):
        result = otsr("train", "quick.yml")
    assert result.exit_code == 1
    assert "runs/quick: another training is at work here" in result.stderr
    assert not (folder / "config.yml").exists()
    assert otsr("train", "quick.yml").exit_code == 0
    assert otsr("train", "quick.yml", "--resume").exit_code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_an_interruption_saves_the_step_that_it_falls_into(
    otsr: Run, place: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    with monkeypatch.context() as patch:
        after_update(patch, 4, lambda _: os.kill(os.getpid(), number))
        result = otsr("train", "quick.yml", *settings("every.checkpoint=100"))
    assert result.exit_code == (130 if number == signal.SIGINT else 143)
    if number == signal.SIGINT:
        assert "the same command with --resume goes on from the last checkpoint" in result.stderr
    intact(place / "runs" / "quick", 5)
    assert otsr("train", "quick.yml", "--resume").exit_code == 0


def test_an_interruption_before_the_first_checkpoint_promises_none(
    otsr: Run, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(TrainingBatches, "__init__", interrupted)
    result = otsr("train", "quick.yml")
    assert result.exit_code == 130
    assert "interrupted" in result.stderr and "--resume" not in result.stderr


DEEP = "network={name: RRDBNet, nf: 4, nb: 1, gc: 4}"  # all layers move at once; of a fresh Compact the last one alone


@pytest.mark.parametrize(
    ("values", "culprit"),
    [
        ((DEEP, "optimiser.lr=1e30"), "pixel and gradient"),
        ((*GAN, "optimiser.critic_lr=1e30"), "critic loss"),
        ((*GAN, DEEP, "optimiser.lr=1e30"), "pixel and gan"),
    ],
    ids=["generator", "critic", "generator before a critic"],
)
def test_what_is_not_finite_stops_the_training_with_the_culprit_and_the_photos(
    otsr: Run, place: Path, monkeypatch: pytest.MonkeyPatch, values: tuple[str, ...], culprit: str
) -> None:
    schedule = "optimiser.schedule={kind: multistep, milestones: [1], factor: 1}"
    result = otsr("train", "quick.yml", *settings(*values, schedule, "every.checkpoint=1"))
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert culprit in line and "not finite" in line
    assert "photos/a.png at column" in line and "photos/b.png at column" in line
    folder = place / "runs" / "quick"
    intact(folder, checkpoints.load(folder)["step"])


@pytest.mark.parametrize("damaged", [True, False])
def test_a_checkpoint_that_is_damaged_or_of_another_recipe_is_left_as_it_is(
    otsr: Run, place: Path, damaged: bool
) -> None:
    assert otsr("train", "quick.yml", *settings("steps=2")).exit_code == 0
    path = place / "runs" / "quick" / checkpoints.NAME
    if damaged:
        path.write_bytes(path.read_bytes()[:-100])
    before = {file: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}
    result = otsr("train", "quick.yml", "--resume", *settings(*GAN))
    assert result.exit_code == 1
    words = ["last.state: damaged", "last.safetensors"] if damaged else ["is of another recipe: ", "critic"]
    assert all(word in result.stderr for word in words)
    assert {file: file.read_bytes() for file in path.parent.iterdir() if file.is_file()} == before


@pytest.mark.parametrize(
    ("setting", "words"), [("data.hr=photos", "small.png (15×40)"), ("data.hr=photos.lmdb", "photos.lmdb")]
)
def test_data_that_cannot_be_used_are_named_before_anything_is_written(
    otsr: Run, place: Path, setting: str, words: str
) -> None:
    store = pack([place / "photos"], place / "photos.lmdb", progress=False).path
    store.write_bytes(bytes(4096) + store.read_bytes()[4096:])
    picture(place / "photos" / "small.png", 15, 40)
    result = otsr("train", "quick.yml", *settings(setting))
    assert result.exit_code == 1, result.output
    assert "error: " in result.stderr and words in result.stderr and "Traceback" not in result.stderr
    assert not (place / "runs").exists()
