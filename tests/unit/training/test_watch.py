"""The watch remembers the first step that went wrong and what was not finite, without being asked in each step."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from otsr.training.watch import Fault, Watch


def watch() -> Watch:
    return Watch(SimpleNamespace(num_processes=1))  # type: ignore[arg-type]


def numbers(**values: float) -> dict[str, Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


def test_numbers_are_those_of_the_last_step_and_nothing_is_wrong() -> None:
    seen = watch()
    seen.see(0, numbers(pixel=0.5, gan=2.0))
    seen.see(1, numbers(pixel=0.25, gan=3.0))
    assert seen.read() == ({"pixel": 0.25, "gan": 3.0}, None)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_named(value: float) -> None:
    seen = watch()
    seen.see(7, numbers(pixel=0.5, gan=value, gradient=value))
    assert seen.read()[1] == Fault(7, ("gan", "gradient"))


def test_the_first_fault_stays_whatever_comes_after_it() -> None:
    seen = watch()
    for step, (pixel, gan) in enumerate([(1.0, 1.0), (1.0, math.nan), (math.nan, math.nan), (1.0, 1.0)]):
        seen.see(step, numbers(pixel=pixel, gan=gan))
    assert seen.read() == ({"pixel": 1.0, "gan": 1.0}, Fault(1, ("gan",)))


def test_a_number_in_half_precision_that_carries_a_gradient_is_kept_without_it() -> None:
    seen = watch()
    leaf = torch.tensor(1.5, dtype=torch.bfloat16, requires_grad=True)
    seen.see(0, {"pixel": 2 * leaf})
    assert not seen._latest.requires_grad and seen.read() == ({"pixel": 3.0}, None)


def test_of_several_processes_the_earliest_fault_counts_and_numbers_are_averaged() -> None:
    rows: list[Tensor] = []

    def gather(row: Tensor) -> Tensor:
        rows.append(row)
        return torch.cat(rows)

    accelerator: Any = SimpleNamespace(num_processes=3, gather=gather)
    steps = [
        [numbers(pixel=1.0, gan=1.0), numbers(pixel=1.0, gan=1.0)],
        [numbers(pixel=1.0, gan=1.0), numbers(pixel=math.nan, gan=4.0)],
        [numbers(pixel=1.0, gan=math.inf), numbers(pixel=4.0, gan=4.0)],
    ]
    for process in steps:
        seen = Watch(accelerator)
        for step, found in enumerate(process):
            seen.see(step, found)
        averaged, fault = seen.read()
    assert fault == Fault(0, ("gan",))
    assert math.isnan(averaged["pixel"]) and averaged["gan"] == 3.0
