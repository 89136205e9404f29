"""Learning rates against formulas written out, and against torch's own schedulers."""

from __future__ import annotations

import math

import pytest
import torch

from otsr.training.schedule import rate
from otsr.training.schema import Schedule


def rates(schedule: Schedule, steps: int, peak: float = 1.0) -> list[float]:
    return [rate(schedule, step, steps, peak) for step in range(steps)]


def torchs(make: type, **arguments: object) -> list[float]:
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)
    scheduler = make(optimiser, **arguments)
    found = []
    for _ in range(20):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return found


def test_multistep_is_torchs() -> None:
    ours = rates(Schedule(kind="multistep", milestones=(5, 9, 9), factor=0.5), 20)
    theirs = torchs(torch.optim.lr_scheduler.MultiStepLR, milestones=[5, 9, 9], gamma=0.5)
    assert ours == pytest.approx(theirs)


def test_one_cosine_is_torchs() -> None:
    ours = rates(Schedule(kind="cosine", floor=0.1), 20)
    assert ours == pytest.approx(torchs(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=20, eta_min=0.1))


def test_cosine_begins_anew_at_each_restart_with_its_weight_and_then_stays_at_the_floor() -> None:
    schedule = Schedule(kind="cosine", periods=(4, 8), restart_weights=(1.0, 0.5), floor=0.01)
    ours = rates(schedule, 14)
    assert ours[0] == 1 and ours[4] == 0.5 and ours[12:] == [0.01, 0.01]
    assert ours[2] == pytest.approx(0.01 + 0.99 / 2)
    assert ours[6] == pytest.approx(0.01 + 0.49 * (1 + math.cos(math.pi / 4)) / 2)


def test_warm_up_grows_from_the_first_step_to_the_whole_rate() -> None:
    assert rates(Schedule(warmup=4), 6, 0.2) == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.2, 0.2])
