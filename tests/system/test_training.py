"""A training that is killed, spread over processes or moved to other ones ends where it would have ended anyway.

Trainings run in processes of their own, forked from one that has imported torch, so that each costs milliseconds.
"""

import itertools
import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch
from command import picture
from safetensors.torch import load_file
from torch import Tensor

from otsr.training import checkpoints, load_config
from otsr.training.trainer import Result, Trainer, train

RECIPE = """\
name: quick
steps: 10
network: {name: Compact, nf: 8, nb: 2}
data: {hr: photos, crop: 32, batch: 4, workers: 0}
validation: {hr: photos, images: 1}
losses:
  pixel: {weight: 1}
  gan: {weight: 0.05, kind: wgan-qc, reals: independent}
critic: {name: patch, nf: 4, norm: spectral}
optimiser: {schedule: {kind: cosine, warmup: 2}}
ema: 0.9
clip: 1
precision: fp32
every: {validate: 5, checkpoint: 2, log: 1, pictures: 5}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two photos and a recipe: a critic, an average, two optimisers, a warm-up, random crops."""
    folder = tmp_path_factory.mktemp("place")
    for name in ("a.png", "b.png"):
        picture(folder / "photos" / name, 104, 64)
    (folder / "quick.yml").write_text(RECIPE.replace("hr: photos", f"hr: {folder / 'photos'}"))
    return folder


@pytest.fixture(scope="module")
def processes() -> Iterator[ForkServerContext]:
    """How to start a process that has torch already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["otsr.training.trainer", "command"])
    yield context
    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # else it would wait until all tests are done


def run(place: Path, folder: Path, *settings: str, resume: bool = False) -> Result:
    return train(load_config(place / "quick.yml", settings), folder, resume, progress=False)


def exit_code(processes: ForkServerContext, target: Callable[..., None], *arguments: Any) -> int | None:
    process = processes.Process(target=target, args=arguments)
    process.start()
    process.join(120)
    return process.exitcode


def run_and_die(place: Path, folder: Path, settings: Sequence[str], moment: str, count: int) -> None:
    """Go on with a training, or begin it; SIGKILL at a moment, when it comes for the count-th time."""
    owner, name = {"after an update": (Trainer, "update"), "in mid-checkpoint": (os, "fsync")}[moment]
    original: Callable[..., Any] = getattr(owner, name)
    calls = itertools.count(1)

    def counted(*arguments: Any) -> Any:
        answer = original(*arguments)
        if next(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(owner, name, counted)
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # a fork server of its own would outlive it
    run(place, folder, *settings, resume=(folder / checkpoints.NAME).exists())


def run_until_told(place: Path, folder: Path) -> None:
    """As torchrun and batch systems end a training: they send SIGTERM to it and to all that it has started."""
    os.setpgrp()
    multiprocessing.set_start_method("fork", force=True)  # so that its data processes are in its group
    log = Trainer._log

    def told(trainer: Trainer) -> None:
        log(trainer)
        if trainer.step == 2:
            os.killpg(0, signal.SIGTERM)
            for worker in multiprocessing.active_children():
                worker.join(1)  # were it to end, the next batch would be missing

    Trainer._log = told  # type: ignore[method-assign]
    run(place, folder, "data.workers=2", "every.checkpoint=100")


def flat(state: Any, above: str = "") -> dict[str, Any]:
    """Everything in a checkpoint by its path."""
    if not isinstance(state, dict | list):
        return {above: state}
    items = state.items() if isinstance(state, dict) else enumerate(state)
    return {key: leaf for name, value in items for key, leaf in flat(value, f"{above}/{name}").items()}


def assert_same(one: Path, other: Path) -> None:
    """To the last bit: checkpoint, weights, scores."""
    a, b = flat(checkpoints.load(one)), flat(checkpoints.load(other))
    assert {"/critic optimiser/state/0/exp_avg", "/step", "/best/psnr_y"} <= a.keys() == b.keys()
    for name in a.keys() - {"/config"}:
        same = torch.equal(a[name], b[name]) if isinstance(a[name], Tensor) else a[name] == b[name]
        assert same, name
    for weights in ("last.safetensors", "best.safetensors"):
        x, y = load_file(one / weights), load_file(other / weights)
        assert x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x)
    assert (one / "validation.tsv").read_text() == (other / "validation.tsv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_training_that_is_killed_again_and_again_ends_bit_for_bit_as_if_nothing_had_happened(
    place: Path, processes: ForkServerContext, tmp_path: Path, precision: str
) -> None:
    settings = (f"precision={precision}",)
    run(place, tmp_path / "whole", *settings)
    chance = random.Random(precision)
    moments = [("after an update", 3, 5), ("in mid-checkpoint", 2, 6), ("after an update", 1, 3)]
    for moment, first, last in moments:
        count = chance.randint(first, last)
        arguments = (place, tmp_path / "killed", (*settings, "data.workers=1"), moment, count)
        assert exit_code(processes, run_and_die, *arguments) == -signal.SIGKILL
    assert run(place, tmp_path / "killed", *settings, resume=True).step == 10
    assert_same(tmp_path / "whole", tmp_path / "killed")


def test_a_sigterm_to_the_training_and_its_data_processes_is_saved_for(
    place: Path, processes: ForkServerContext, tmp_path: Path
) -> None:
    assert exit_code(processes, run_until_told, place, tmp_path / "run") == 143
    assert checkpoints.load(tmp_path / "run")["step"] == 3


@pytest.mark.slow
def test_every_part_of_the_state_decides_where_a_training_ends(place: Path, tmp_path: Path) -> None:
    """So the comparison above would notice if one were not restored."""
    run(place, tmp_path / "whole", "steps=6")
    run(place, tmp_path / "begun", "steps=5", "optimiser.schedule.periods=[6]")
    shutil.copytree(tmp_path / "begun", tmp_path / "undisturbed")
    run(place, tmp_path / "undisturbed", "steps=6", "optimiser.schedule.periods=[6]", resume=True)
    assert_same(tmp_path / "whole", tmp_path / "undisturbed")
    for part in ("generator", "critic", "optimiser", "critic optimiser", "average"):
        folder = tmp_path / part
        shutil.copytree(tmp_path / "begun", folder)
        state = checkpoints.load(folder)
        state[part] = disturbed(state[part])
        checkpoints.save(folder, state)
        run(place, folder, "steps=6", "optimiser.schedule.periods=[6]", resume=True)
        with pytest.raises(AssertionError):
            assert_same(tmp_path / "whole", folder)


def disturbed(part: Any) -> Any:
    """The same with all its tensors a little larger."""
    if isinstance(part, dict):
        return {name: disturbed(value) for name, value in part.items()}
    return part * 1.01 if isinstance(part, Tensor) and part.is_floating_point() else part


def transport_costs(folder: Path) -> dict[int, float]:
    """The value of each step's transport problem, out of TensorBoard's files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    journal = EventAccumulator(str(folder / "log"))
    journal.Reload()
    return {event.step: event.value for event in journal.Scalars("critic/transport cost")}


@pytest.mark.slow
def test_what_one_process_began_two_of_torchrun_go_on_with_and_one_ends(place: Path, tmp_path: Path) -> None:
    """Two crops each, or four in one: the same transport problems, the same weights."""
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        run(place, folder, "steps=2", "optimiser.schedule.periods=[6]")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    torchrun = f"-m torch.distributed.run --nproc-per-node 2 --master-port {port} -m otsr train".split()
    settings = ["--resume", "--set", "steps=4", "--set", "optimiser.schedule.periods=[6]"]
    answer = subprocess.run(
        [sys.executable, *torchrun, str(place / "quick.yml"), "-o", str(two), *settings], timeout=300,
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("4 steps") == 1, "one process speaks for all"
    run(place, one, "steps=4", "optimiser.schedule.periods=[6]", resume=True)
    assert_alike(one, two)
    for folder in (one, two):
        run(place, folder, "steps=6", resume=True)
    assert_alike(one, two)


def assert_alike(one: Path, other: Path) -> None:
    """Transport problems and weights, to rounding: far less than what the training has changed."""
    costs, others = transport_costs(one), transport_costs(other)
    assert costs.keys() == others.keys() and len(costs) >= 3
    assert costs == pytest.approx(others, rel=1e-5)
    a, b = flat(checkpoints.load(one)), flat(checkpoints.load(other))
    assert a["/step"] == b["/step"]
    moved = 1e-4 * a["/step"]  # Adam's steps are at most of the learning rate's size
    for part in ("generator", "average", "critic"):
        names = [name for name in a if name.startswith(f"/{part}/")]
        assert max(float((a[name] - b[name]).abs().max()) for name in names) < 0.02 * moved, part
