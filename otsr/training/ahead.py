"""Worker processes that make batches ahead of the training, in shared memory, and say so when they die.

Each process makes every n-th step and may be two steps ahead. It sends no pixels: it fills a slot of shared memory
and answers "done". A process that is killed, even by the system for want of memory, is noticed at once.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from itertools import count
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np
import torch

from otsr.training.photos import DataError

Layout = Sequence[tuple[tuple[int, ...], str]]  # shape and dtype of each array that a step gives
_SLOTS = 2
_PATIENCE = 2.0  # seconds for a process to end by itself


def make_ahead(
    make: Callable[[int], Sequence[np.ndarray]],
    layout: Layout,
    first: int,
    workers: int,
    context: BaseContext | None = None,
) -> Generator[tuple[int, list[np.ndarray]]]:
    """(step, make(step)) for step = first, first + 1, …, without end, in this order.

    The arrays are valid until the next pair is asked for. Closing the iterator ends the processes.

    Args:
        make: what a step gives, a pure function of it; pickled where processes do not fork.
        layout: of its arrays.
        workers: processes, at least 1.
        context: how processes start; None: as this Python does.

    Raises:
        DataError: `make` failed in a process, or a process died; says which, at which step, and what to do.
    """
    context = context or multiprocessing.get_context()
    pool = [_Worker(make, layout, context) for _ in range(workers)]
    try:
        steps = count(first)
        pending: deque[tuple[int, _Worker, int]] = deque()
        for slot in range(_SLOTS):
            pending.extend(worker.ask(next(steps), slot) for worker in pool)
        while True:
            step, worker, slot = pending.popleft()
            worker.wait_for(step)
            yield step, worker.views[slot]
            pending.append(worker.ask(next(steps), slot))
    finally:
        for worker in pool:
            worker.hang_up()
        for worker in pool:
            worker.end()


class _Worker:
    """One process, seen from the training."""

    def __init__(
        self, make: Callable[[int], Sequence[np.ndarray]], layout: Layout, context: BaseContext
    ) -> None:
        size = sum(_bytes(shape, dtype) for shape, dtype in layout)
        buffers = [context.RawArray(ctypes.c_uint8, size) for _ in range(_SLOTS)]
        self.views = [_views(buffer, layout) for buffer in buffers]
        self.connection, other = context.Pipe()
        self.process = context.Process(  # type: ignore[attr-defined]
            target=_work, args=(make, layout, buffers, other, self.connection), daemon=True, name="otsr data"
        )
        self.process.start()
        other.close()

    def ask(self, step: int, slot: int) -> tuple[int, _Worker, int]:
        try:
            self.connection.send((step, slot))
        except OSError:
            raise self._death(step) from None
        return step, self, slot

    def wait_for(self, step: int) -> None:
        wait([self.connection, self.process.sentinel])
        try:
            problem = self.connection.recv() if self.connection.poll() else None
            if problem is None:
                raise EOFError
        except (EOFError, OSError):
            raise self._death(step) from None
        if problem:
            raise DataError(f"step {step}: {problem}")

    def hang_up(self) -> None:
        with suppress(OSError):
            self.connection.send(None)  # a process forked later may hold this end open: closing is not enough
        self.connection.close()

    def end(self) -> None:
        self.process.join(_PATIENCE)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()

    def _death(self, step: int) -> DataError:
        self.process.join(_PATIENCE)
        code = self.process.exitcode
        how = (
            f"was killed by {signal.Signals(-code).name}"
            if code and code < 0
            else f"ended with status {code}"
        )
        return DataError(
            f"a data process (pid {self.process.pid}) {how} before step {step} was made. SIGKILL mostly means that "
            "memory ran out, SIGBUS that /dev/shm is full: set data.workers or data.batch lower, pack folders with "
            "otsr pack, then go on with --resume"
        )


def _work(
    make: Callable[[int], Sequence[np.ndarray]],
    layout: Layout,
    buffers: list[Any],
    connection: Connection,
    others_end: Connection,
) -> None:
    """In the process: fill slots as asked, until the training hangs up or is gone."""
    others_end.close()  # inherited; while a copy is open, this process would not hear that the training is gone
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the training, which then hangs up
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # torchrun tells the training's whole group to end: the training then saves, and hangs up
    torch.set_num_threads(1)
    views = [_views(buffer, layout) for buffer in buffers]
    while True:
        try:
            task = connection.recv()
            if task is None:
                return
            step, slot = task
            connection.send(_fill(views[slot], make, step))
        except (EOFError, OSError):
            return


def _fill(views: list[np.ndarray], make: Callable[[int], Sequence[np.ndarray]], step: int) -> str:
    """What went wrong, in words; "" when all is well."""
    try:
        for view, made in zip(views, make(step), strict=True):
            view[...] = made
    except (ValueError, OSError) as error:  # the data's fault: the message names the file
        return str(error) or repr(error)
    except Exception:
        return traceback.format_exc()
    return ""


def _bytes(shape: tuple[int, ...], dtype: str) -> int:
    size = np.dtype(dtype).itemsize
    for side in shape:
        size *= side
    return -(-size // 64) * 64  # arrays begin at multiples of 64 bytes


def _views(buffer: Any, layout: Layout) -> list[np.ndarray]:
    views, start = [], 0
    for shape, dtype in layout:
        flat = np.frombuffer(buffer, np.uint8, _bytes(shape, dtype), start)
        count = int(np.prod(shape))
        views.append(flat.view(dtype)[:count].reshape(shape))
        start += _bytes(shape, dtype)
    return views
