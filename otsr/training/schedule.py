"""The learning rate at a step, as a function: nothing to save, nothing to restore."""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import accumulate

from otsr.training.schema import Schedule


def rate(schedule: Schedule, step: int, steps: int, peak: float) -> float:
    """Learning rate of a step, from 0 on.

    constant: peak. multistep: peak · factor^(milestones passed). cosine, in a period of n steps that began at step a:
    floor + (peak − floor)·(1 + cos π(step − a)/n)/2. All of it
    × (step + 1)/warmup during the warm-up.

    Args:
        steps: of the whole training: the period where the schedule names none.
        peak: the recipe's learning rate.

    Reference: Loshchilov, Hutter, SGDR, ICLR 2017, arXiv 1608.03983 (restarts).
    """
    warm = min(1.0, (step + 1) / schedule.warmup) if schedule.warmup else 1.0
    if schedule.kind == "multistep":
        return warm * peak * schedule.factor ** bisect_right(schedule.milestones, step)
    if schedule.kind == "cosine":
        return warm * _cosine(schedule, step, steps, peak)
    return warm * peak


def _cosine(schedule: Schedule, step: int, steps: int, peak: float) -> float:
    periods = schedule.periods or (steps,)
    starts = [0, *accumulate(periods)]
    period = bisect_right(starts, step) - 1
    if period >= len(periods):
        return schedule.floor
    part = (step - starts[period]) / periods[period]
    height = peak - schedule.floor
    return schedule.floor + height * (1 + math.cos(math.pi * part)) / 2
