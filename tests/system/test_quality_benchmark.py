"""The benchmark of quality runs on whatever weights are here, and its figure's labels can be read."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import ModuleType

import pytest
import torch

from otsr import weights
from otsr.degradation import Degradation
from otsr.networks.generators import Compact

BENCHMARK = "quality"


def test_both_tables_are_made_and_what_is_missing_is_said(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "STEPS", (0.0, 1.0))
    monkeypatch.setattr(
        benchmark.evaluation, "phone_degradation", lambda cleanup: Degradation(4, cleanup=cleanup)
    )
    torch.manual_seed(0)
    ends = [str(tmp_path / f"{name}.safetensors") for name in ("fidelity", "transport")]
    for end in ends:
        weights.save(Compact(nf=4, nb=1, scale=4), end, {})
    arguments = argparse.Namespace(weights=[ends[0], "no-such-weights"], path=ends, quick=True, draws=1)
    text, numbers, figure = benchmark.report(arguments)
    assert "| bicubic " in text and f"| {ends[0]} |" in text
    assert "not measured: no-such-weights" in text
    assert all(f"| t = {t:g} " in text for t in benchmark.STEPS)
    assert "The path is" in text
    assert set(numbers) == {"test", "path"}
    assert [axes.get_title() for axes in figure.axes] == [
        "Test photos",
        "fidelity → transport, validation photos",
    ]
