"""The watch remembers the first step that went wrong; the screen shows lines of losses and of scores."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from otsr.training import monitor
from otsr.training.monitor import Progress, Watch


def watched(*steps: dict[str, float], gather: Any = lambda row: row) -> Watch:
    watch = Watch(SimpleNamespace(gather=gather))  # type: ignore[arg-type]
    for step, numbers in enumerate(steps):
        watch.record(step, {name: torch.tensor(value) for name, value in numbers.items()})
    return watch


def test_numbers_are_those_of_the_last_step_whatever_their_precision_and_without_their_gradient() -> None:
    watch = watched({"pixel": 0.5, "gan": 2.0})
    half = torch.tensor(1.5, dtype=torch.bfloat16, requires_grad=True)
    watch.record(1, {"pixel": 2 * half, "gan": torch.tensor(4.0)})
    assert watch.unread == [0, 1] and not any(row.requires_grad for row in watch._rows)
    assert watch.check() == ({"pixel": 3.0, "gan": 4.0}, None) and not watch.unread


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_first_fault_is_named_whatever_comes_after_it(value: float) -> None:
    rows = [(1.0, 1.0, 1.0), (1.0, value, value), (value, value, value), (1.0, 1.0, 1.0)]
    watch = watched(*(dict(zip(("pixel", "gan", "gradient"), row, strict=True)) for row in rows))
    assert watch.check() == ({"pixel": 1.0, "gan": 1.0, "gradient": 1.0}, (1, ["gan", "gradient"]))


def test_of_several_processes_the_earliest_fault_counts_and_numbers_are_averaged() -> None:
    rows: list[Tensor] = []

    def gather(row: Tensor) -> Tensor:
        rows.append(row)
        return torch.cat(rows)

    fine = {"pixel": 1.0, "gan": 1.0}
    for first, second in (
        (fine, fine),
        (fine, {"pixel": math.nan, "gan": 4.0}),
        ({"pixel": 1.0, "gan": math.inf}, {"pixel": 4.0, "gan": 4.0}),
    ):
        averaged, fault = watched(first, second, gather=gather).check()
    assert fault == (0, ["gan"])
    assert math.isnan(averaged["pixel"]) and averaged["gan"] == 3.0


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
