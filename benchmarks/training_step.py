"""How long does one training step take beside the original's, and where does the time go?

    python benchmarks/training_step.py --out benchmarks/results/training_step.md     # about 5 minutes on two cores
    python benchmarks/training_step.py --quick                                       # small networks, 20 seconds

Both train the paper's networks with the paper's losses: RRDBNet, a VGG-128 critic, L1 of VGG19's conv5_4, edges,
WGAN-QC with its penalty. The original's step (`SRGANModel.optimize_parameters` of OTSR) is rendered in plain PyTorch
(peers/plain_step.py): fp32, NCHW, the critic passed for real and fake in G's loss and again in D's, a backward pass
through the penalty's gradient, costs by a Python loop, labels by a linear programme. Ours is the trainer's own step.

What is equal: networks, their first weights, the batch, Adam. The original's critic has batch norm, which costs time;
here both have none. Ours also keeps a running average of the weights and watches for numbers that are not finite.
VGG19's weights are random, so that nothing has to be downloaded. On CUDA both multiply fp32 without TF32.

What is shown first: with our losses in place of the published ones, which are not the same formulas, the plain step
gives the gradients of ours. So what is left out is repetition, not work. Only the critic's passes are repeated. With
the paper's generator two thirds of the original's step are generator and VGG19, whose convolutions are the same in both
and near the peak of the processor: that bounds what exact fp32 can gain, so a smaller generator is measured as well.

Each way runs in a process of its own and they take turns, step by step; ratios compare steps of the same round.
Processor seconds are those of all threads, which on a busy machine say more than the clock.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from peers.plain_step import OURS, PUBLISHED, Clock, Plain, vgg19, wait_for
from torch import Tensor, nn
from tqdm import tqdm
from writing import save

from otsr.evaluation import aligned
from otsr.training import adversary
from otsr.training.batches import TrainingBatches
from otsr.training.schema import Config
from otsr.training.trainer import Trainer

WAYS = {
    "original": "the original's step, fp32",
    "fp32": "ours, fp32",
    "bf16": "ours, bf16",
}
PARTS = ("generator", "features", "critic", "labels", "optimiser", "the rest")
Step = Callable[[Clock], None]
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")  # what the trainer takes


class Size(NamedTuple):
    """What is trained: width and blocks of the generator, width of the critic, HR crops."""

    width: int
    blocks: int
    nf: int = 64
    crop: int = 128
    batch: int = 8
    rounds: int = 3


SIZES = (Size(64, 23), Size(32, 4))  # the paper's generator, and that of the shipped small weights
QUICK = (Size(32, 1, nf=16, crop=32, batch=2, rounds=2),)


def recipe(size: Size, precision: str) -> Config:
    return Config.model_validate(
        {
            "name": "training-step",
            "steps": 1_000,
            "network": {
                "name": "RRDBNet",
                "nf": size.width,
                "nb": size.blocks,
                "gc": size.width // 2,
            },
            "precision": precision,
            "clip": 5.0,
            "data": {"hr": "photos/train", "crop": size.crop, "batch": size.batch, "workers": 0},
            "validation": {"images": 0},
            "losses": {
                "pixel": {"weight": 0.01},
                "perceptual": {"weight": 0.7, "backbone": "vgg19", "layers": {"conv5_4": 1.0}},
                "edge": {"weight": 0.01},
                "gan": {"weight": 1.0, "kind": "wgan-qc"},
            },
            "critic": {"name": "vgg", "nf": size.nf},
        }
    )


# --- ours


def ours(config: Config, folder: Path) -> Trainer:
    """The trainer, with the same VGG19 as the original's."""
    network = vgg19().to(memory_format=torch.channels_last)
    with mock.patch("otsr.training.losses.backbone", lambda name, layers: network):
        return Trainer(config, folder)


@contextmanager
def timed(trainer: Trainer, clock: Clock) -> Iterator[None]:
    """A context in which the parts of the trainer's step are told to the clock."""
    judge = trainer.adversary
    assert judge is not None

    def turn(module: nn.Module, inputs: object, sr: Tensor) -> None:
        sr.register_hook(lambda _: clock.turn_to("generator"))

    with ExitStack() as stack:
        for owner, name, part in (
            (trainer.generator, "forward", "generator"),
            (trainer.losses.backbones["vgg19"], "forward", "features"),
            (judge, "step", "critic"),
            (adversary, "quadratic_cost", "labels"),
            (adversary, "potentials", "labels"),
            (torch.Tensor, "backward", "features"),
            (trainer.optimiser, "step", "optimiser"),
            (judge.optimiser, "step", "optimiser"),
        ):
            stack.enter_context(mock.patch.object(owner, name, clock.around(part, getattr(owner, name))))
        stack.callback(trainer.generator.register_forward_hook(turn).remove)
        yield


def gradient_errors(size: Size) -> dict[str, float]:
    """‖ours − plain‖ / ‖plain‖ of one step's gradients, by network; both fp32, from the same weights and batch."""
    config = recipe(size, "fp32")
    batch = TrainingBatches(config.data, config.scale, config.seed).batch(0)
    with tempfile.TemporaryDirectory() as folder:
        trainer = ours(config, Path(folder))
        assert trainer.adversary is not None
        plain = Plain(config, OURS, DEVICE)
        pairs = {
            "generator": (trainer.generator, plain.generator),
            "critic": (trainer.adversary.critic, plain.critic),
        }
        for mine, theirs in pairs.values():
            assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), theirs.parameters(), strict=True))
        trainer.update(batch)
        plain.step(batch, Clock(DEVICE, running=False))
    errors = {}
    for name, networks in pairs.items():
        mine, theirs = (torch.cat([p.grad.flatten() for p in net.parameters()]) for net in networks)
        errors[name] = float((mine - theirs).norm() / theirs.norm())
    return errors


# --- measuring


def build(way: str, size: Size, folder: Path) -> Step:
    """A function that takes one step."""
    config = recipe(size, "bf16" if way == "bf16" else "fp32")
    batch = TrainingBatches(config.data, config.scale, config.seed).batch(0)
    if way == "original":
        torch.backends.cudnn.allow_tf32 = False
        original = Plain(config, PUBLISHED, DEVICE)
        return lambda clock: original.step(batch, clock)
    trainer = ours(config, folder)

    def step(clock: Clock) -> None:
        with timed(trainer, clock) if clock.running else ExitStack():
            trainer.update(batch)
        trainer.step += 1

    return step


def work(way: str, size: Size, pipe: Connection) -> None:
    """In a process of its own: do what the pipe asks for, and answer."""
    with tempfile.TemporaryDirectory() as folder:
        step = build(way, size, Path(folder))
        before = memory(peak=False)
        step(Clock(DEVICE, running=False))  # warms up
        wait_for(DEVICE)
        pipe.send(memory(peak=True) - before)
        while (question := pipe.recv()) is not None:
            pipe.send({"seconds": seconds, "parts": parts}[question](step))


def memory(*, peak: bool) -> int:
    """Bytes held now, or at most so far: on the CUDA device, else by the process (0 where /proc does not say)."""
    if DEVICE.type == "cuda":
        return torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    key = "VmHWM" if peak else "VmRSS"
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key)), 0)


def seconds(step: Step) -> tuple[float, float]:
    """By the clock and by the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    step(Clock(DEVICE, running=False))
    wait_for(DEVICE)
    return time.perf_counter() - clock, time.process_time() - processor


def parts(step: Step) -> dict[str, float]:
    clock = Clock(DEVICE, running=True)
    with clock("the rest"):
        step(clock)
    return dict(clock.seconds)


def measured(size: Size) -> dict[str, dict[str, Any]]:
    """Memory, seconds of each round, and parts of a step, by way."""
    context = multiprocessing.get_context("spawn")
    found: dict[str, dict[str, Any]] = {}
    workers = {}
    for way in tqdm(WAYS, desc="building", unit="way"):
        pipe, theirs = context.Pipe()
        process = context.Process(target=work, args=(way, size, theirs), daemon=True)
        process.start()
        theirs.close()
        workers[way] = (process, pipe)
        found[way] = {"memory": pipe.recv(), "seconds": []}

    def ask(way: str, question: str | None) -> Any:
        workers[way][1].send(question)
        return workers[way][1].recv() if question else None

    for _ in tqdm(range(size.rounds), desc="rounds"):
        for way in WAYS:
            found[way]["seconds"].append(ask(way, "seconds"))
    for way in tqdm(WAYS, desc="profiles", unit="way"):
        found[way]["parts"] = ask(way, "parts")
        ask(way, None)
        workers[way][0].join()
    return found


# --- the report


def speed_table(found: dict[str, dict[str, Any]]) -> str:
    base = found["original"]
    rows = []
    for way, one in found.items():
        cells = []
        for number in (0, 1):
            mine, theirs = ([pair[number] for pair in each["seconds"]] for each in (one, base))
            ratios = [b / a for a, b in zip(mine, theirs, strict=True)]
            cells += [f"{statistics.median(mine):.3g}", f"{statistics.median(ratios):.2f}×"]
        share = one["memory"] / base["memory"] if base["memory"] else 0
        rows.append([WAYS[way], *cells, f"{one['memory'] / 1e6:.0f}", f"{share:.2f}"])
    head = ["way", "seconds", "speed", "processor seconds", "speed", "peak memory, MB", "of the original's"]
    return aligned(head, rows)


def parts_table(found: dict[str, dict[str, Any]]) -> str:
    wholes = {way: sum(one["parts"].values()) for way, one in found.items()}
    rows = [
        [part, *(f"{one['parts'].get(part, 0):.3g} ({100 * one['parts'].get(part, 0) / wholes[way]:.0f} %)"
                 for way, one in found.items())]
        for part in PARTS
    ]  # fmt: skip
    return aligned(["part, seconds", *(WAYS[way] for way in found)], rows)


def section(size: Size) -> str:
    errors = gradient_errors(size)
    found = measured(size)
    return "\n\n".join(
        [
            f"## RRDBNet {size.width}/{size.blocks}",
            "Same losses, weights and batch: the gradients of ours and of the plain step differ by "
            + ", ".join(f"{error:.0e} ({network})" for network, error in errors.items())
            + " of their size, both in fp32.",
            speed_table(found),
            "Where the time of one step goes, forward and backward (processor seconds on a CPU):",
            parts_table(found),
        ]
    )


def report(sizes: Sequence[Size]) -> str:
    size = sizes[0]
    name = torch.cuda.get_device_name() if DEVICE.type == "cuda" else f"{torch.get_num_threads()} threads"
    head = (
        f"VGG-128 critic of nf {size.nf}, VGG19 conv5_4; batch {size.batch}, GT "
        f"{size.crop}×{size.crop}; {size.rounds} rounds, medians; torch {torch.__version__}, "
        f"{DEVICE.type}, {name} of {os.cpu_count()} cores ({platform.machine()}). Made by "
        "`python benchmarks/training_step.py`."
    )
    parts = ["# One training step", head]
    return "\n\n".join([*parts, *map(section, sizes)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small networks")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    arguments = parser.parse_args()
    text = report(QUICK if arguments.quick else SIZES)
    print(text)
    if arguments.out:
        save(arguments.out, text)


if __name__ == "__main__":
    main()
