"""What surrounds the arithmetic: precision, kernels, threads, processes, randomness, learning rate, Ctrl-C."""

from __future__ import annotations

import copy
import hashlib
import math
import os
import signal
import struct
import sys
import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from functools import lru_cache
from itertools import accumulate
from types import FrameType
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from otsr import machine
from otsr.images.resampling import bands
from otsr.training.schema import Config, Schedule

if TYPE_CHECKING:
    from accelerate import Accelerator


def choose_precision(config: Config, device: torch.device) -> torch.dtype:
    """The type that convolutions multiply in; auto is bf16 where the device is fast at it."""
    if config.precision == "auto":
        fast = torch.cuda.is_bf16_supported(False) if device.type == "cuda" else machine.fast_bf16()
        return torch.bfloat16 if fast else torch.float32
    if config.precision == "fp16" and device.type == "cpu":
        raise config.error("precision", "is fp16, which needs CUDA; use auto, bf16 or fp32")
    return machine.DTYPES[config.precision]


_SWITCHES = (
    (torch.utils.deterministic, "fill_uninitialized_memory"),
    (torch.backends.cuda.matmul, "allow_tf32"),
    (torch.backends.cudnn, "allow_tf32"),
    (torch.backends.cudnn, "benchmark"),
)


def choose_kernels(device: torch.device, *, exact: bool) -> None:
    """Set how CUDA multiplies in this process.

    Exact: no TF32, and sums in a fixed order; an operation that has none raises RuntimeError. Otherwise TF32, and for
    each shape the convolution that a trial finds fastest: a resumed training then agrees to rounding.
    """
    if device.type == "cuda":
        # Deterministic mode would also fill every new tensor first, writing each result twice: never.
        _set_kernels(exact, [False, not exact, not exact, not exact])


@contextmanager
def kernels_restored() -> Iterator[None]:
    """Afterwards CUDA multiplies as before, whatever `choose_kernels` was asked for inside."""
    before = torch.are_deterministic_algorithms_enabled(), [getattr(*switch) for switch in _SWITCHES]
    try:
        yield
    finally:
        _set_kernels(*before)


def _set_kernels(repeatable: bool, values: list[bool]) -> None:
    if torch.are_deterministic_algorithms_enabled() != repeatable:  # the call takes seconds
        torch.use_deterministic_algorithms(repeatable)
    for (holder, name), value in zip(_SWITCHES, values, strict=True):
        setattr(holder, name, value)


class Fast:
    """A network as the device runs it best, while its weights stay in float32 for the optimiser.

    In 16 bits a copy does the work: weights are cast once a step for all layers, where autocast would cast those of
    each convolution forwards and their gradients backwards. With `graphs` CUDA records both passes once, for inputs of
    the sample's shape and layout, and replays each as one launch, with the same numbers.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype, sample: Tensor, *, graphs: bool) -> None:
        self.network = network
        self._runs = network if dtype == torch.float32 else copy.deepcopy(network).to(dtype)
        if graphs and sample.is_cuda:
            torch.cuda.make_graphed_callables(self._runs, (sample,))
            # A graph reads the matrices of `resize` where they lay, and their cache forgets them after other sizes.
            scale: int = network.scale  # type: ignore[assignment]
            sides = sample.shape[-2:]
            self._held = [bands(n, scale, n * scale, sample.device, torch.float32) for n in sides]

    def __call__(self, batch: Tensor) -> Tensor:
        """The network's answer in float32, with its current weights."""
        if self._runs is not self.network:
            with torch.no_grad():
                torch._foreach_copy_(list(self._runs.parameters()), list(self.network.parameters()))
        return self._runs(batch).float()

    def set_gradients(self, loss: Tensor) -> list[nn.Parameter]:
        """Differentiate; return the network's parameters, which now have their gradients."""
        parameters = list(self.network.parameters())
        gradients = torch.autograd.grad(loss, list(self._runs.parameters()))
        if self._runs is not self.network:
            wide = [torch.empty_like(parameter) for parameter in parameters]
            torch._foreach_copy_(wide, gradients)
            gradients = tuple(wide)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        return parameters


def average_gradients(parameters: Iterable[nn.Parameter], accelerator: Accelerator) -> None:
    """Replace each gradient by its mean over the processes, in one message."""
    if accelerator.num_processes == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = accelerator.reduce(torch.cat([gradient.flatten() for gradient in gradients]), "mean")
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def anywhere(flag: bool, accelerator: Accelerator) -> bool:
    """Whether it is True in any process."""
    if accelerator.num_processes == 1:
        return flag
    return bool(accelerator.reduce(torch.tensor(float(flag), device=accelerator.device), "sum"))


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, ema: float, step: int) -> None:
    """Move the running average of the weights: average ← decay · average + (1 − decay) · weights."""
    # In the first steps the average follows faster, or it would remember the start.
    decay = min(ema, (1 + step) / (10 + step)) if ema else 0.0
    averages: list[Tensor] = list(average.parameters())
    torch._foreach_lerp_(averages, list[Tensor](network.parameters()), 1 - decay)


@contextmanager
def one_thread() -> Iterator[None]:
    """torch computes in one thread, so that sums are done in the same order wherever this runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Stream(IntEnum):
    """What random numbers are for; streams share none."""

    ORDER = 0
    SAMPLE = 1
    REAL_ORDER = 2
    REAL = 3
    CRITIC = 4


def generator(seed: int, stream: Stream, *counters: int) -> torch.Generator:
    """A fresh generator, seeded with a hash of all arguments: what it draws depends on nothing else."""
    digest = hashlib.blake2b(struct.pack(f"<{2 + len(counters)}q", seed, stream, *counters), digest_size=8)
    return torch.Generator().manual_seed(int.from_bytes(digest.digest(), "little", signed=True))


@lru_cache(maxsize=64)
def order(seed: int, stream: Stream, epoch: int, count: int) -> tuple[int, ...]:
    """In which order `count` photos are shown when it is their turn for the epoch-th time."""
    return tuple(torch.randperm(count, generator=generator(seed, stream, epoch)).tolist())


def rate(schedule: Schedule, step: int, steps: int, peak: float) -> float:
    """The learning rate of a step, counted from 0: a function, so there is nothing to save or restore.

    constant: peak. multistep: peak · factor^(milestones passed). cosine, in a period of n steps that began at step a:
    floor + (peak − floor)·(1 + cos π(step − a)/n)/2. All of it × (step + 1)/warmup during the warm-up.

    Reference: Loshchilov, Hutter, SGDR, ICLR 2017, arXiv 1608.03983 (restarts).
    """
    warm = min(1.0, (step + 1) / schedule.warmup) if schedule.warmup else 1.0
    if schedule.kind != "cosine":  # a constant rate has no milestones
        return warm * peak * schedule.factor ** bisect_right(schedule.milestones, step)
    periods = schedule.periods or (steps,)
    starts = [0, *accumulate(periods)]
    period = bisect_right(starts, step) - 1
    if period >= len(periods):
        return warm * schedule.floor
    part = (step - starts[period]) / periods[period]
    return warm * (schedule.floor + (peak - schedule.floor) * (1 + math.cos(math.pi * part)) / 2)


@contextmanager
def interruption() -> Iterator[list[int]]:
    """Inside, SIGINT (Ctrl-C) and SIGTERM (of a batch system) are only noted, in the list that is yielded.

    So a training can finish and save its step. A second SIGINT ends at once. Only the main thread gets signals.
    """
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if noted and number == signal.SIGINT:
            raise KeyboardInterrupt
        noted.append(number)

    here = threading.current_thread() is threading.main_thread()
    before = {n: signal.signal(n, note) for n in (signal.SIGINT, signal.SIGTERM) if here}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def outlive_ctrl_c(worker: int) -> None:
    """In a worker: Ctrl-C and torchrun's SIGTERM are for the training, which finishes its step, saves, and ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # signals to the training's whole group no longer arrive
    report = sys.excepthook  # a thread that lends memory need not complain that the training was killed
    gone = (ConnectionError, EOFError)
    sys.excepthook = lambda kind, *rest: None if issubclass(kind, gone) else report(kind, *rest)


@contextmanager
def sigchld_as_it_was() -> Iterator[None]:
    """torch would interrupt whatever runs when a worker dies, such as saving; it is early enough at the next batch."""
    here = hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGCHLD) if here else None
    yield
    if here:
        signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)
