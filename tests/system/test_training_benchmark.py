"""The benchmark of the training step measures what it says: the plain step and ours have the same gradients."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from torch import Tensor

BENCHMARK = "training_step"


def test_ours_has_the_gradients_of_the_plain_step(benchmark: ModuleType) -> None:
    errors = benchmark.gradient_errors(benchmark.Size(16, 1, nf=8, crop=32, batch=2))
    assert set(errors) == {"generator", "critic"} and max(errors.values()) < 3e-4


def test_another_formula_would_be_seen(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(slope: Tensor, way: Tensor) -> Tensor:
        return rules.penalty(slope, 2 * way)

    rules = benchmark.OURS
    monkeypatch.setattr(benchmark, "OURS", rules._replace(penalty=twice))
    assert benchmark.gradient_errors(benchmark.Size(16, 1, nf=8, crop=32, batch=2))["critic"] > 3e-4


@pytest.mark.slow
def test_the_report_is_written_whole(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out = tmp_path / "training_step.md"
    monkeypatch.setattr(sys, "argv", ["training_step.py", "--quick", "--out", str(out)])
    benchmark.main()
    report = out.read_text(encoding="utf-8")
    for way in benchmark.WAYS.values():
        assert re.search(rf"\n\| {way} +\|( +[\d.]+ \| +[\d.]+× \|){{2}} +\d+ \| +[\d.]+ \|", report)
    for part in benchmark.PARTS:
        assert re.search(rf"\n\| {part} +\|( +[\d.e-]+ \(\d+ %\) \|){{3}}", report)
