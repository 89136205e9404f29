"""Watches the numbers of a training, and stops it at the first that is NaN or infinite.

On CUDA the host runs ahead of the device, and to look at a number it must wait. So numbers stay on the device, which
remembers by itself the first step that went wrong; the trainer looks when it logs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor


class NotFinite(RuntimeError):
    """A loss or a gradient became NaN or infinite; the message names it, the step and the photos."""


class Fault(NamedTuple):
    """The first step that went wrong, and the names of the numbers that were not finite."""

    step: int
    names: tuple[str, ...]


class Watch:
    """Keeps the numbers of the last step, and those of the first step at which one was not finite."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._names: tuple[str, ...] = ()
        self._latest = torch.zeros(0)
        self._fault_step = torch.zeros(0)
        self._faulty = torch.zeros(0)

    def see(self, step: int, numbers: Mapping[str, Tensor]) -> None:
        """Take note of a step's numbers (scalars by name, the same names in every step), without waiting for them."""
        latest = torch.stack([number.detach().float() for number in numbers.values()])
        faulty = (~torch.isfinite(latest)).float()
        if not self._names:
            self._names = tuple(numbers)
            self._fault_step, self._faulty = latest.new_full((1,), -1.0), torch.zeros_like(latest)
        first = (self._fault_step < 0) & (faulty.amax() > 0)
        self._fault_step = torch.where(first, float(step), self._fault_step)
        self._faulty = torch.where(first, faulty, self._faulty)
        self._latest = latest

    def read(self) -> tuple[dict[str, float], Fault | None]:
        """The last step's numbers, averaged over processes, and the first fault in any. Waits for the device."""
        row = torch.cat([self._fault_step, self._faulty, self._latest])
        rows = (
            self._accelerator.gather(row[None]).cpu()
            if self._accelerator.num_processes > 1
            else row[None].cpu()
        )
        count = len(self._names)
        numbers = dict(zip(self._names, rows[:, 1 + count :].mean(0).tolist(), strict=True))
        faulty = rows[rows[:, 0] >= 0]
        if not len(faulty):
            return numbers, None
        step = faulty[:, 0].min()
        flags = faulty[faulty[:, 0] == step][:, 1 : 1 + count].amax(0).tolist()
        names = tuple(name for name, flag in zip(self._names, flags, strict=True) if flag)
        return numbers, Fault(int(step), names)
