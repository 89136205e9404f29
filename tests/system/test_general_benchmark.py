"""The benchmark for any photo runs on whatever weights are here; its rulers see what a bad network does."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from otsr import weights
from otsr.datasets import photos
from otsr.images import read, resize
from otsr.networks.generators import Compact

BENCHMARK = "general"


def test_every_table_is_made_and_what_is_missing_is_said(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = benchmark.measure
    monkeypatch.setattr(
        benchmark, "measure", lambda *a, **k: measure(*a, **k, count=1, side=64)
    )  # one photo's middle
    for seed, step in enumerate(("200", "1000")):
        torch.manual_seed(seed)
        weights.save(Compact(nf=4, nb=1, scale=4), tmp_path / f"{step}.safetensors", {})
    first, last = (str(tmp_path / f"{step}.safetensors") for step in ("200", "1000"))
    arguments = argparse.Namespace(
        weights=[last, "no-such-weights"], path=[first, last], steps=tmp_path, val=True, draws=1,
        device="cpu", skip_rulers=False, against=last,
    )  # fmt: skip
    text, numbers, figure = benchmark.report(arguments)
    assert set(numbers) == {benchmark.CLEAN, benchmark.JPEG, benchmark.PHONE, "artefacts", "path", "steps"}
    assert all(f"### {name}\n" in text for name in benchmark.degradations())
    assert text.count(f"| {last} ") == 1 + 3 + 1  # summary; means three times; artefacts
    assert text.count(f"| minus {last} ") == 3  # the others are compared with it
    assert "not measured: no-such-weights" in text
    assert "The path is" in text and "| t = 0.25 " in text
    assert list(numbers["steps"]) == ["bicubic", "200", "1000"] and all(map(len, numbers["steps"].values()))
    left, right = figure.axes
    assert [list(line.get_xdata()) for line in left.lines] == [[200, 1000]] * 3
    assert right.lines[1].get_ydata()[1] == numbers["steps"]["1000"][3]


def test_degradations_are_those_that_the_table_names(benchmark: ModuleType) -> None:
    chosen = benchmark.degradations()
    flat = torch.full((3, 512, 512), 0.5)
    noise = {name: float(chosen[name].apply(flat, seed=1).std()) * 255 for name in chosen}
    assert noise[benchmark.CLEAN] == pytest.approx(0, abs=1e-3)
    assert 1 < noise[benchmark.JPEG] < 9 and 0.3 < noise[benchmark.PHONE] < 9
    deviations = chosen[benchmark.JPEG].noise.sample(60, 64).std((1, 2, 3)) * 255
    assert deviations.min() == pytest.approx(3, rel=0.1) and deviations.max() == pytest.approx(8, rel=0.1)


class Worse(nn.Module):
    """Bicubic's enlargement, tinted, its details three times as strong."""

    scale = 4

    def forward(self, lr: Tensor) -> Tensor:
        smooth = nn.functional.avg_pool2d(nn.functional.pad(lr, [2] * 4, mode="replicate"), 5, 1)
        tint = torch.tensor([2.0, 0.0, -2.0])[:, None, None] / 255
        return resize(smooth + 3 * (lr - smooth) + tint, 4)


def test_the_table_of_artefacts_tells_a_bad_network_from_bicubic(benchmark: ModuleType) -> None:
    tiles = benchmark.flat_tiles()
    assert len(tiles) >= 8 and any(tile[:3] == benchmark.WALL for tile in tiles)
    cpu = torch.device("cpu")
    good, bad = (benchmark.artefacts(network, tiles, [], cpu) for network in (None, Worse()))
    assert good["noise_gain"] == pytest.approx([1] * len(tiles), rel=1e-4) == good["block_gain_resaved"]
    assert min(bad["noise_gain"]) > 1.5 and max(bad["block_gain_resaved"]) > 2
    assert bad["colour_shift"]["phone"] == pytest.approx([2, 0, -2], abs=0.3)
    assert all(peak < 3 for seen in (good, bad) for peak in seen["checkerboard"].values())


def test_a_lattice_that_only_photos_show_is_found(benchmark: ModuleType) -> None:
    class Woven(nn.Module):
        scale = 4

        def forward(self, lr: Tensor) -> Tensor:
            sr = resize(lr, 4)
            weave = torch.tensor([1.0, -1.0, 1.0, -1.0]).repeat(lr.shape[-1])
            busy = (sr - nn.functional.avg_pool2d(sr, 9, 1, 4)).abs()  # flat grey stays as it is
            return sr + busy * weave

    busy = [benchmark.middle(read(path), benchmark.TILE) for path in photos("val")[:3]]
    tile, cpu = benchmark.flat_tiles()[:1], torch.device("cpu")
    clean, woven = (benchmark.artefacts(network, tile, busy, cpu) for network in (None, Woven()))
    assert clean["lattice"] == pytest.approx([1] * 3, abs=0.2)
    assert woven["checkerboard"]["flat"] < 1.5 < 5 < min(woven["lattice"])
