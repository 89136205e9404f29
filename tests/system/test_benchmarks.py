"""The benchmarks run on whatever is here, measure what they say, and their stored claims hold."""

from __future__ import annotations

import argparse
import importlib
import json
import random
import re
import statistics
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from otsr import weights
from otsr.datasets import photos
from otsr.degradation import Degradation
from otsr.evaluation import Table
from otsr.images import read, resize
from otsr.networks.generators import Compact
from otsr.training import load_config
from otsr.training.sources import pack

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(request: pytest.FixtureRequest) -> ModuleType:
    """The script in benchmarks/ that a test names with `of`."""
    return importlib.import_module(request.param)


def of(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("benchmark", [name], indirect=True)


# --- data_loading


@of("data_loading")
@pytest.mark.slow
def test_crops_from_stores_come_100_times_as_fast_as_from_a_folder_of_pngs(
    benchmark: ModuleType, tmp_path: Path
) -> None:
    benchmark.make_photos(tmp_path, 2, 1356, 2040)
    for kind in ("hr", "lr"):
        pack([tmp_path / kind], tmp_path / f"{kind}.lmdb", progress=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ways = {
        "original": benchmark.original_from_folder(tmp_path),
        "ours": benchmark.batches_of(benchmark.recipe(tmp_path, lr=str(tmp_path / "lr.lmdb"))),
    }
    found = benchmark.speeds(ways, 3, 0.5)
    torch.set_num_threads(threads)
    assert statistics.median(found["ours"]) > 100 * statistics.median(found["original"])
    assert benchmark.speed_table(found).count("\n") == 3


@of("data_loading")
def test_the_originals_pairs_fit_each_other(benchmark: ModuleType) -> None:
    small = np.random.default_rng(0).random((40, 50, 3), dtype=np.float32)
    large = small.repeat(4, 0).repeat(4, 1)
    for seed in range(10):
        hr, lr = benchmark.original_crop(large, small, random.Random(seed))
        assert torch.equal(hr, lr.repeat_interleave(4, 1).repeat_interleave(4, 2))
        assert hr.shape == (3, 128, 128)


# --- general


@of("general")
@pytest.mark.slow
def test_every_table_is_made_and_what_is_missing_is_said(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = benchmark.measure
    monkeypatch.setattr(
        benchmark, "measure", lambda *a, **k: measure(*a, **k, count=1, side=48)
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


@of("general")
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


@of("general")
def test_the_table_of_artefacts_tells_a_bad_network_from_bicubic(benchmark: ModuleType) -> None:
    tiles = benchmark.flat_tiles()
    assert len(tiles) >= 8 and any(tile[:3] == benchmark.WALL for tile in tiles)
    cpu = torch.device("cpu")
    good, bad = (benchmark.artefacts(network, tiles, [], cpu) for network in (None, Worse()))
    assert good["noise_gain"] == pytest.approx([1] * len(tiles), rel=1e-4) == good["block_gain_resaved"]
    assert min(bad["noise_gain"]) > 1.5 and max(bad["block_gain_resaved"]) > 2
    assert bad["colour_shift"]["phone"] == pytest.approx([2, 0, -2], abs=0.3)
    assert all(peak < 3 for seen in (good, bad) for peak in seen["checkerboard"].values())


@of("general")
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


# --- kernel_estimation, kernel_families


@of("kernel_estimation")
@pytest.mark.slow
def test_ours_has_a_smaller_error_than_the_best_isotropic_gaussian(
    benchmark: ModuleType, tmp_path: Path
) -> None:
    cases = benchmark.cases(5, split="val")
    assert len({case.name for case in cases}) == 20  # 5 kernels, two scales, two noises
    records = benchmark.measure(cases, ["spectrum", "isotropic"], tmp_path, iterations=0)
    errors = {
        method: statistics.mean(record["l2"] for record in records if record["method"] == method)
        for method in ("spectrum", "isotropic")
    }
    assert errors["spectrum"] < 0.7 * errors["isotropic"]
    report = benchmark.table(records, {"deep": 120.0, "collapsed": 30.0})
    assert report.count("| ours: statistics at several scales |") == 4
    assert "4.0 times faster" in report


def test_a_cautious_filter_loses_no_more_with_ours_than_with_the_bicubic_kernel() -> None:
    records = json.loads((FOLDER / "results" / "kernel_families.json").read_text())
    lost: dict[str, dict[str, float]] = {"ours": {}, "bicubic": {}}
    for method, rows in lost.items():
        for name in {(record["family"], record["scale"]) for record in records}:
            chosen = [r for r in records if (r["family"], r["scale"], r["method"]) == (*name, method)]
            rows[f"{name[0]} x{name[1]}"] = statistics.mean(record["cautious"] for record in chosen)
    for name, value in lost["ours"].items():
        assert value < lost["bicubic"][name] + 0.05 or name.startswith("bicubic"), name


@of("kernel_families")
def test_the_true_kernel_loses_nothing_and_a_wrong_one_less_under_caution(benchmark: ModuleType) -> None:
    case = benchmark.case("motion", 2, 0, photos("val"))
    records = benchmark.measure(case, ["ours", "bicubic"], iterations=0)
    assert [record["method"] for record in records] == ["ours", "bicubic"]
    assert all(record["cautious"] > 0 and record["again"] > 0 for record in records)
    (plain, cautious), (wrong, doubted) = benchmark.wiener(case, [case.kernel, case.kernel.mT]).T.tolist()
    assert plain > wrong and cautious > doubted > wrong
    assert "| motion ×2 |" in benchmark.table(records)


# --- quality


@of("quality")
@pytest.mark.slow
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


# --- training_step


@of("training_step")
def test_ours_has_the_gradients_of_the_plain_step(benchmark: ModuleType) -> None:
    errors = benchmark.gradient_errors(benchmark.Size(16, 1, nf=8, crop=32, batch=2))
    assert set(errors) == {"generator", "critic"} and max(errors.values()) < 3e-4


@of("training_step")
@pytest.mark.slow
def test_the_report_of_the_training_step_is_written_whole(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delitem(benchmark.WAYS, "bf16")  # a process the less
    out = tmp_path / "training_step.md"
    monkeypatch.setattr(sys, "argv", ["training_step.py", "--quick", "--out", str(out)])
    benchmark.main()
    report = out.read_text(encoding="utf-8")
    for way in benchmark.WAYS.values():
        assert re.search(rf"\n\| {way} +\|( +[\d.]+ \| +[\d.]+× \|){{2}} +\d+ \| +[\d.]+ \|", report)
    for part in benchmark.PARTS:
        assert re.search(rf"\n\| {part} +\|( +[\d.e-]+ \(\d+ %\) \|){{2}}", report)


# --- transport


@of("transport")
@pytest.mark.slow
def test_the_report_of_transport_is_written_whole(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)  # other tests go on with theirs
    out = tmp_path / "transport.md"
    monkeypatch.setattr(sys, "argv", ["transport.py", "--quick", "--out", str(out)])
    benchmark.main()
    report = out.read_text(encoding="utf-8")
    assert "\n## Labels: n reals and n fakes of 3×32×32\n" in report
    assert len(re.findall(r"\n\| 8 +\|", report)) == 2 and "max–min" in report and "Growth" in report


# --- twins


def walked(benchmark: ModuleType, steps: int = 400) -> dict[str, list[dict[str, float]]]:
    """A way of four stops for each mixture; PSNR-Y falls with its place in the list."""
    return {
        mixture.name: [
            {"step": stop * steps / 4, "psnr_y": 24 - 0.1 * number - 0.2 * stop, "st_lpips": 0.4, "niqe": 6.0}
            for stop in range(1, 5)
        ]
        for number, mixture in enumerate(benchmark.MIXTURES)
    }


@of("twins")
def test_each_mixture_trains_the_terms_of_its_name(benchmark: ModuleType) -> None:
    arguments = argparse.Namespace(steps=400, backbone="vgg16", quick=False)
    recipes = {}
    for mixture in benchmark.MIXTURES:
        config = load_config(benchmark.RECIPE, benchmark.settings(mixture, arguments))
        losses = config.losses
        assert (losses.perceptual.weight, losses.gan.weight, losses.transport.weight) == (
            mixture.features, mixture.ragan, mixture.transport + mixture.details,
        )  # fmt: skip
        assert (config.critic is not None) == bool(mixture.ragan)
        assert (losses.transport.backbone, losses.transport.window) == (
            ("details", 32) if mixture.details else ("vgg16", 16)
        )
        recipes[mixture.name] = config
    assert len(recipes) == len(benchmark.MIXTURES)  # no name twice
    alike = {(c.steps, c.start, c.seed, c.optimiser.lr, c.data.crop, c.ema) for c in recipes.values()}
    assert len(alike) == 1


@of("twins")
def test_the_twin_is_the_adversary_of_the_same_fidelity(benchmark: ModuleType) -> None:
    paths = walked(benchmark)
    paths["RaGAN × 0.015"][-1]["psnr_y"] = paths["transport × 0.03"][-1]["psnr_y"] + 0.01
    assert benchmark.chosen(paths, "transport × 0.03") == "RaGAN × 0.015"


@of("twins")
def test_seeds_count_as_draws_of_a_picture(benchmark: ModuleType) -> None:
    repeated = benchmark.REPEATED[:1]
    names = [benchmark.seeded(repeated[0], seed) for seed in benchmark.SEEDS]
    values = {name: {"psnr_y": np.full((2, 1), 20.0 + number)} for number, name in enumerate(names)}
    joined = benchmark.over_seeds(Table(values, ("a", "b"), (), {}), repeated)
    assert joined.rows == [repeated[0].name]
    np.testing.assert_allclose(joined.per_image(repeated[0].name, "psnr_y"), 21)


@of("twins")
def test_a_gain_is_against_the_twin_and_marked_when_it_is_decided(benchmark: ModuleType) -> None:
    details = next(mixture.name for mixture in benchmark.MIXTURES if mixture.details)
    ends = {
        "RaGAN × 0.03": [{"psnr_y": 22.0, "st_lpips": 0.3}],
        "RaGAN × 0.06": [{"psnr_y": 20.0, "st_lpips": 0.3}],
        details: [{"psnr_y": 22.1, "st_lpips": 0.3}],
    }
    spread = np.linspace(-0.01, 0.01, 8)[:, None]
    values = {
        "RaGAN × 0.03": {"psnr_y": np.full((8, 1), 22.0), "st_lpips": np.full((8, 1), 0.3)},
        details: {"psnr_y": 22.1 + spread, "st_lpips": 0.3 + spread},
    }
    (line,) = benchmark.gains({"test": Table(values, tuple("abcdefgh"), (), {})}, ends).splitlines()[2:]
    assert re.match(rf"\| {re.escape(details)} − RaGAN × 0.03 \| +\+0.10 \[", line)
    fidelity, likeness = line.split("|")[2:4]
    assert "✓" in fidelity and "✓" not in likeness and "✗" not in likeness
