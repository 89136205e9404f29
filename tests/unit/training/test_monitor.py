"""The watch remembers the first step that went wrong; the screen shows lines of losses and of scores."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from otsr.training import monitor
from otsr.training.monitor import Progress, Watch


def watch() -> Watch:
    return Watch(SimpleNamespace(gather=lambda row: row))  # type: ignore[arg-type]


def numbers(**values: float) -> dict[str, Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


def test_numbers_are_those_of_the_last_step_and_nothing_is_wrong() -> None:
    seen = watch()
    seen.record(0, numbers(pixel=0.5, gan=2.0))
    seen.record(1, numbers(pixel=0.25, gan=3.0))
    assert seen.check() == ({"pixel": 0.25, "gan": 3.0}, None)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_named(value: float) -> None:
    seen = watch()
    seen.record(7, numbers(pixel=0.5, gan=value, gradient=value))
    assert seen.check()[1] == (7, ["gan", "gradient"])


def test_the_first_fault_stays_whatever_comes_after_it() -> None:
    seen = watch()
    for step, (pixel, gan) in enumerate([(1.0, 1.0), (1.0, math.nan), (math.nan, math.nan), (1.0, 1.0)]):
        seen.record(step, numbers(pixel=pixel, gan=gan))
    assert seen.check() == ({"pixel": 1.0, "gan": 1.0}, (1, ["gan"]))


def test_a_number_in_half_precision_that_carries_a_gradient_is_kept_without_it() -> None:
    seen = watch()
    leaf = torch.tensor(1.5, dtype=torch.bfloat16, requires_grad=True)
    seen.record(0, {"pixel": 2 * leaf})
    assert not seen._rows[0].requires_grad and seen.check() == ({"pixel": 3.0}, None)


def test_of_several_processes_the_earliest_fault_counts_and_numbers_are_averaged() -> None:
    rows: list[Tensor] = []

    def gather(row: Tensor) -> Tensor:
        rows.append(row)
        return torch.cat(rows)

    accelerator: Any = SimpleNamespace(gather=gather)
    steps = [
        [numbers(pixel=1.0, gan=1.0), numbers(pixel=1.0, gan=1.0)],
        [numbers(pixel=1.0, gan=1.0), numbers(pixel=math.nan, gan=4.0)],
        [numbers(pixel=1.0, gan=math.inf), numbers(pixel=4.0, gan=4.0)],
    ]
    for process in steps:
        seen = Watch(accelerator)
        for step, found in enumerate(process):
            seen.record(step, found)
        averaged, fault = seen.check()
    assert fault == (0, ["gan"])
    assert math.isnan(averaged["pixel"]) and averaged["gan"] == 3.0


# --- progress


def test_a_line_tells_losses_rate_pace_and_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(monitor.time, "perf_counter", lambda: now[0])
    shown = Progress("run", 1000, 2000, shown=True)
    now[0] += 50
    shown.scores(1000, {}, better=False)  # after a validation
    now[0] += 20
    shown.numbers(1010, {"pixel": 0.01234567, "gan": 3.0}, 1e-4)
    shown.close()
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1:] == ["step 1,010/2,000  pixel 0.01235  gan 3  rate 0.0001  2 s/step  33 min left"]
    assert shown.pace == 2.0


def test_scores_have_their_names_and_the_best_are_marked(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Progress("run", 0, 20, shown=True)
    shown.scores(5, {"st_lpips": 0.25, "psnr_y": 24.5}, better=True)
    shown.scores(10, {"psnr_y": 24.0}, better=False)
    shown.close()
    first, second = capsys.readouterr().err.rstrip().splitlines()
    assert first == "step 5/20  PSNR-Y ↑ 24.50  ST-LPIPS ↓ 0.2500  best"
    assert second == "step 10/20  PSNR-Y ↑ 24.00"
