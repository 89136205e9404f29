"""The benchmark of transport measures what it says: certificates hold, peers agree, known maps are optimal."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

BENCHMARK = "transport"


def test_labels_are_certified_agree_with_the_peers_value_and_are_faster(benchmark: ModuleType) -> None:
    real, fake = benchmark.crops(24, 64)
    value, gap, infeasibility = benchmark.certificate(real, fake)
    assert gap < 1e-10 * value and infeasibility < 1e-10 * value
    for peer in (benchmark.wgan_qc_tensor, benchmark.wgan_qc_loop):
        assert abs(peer(real, fake)[2] - value) < 1e-5 * value
    times = benchmark.label_times(real, fake, ["ours", "tensor", "loop"], 3)
    assert all(np.median(times[peer]) > 3 * np.median(times["ours"]) for peer in ("tensor", "loop"))


def test_the_boxed_labels_are_ones_and_zeros(benchmark: ModuleType) -> None:
    h, g, value = benchmark.published_otsr(*benchmark.crops(6, 32))
    assert (h == 1).all() and (g == 0).all() and abs(value - 1) < 1e-12


def test_the_known_maps_carry_the_source_to_the_target(benchmark: ModuleType) -> None:
    for problem in (benchmark.gaussian_problem, benchmark.mixture_problem):
        source, target, truth = problem(3, 0)
        generator = torch.Generator().manual_seed(0)
        pushed, drawn = truth(source(50_000, generator)), target(50_000, generator)
        for first, second in zip(benchmark.moments(pushed), benchmark.moments(drawn), strict=True):
            assert torch.allclose(first, second, atol=0.1)
        x = source(200, generator)  # optimal maps are monotone: no pair of samples crosses
        assert ((truth(x)[:, None] - truth(x)) * (x[:, None] - x)).sum(-1).min() > -1e-6


@pytest.mark.slow
def test_the_report_is_written_whole(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)  # other tests go on with theirs
    out = tmp_path / "transport.md"
    monkeypatch.setattr(sys, "argv", ["transport.py", "--quick", "--out", str(out)])
    benchmark.main()
    report = out.read_text(encoding="utf-8")
    assert "\n## Labels: n reals and n fakes of 3×32×32\n" in report
    assert len(re.findall(r"\n\| 8 +\|", report)) == 2 and "max–min" in report and "Growth" in report
