"""The benchmarks run on whatever is here, measure what they say, and their stored claims hold."""

import argparse
import json
import random
import re
import statistics
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import data_loading
import general
import kernel_estimation
import kernel_families
import numpy as np
import pytest
import quality
import recipe_step
import torch
import training_step
import transport
import twins
from command import write_weights
from torch import Tensor, nn

from otsr.datasets import photos
from otsr.degradation import Degradation
from otsr.evaluation import Table
from otsr.images import read, resize
from otsr.training import load_config
from otsr.training.sources import pack

FAMILIES = Path(__file__).parents[2] / "benchmarks" / "results" / "kernel_families.json"


def report(benchmark: ModuleType, folder: Path, patch: pytest.MonkeyPatch) -> str:
    """What a benchmark writes in its quick form."""
    patch.setattr(sys, "argv", ["benchmark", "--quick", "--out", str(folder / "report.md")])
    benchmark.main()
    return (folder / "report.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_crops_from_stores_come_100_times_as_fast_as_from_a_folder_of_pngs(tmp_path: Path) -> None:
    data_loading.make_photos(tmp_path, 2, 1356, 2040)
    for kind in ("hr", "lr"):
        pack([tmp_path / kind], tmp_path / f"{kind}.lmdb", progress=False)
    ours = data_loading.batches_of(data_loading.recipe(tmp_path, lr=str(tmp_path / "lr.lmdb")))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ways = {"original": data_loading.original_from_folder(tmp_path), "ours": ours}
    found = data_loading.speeds(ways, 3, 0.5)
    torch.set_num_threads(threads)
    assert statistics.median(found["ours"]) > 100 * statistics.median(found["original"])
    assert data_loading.speed_table(found).count("\n") == 3


def test_the_originals_pairs_fit_each_other() -> None:
    small = np.random.default_rng(0).random((40, 50, 3), dtype=np.float32)
    large = small.repeat(4, 0).repeat(4, 1)
    for seed in range(10):
        hr, lr = data_loading.original_crop(large, small, random.Random(seed))
        assert torch.equal(hr, lr.repeat_interleave(4, 1).repeat_interleave(4, 2))
        assert hr.shape == (3, 128, 128)


@pytest.mark.slow
def test_every_table_is_made_and_gaps_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(general, "measure", partial(general.measure, count=1, side=48))  # one photo's middle
    first, last = (str(write_weights(tmp_path / f"{step}.safetensors", step, 0.2)) for step in (200, 1000))
    arguments = argparse.Namespace(
        weights=[last, "no-such-weights"], path=[first, last], steps=tmp_path, val=True, draws=1,
        device="cpu", skip_rulers=False, against=last,
    )  # fmt: skip
    text, numbers, figure = general.report(arguments)
    assert set(numbers) == {general.CLEAN, general.JPEG, general.PHONE, "artefacts", "path", "steps"}
    assert all(f"### {name}\n" in text for name in general.degradations())
    assert text.count(f"| {last} ") == 1 + 3 + 1  # summary; means three times; artefacts
    assert text.count(f"| minus {last} ") == 3  # the others are compared with it
    assert "not measured: no-such-weights" in text
    assert "The path is" in text and "| t = 0.25 " in text
    assert list(numbers["steps"]) == ["bicubic", "200", "1000"] and all(map(len, numbers["steps"].values()))
    left, right = figure.axes
    assert [list(line.get_xdata()) for line in left.lines] == [[200, 1000]] * 3
    assert right.lines[1].get_ydata()[1] == numbers["steps"]["1000"][3]


def test_degradations_are_those_that_the_table_names() -> None:
    chosen = general.degradations()
    flat = torch.full((3, 512, 512), 0.5)
    noise = {name: float(chosen[name].apply(flat, seed=1).std()) * 255 for name in chosen}
    assert noise[general.CLEAN] == pytest.approx(0, abs=1e-3)
    assert 1 < noise[general.JPEG] < 9 and 0.3 < noise[general.PHONE] < 9
    deviations = chosen[general.JPEG].noise.sample(60, 64).std((1, 2, 3)) * 255
    assert deviations.min() == pytest.approx(3, rel=0.1) and deviations.max() == pytest.approx(8, rel=0.1)


class Worse(nn.Module):
    """Bicubic's enlargement, tinted, its details three times as strong."""

    scale = 4

    def forward(self, lr: Tensor) -> Tensor:
        smooth = nn.functional.avg_pool2d(nn.functional.pad(lr, [2] * 4, mode="replicate"), 5, 1)
        tint = torch.tensor([2.0, 0.0, -2.0])[:, None, None] / 255
        return resize(smooth + 3 * (lr - smooth) + tint, 4)


class Woven(nn.Module):
    """Bicubic's enlargement with a lattice where the picture is not flat."""

    scale = 4

    def forward(self, lr: Tensor) -> Tensor:
        sr = resize(lr, 4)
        weave = torch.tensor([1.0, -1.0, 1.0, -1.0]).repeat(lr.shape[-1])
        return sr + (sr - nn.functional.avg_pool2d(sr, 9, 1, 4)).abs() * weave


def test_the_table_of_artefacts_tells_bad_networks_from_bicubic() -> None:
    tiles = general.flat_tiles()
    assert len(tiles) >= 8 and any(tile[:3] == general.WALL for tile in tiles)
    busy = [general.middle(read(path), general.TILE) for path in photos("val")[:3]]
    cpu = torch.device("cpu")
    good, bad = (general.artefacts(network, tiles, busy, cpu) for network in (None, Worse()))
    woven = general.artefacts(Woven(), tiles[:1], busy, cpu)
    assert good["noise_gain"] == pytest.approx([1] * len(tiles), rel=1e-4) == good["block_gain_resaved"]
    assert good["lattice"] == pytest.approx([1] * 3, abs=0.2)
    assert min(bad["noise_gain"]) > 1.5 and max(bad["block_gain_resaved"]) > 2
    assert bad["colour_shift"]["phone"] == pytest.approx([2, 0, -2], abs=0.3)
    assert all(peak < 3 for seen in (good, bad) for peak in seen["checkerboard"].values())
    assert woven["checkerboard"]["flat"] < 1.5 < 5 < min(woven["lattice"]), "only photos show it"


@pytest.mark.slow
def test_ours_has_a_smaller_error_than_the_best_isotropic_gaussian(tmp_path: Path) -> None:
    cases = kernel_estimation.cases(5, split="val")
    assert len({case.name for case in cases}) == 20  # 5 kernels, two scales, two noises
    records = kernel_estimation.measure(cases, ["spectrum", "isotropic"], tmp_path, iterations=0)
    ours, theirs = (
        statistics.mean(record["l2"] for record in records if record["method"] == method)
        for method in ("spectrum", "isotropic")
    )
    assert ours < 0.7 * theirs
    report = kernel_estimation.table(records, {"deep": 120.0, "collapsed": 30.0})
    assert report.count("| ours: statistics at several scales |") == 4
    assert "4.0 times faster" in report


def test_a_cautious_filter_loses_no_more_with_ours_than_with_the_bicubic_kernel() -> None:
    records = json.loads(FAMILIES.read_text())
    for family, scale in {(record["family"], record["scale"]) for record in records}:
        ours, bicubic = (
            statistics.mean(r["cautious"] for r in records if (r["family"], r["scale"], r["method"]) == kind)
            for kind in ((family, scale, "ours"), (family, scale, "bicubic"))
        )
        assert ours < bicubic + 0.05 or family == "bicubic", (family, scale)


def test_the_true_kernel_loses_nothing_and_a_wrong_one_less_under_caution() -> None:
    case = kernel_families.case("motion", 2, 0, photos("val"))
    records = kernel_families.measure(case, ["ours", "bicubic"], iterations=0)
    assert [record["method"] for record in records] == ["ours", "bicubic"]
    assert all(record["cautious"] > 0 and record["again"] > 0 for record in records)
    restored = kernel_families.wiener(case, [case.kernel, case.kernel.mT])
    (plain, cautious), (wrong, doubted) = restored.T.tolist()
    assert plain > wrong and cautious > doubted > wrong
    assert "| motion ×2 |" in kernel_families.table(records)


@pytest.mark.slow
def test_both_tables_are_made_and_gaps_are_said(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "STEPS", (0.0, 1.0))
    monkeypatch.setattr(quality.evaluation, "phone_degradation", partial(Degradation, 4))
    ends = [str(pair / f"{name}.safetensors") for name in ("fidelity", "transport")]
    arguments = argparse.Namespace(weights=[ends[0], "no-such-weights"], path=ends, quick=True, draws=1)
    text, numbers, figure = quality.report(arguments)
    assert "| bicubic " in text and f"| {ends[0]} |" in text
    assert "not measured: no-such-weights" in text
    assert all(f"| t = {t:g} " in text for t in quality.STEPS)
    assert "The path is" in text
    assert set(numbers) == {"test", "path"}
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["Test photos", "fidelity → transport, validation photos"]


def test_ours_has_the_gradients_of_the_plain_step() -> None:
    errors = training_step.gradient_errors(training_step.Size(16, 1, nf=8, crop=32, batch=2))
    assert set(errors) == {"generator", "critic"} and max(errors.values()) < 3e-4


@pytest.mark.slow
def test_the_report_of_a_training_step_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(training_step.WAYS, "bf16")  # a process the less
    text = report(training_step, tmp_path, monkeypatch)
    for way in training_step.WAYS.values():
        assert re.search(rf"\n\| {way} +\|( +[\d.]+ \| +[\d.]+× \|){{2}} +\d+ \| +[\d.]+ \|", text)
    for part in training_step.PARTS:
        assert re.search(rf"\n\| {part} +\|( +[\d.e-]+ \(\d+ %\) \|){{2}}", text)


@pytest.mark.slow
def test_the_report_of_transport_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)  # other tests go on with theirs
    text = report(transport, tmp_path, monkeypatch)
    assert "\n## Labels: n reals and n fakes of 3×32×32\n" in text
    assert len(re.findall(r"\n\| 8 +\|", text)) == 2 and "max–min" in text and "Growth" in text


def test_each_mixture_trains_the_terms_of_its_name() -> None:
    arguments = argparse.Namespace(steps=400, backbone="vgg16", quick=False)
    recipes = {}
    for mixture in twins.MIXTURES:
        config = load_config(twins.RECIPE, twins.settings(mixture, arguments))
        losses, transported = config.losses, config.losses.transport
        found = (losses.perceptual.weight, losses.gan.weight, transported.weight)
        assert found == (mixture.features, mixture.ragan, mixture.transport + mixture.details)
        assert (config.critic is not None) == bool(mixture.ragan)
        kind = ("details", 32) if mixture.details else ("vgg16", 16)
        assert (transported.backbone, transported.window) == kind
        recipes[mixture.name] = config
    assert len(recipes) == len(twins.MIXTURES)  # no name twice
    alike = {(c.steps, c.start, c.seed, c.optimiser.lr, c.data.crop, c.ema) for c in recipes.values()}
    assert len(alike) == 1


def test_the_twin_is_the_adversary_of_the_same_fidelity() -> None:
    paths = {mixture.name: [{"psnr_y": 24 - n / 10}] for n, mixture in enumerate(twins.MIXTURES)}
    paths["RaGAN × 0.015"][-1]["psnr_y"] = paths["transport × 0.03"][-1]["psnr_y"] + 0.01
    assert twins.chosen(paths, "transport × 0.03") == "RaGAN × 0.015"


def test_seeds_count_as_draws_of_a_picture() -> None:
    one = twins.REPEATED[0]
    names = [twins.seeded(one, seed) for seed in twins.SEEDS]
    values = {name: {"psnr_y": np.full((2, 1), 20.0 + number)} for number, name in enumerate(names)}
    joined = twins.over_seeds(Table(values, ("a", "b"), (), {}), [one])
    assert joined.rows == [one.name]
    np.testing.assert_allclose(joined.per_image(one.name, "psnr_y"), 21)


def test_a_gain_is_against_the_twin_and_marked_when_it_is_decided() -> None:
    details = next(mixture.name for mixture in twins.MIXTURES if mixture.details)
    fidelities = {"RaGAN × 0.03": 22.0, "RaGAN × 0.06": 20.0, details: 22.1}
    ends = {name: [{"psnr_y": value, "st_lpips": 0.3}] for name, value in fidelities.items()}
    spread = np.linspace(-0.01, 0.01, 8)[:, None]
    values = {
        "RaGAN × 0.03": {"psnr_y": np.full((8, 1), 22.0), "st_lpips": np.full((8, 1), 0.3)},
        details: {"psnr_y": 22.1 + spread, "st_lpips": 0.3 + spread},
    }
    (line,) = twins.gains({"test": Table(values, tuple("abcdefgh"), (), {})}, ends).splitlines()[2:]
    assert re.match(rf"\| {re.escape(details)} − RaGAN × 0.03 \| +\+0.10 \[", line)
    fidelity, likeness = line.split("|")[2:4]
    assert "✓" in fidelity and "✓" not in likeness and "✗" not in likeness


def test_a_step_of_a_recipe_is_timed_without_its_data(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = "--steps 1 --set data.degradation=null --set data.crop=32 --set data.batch=2 --set critic=null"
    arguments = ["recipe_step.py", "tiny", *small.split(), "--set", "losses={pixel: {weight: 1}}"]
    monkeypatch.setattr(sys, "argv", arguments)
    recipe_step.main()
    cells = capsys.readouterr().out.splitlines()[-1].split("|")
    assert cells[1].strip() == "tiny" and cells[2].strip() == "2 of 32×32"
    assert float(cells[3]) > 0
