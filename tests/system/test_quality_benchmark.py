"""The benchmark of quality runs on whatever weights are here, and its figure's labels can be read."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from otsr import weights
from otsr.degradation import Degradation
from otsr.evaluation import METRICS, Table
from otsr.networks.generators import Compact

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    import quality

    return quality


def invented(points: dict[str, tuple[float, float]]) -> Table:
    """Four pictures a row, whose means are the points."""
    spread = np.array([-1.0, 0.5, 1.0, -0.5])[:, None]
    values = {
        row: {m.key: {"psnr_y": x, "st_lpips": y}.get(m.key, 1.0) + 0.1 * spread for m in METRICS}
        for row, (x, y) in points.items()
    }
    return Table(values, ("a", "b", "c", "d"), (), (), {})


def test_labels_cover_neither_each_other_nor_the_points(benchmark: ModuleType) -> None:
    points = {
        "bicubic": (22.0, 0.7),
        **{f"network {i}": (22.5 + 0.01 * i, 0.5 + 0.002 * i) for i in range(4)},
    }
    figure = benchmark.draw([benchmark.Panel("Test", invented(points), list(points), "bicubic")])
    (axes,) = figure.axes
    renderer = figure.canvas.get_renderer()
    labels = [text for text in axes.texts if text.get_text() in points]
    boxes = [text.get_window_extent(renderer) for text in labels]
    assert sorted(text.get_text() for text in labels) == sorted(points)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    places = axes.transData.transform(list(points.values()))
    assert not any(box.contains(*place) for box in boxes for place in places)


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
    arguments = argparse.Namespace(
        weights=[ends[0], "no-such-weights"], path=ends, quick=True, draws=1, precision="fp32"
    )
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
