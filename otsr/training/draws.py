"""Randomness that is a function of counters: seed, stream, step, place in the batch; not of what ran before.

So a sample can be made by any process, at any time, and is the same to the last bit.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from functools import lru_cache

import torch


class Stream(IntEnum):
    """What the numbers are for; streams share none."""

    ORDER = 0
    SAMPLE = 1
    REAL_ORDER = 2
    REAL = 3
    CRITIC = 4


def generator(seed: int, stream: Stream, *counters: int) -> torch.Generator:
    """A fresh generator, seeded with a hash of all arguments."""
    digest = hashlib.blake2b(struct.pack(f"<{2 + len(counters)}q", seed, stream, *counters), digest_size=8)
    return torch.Generator().manual_seed(int.from_bytes(digest.digest(), "little", signed=True))


def choose(seed: int, stream: Stream, number: int, count: int) -> int:
    """Which of `count` photos the sample of this number shows: all in random order, then all in another, and so on."""
    epoch, place = divmod(number, count)
    return _order(seed, stream, epoch, count)[place]


@lru_cache(maxsize=64)
def _order(seed: int, stream: Stream, epoch: int, count: int) -> list[int]:
    order: list[int] = torch.randperm(count, generator=generator(seed, stream, epoch)).tolist()
    return order


@contextmanager
def one_thread() -> Iterator[None]:
    """torch computes in one thread: sums are then done in one order, wherever this runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
