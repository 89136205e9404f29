"""Evaluation: protocol, pairing, intervals, failures, reports."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from otsr import Upscaler, images, metrics
from otsr.datasets import phone_crops
from otsr.degradation import Degradation, NoisePool, kernels
from otsr.evaluation import (
    METRICS,
    EvaluationError,
    NothingMeasured,
    Scene,
    Table,
    View,
    degraded,
    evaluate,
    markdown,
    matched,
    middle,
    monotony,
    phone_degradation,
    to_json,
)

KEYS = [metric.key for metric in METRICS]


class Blurry(nn.Module):
    """Bicubic interpolation, then a constant added."""

    scale = 4

    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(shift))

    def forward(self, x: Tensor) -> Tensor:
        return images.resize(x, 4) + self.shift


class Broken(Blurry):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * torch.nan


def picture(seed: int, height: int = 96, width: int = 208) -> Tensor:
    """Smooth noise in [0, 1], rounded to 8 bit; NIQE finds texture in it."""
    x = torch.rand(3, height // 4, width // 4, generator=torch.Generator().manual_seed(seed))
    return images.resize(x, 4).clamp(0, 1).mul(255).round().div(255)


def scene(seed: int) -> Scene:
    hr = picture(seed)
    pair = View(images.resize(hr, 1 / 4).clamp(0, 1).mul(255).round().div(255), hr)
    return Scene(f"scene {seed}", lambda _: pair)


def unreadable(name: str) -> Scene:
    def draw(_: int) -> View:
        raise ValueError("cannot be read")

    return Scene(name, draw)


def upscalers(**networks: nn.Module) -> dict[str, Upscaler]:
    """Of networks as they are: with their own colours."""
    return {name: Upscaler(network, precision="fp32", colours=False) for name, network in networks.items()}


@pytest.fixture(scope="module")
def camera() -> Degradation:
    blur = [kernels.gaussian(8, 1.0 + i) for i in range(3)]
    patches = torch.randint(80, 120, (4, 3, 32, 32), generator=torch.Generator().manual_seed(0)).byte()
    return Degradation(4, blur, NoisePool(patches, ["a"] * 4, [""] * 4))


@pytest.fixture(scope="module")
def table() -> Table:
    networks = {"as bicubic": Blurry(), "brighter": Blurry(0.05)}
    return evaluate(upscalers(**networks), [scene(i) for i in range(3)])


def made(values: dict[str, dict[str, Any]]) -> Table:
    """A table of invented numbers, one draw a picture."""
    count = len(next(iter(next(iter(values.values())).values())))
    rows = {
        row: {key: np.array(numbers)[:, None] for key, numbers in found.items()}
        for row, found in values.items()
    }
    return Table(rows, tuple(map(str, range(count))), (), {})


def test_bicubic_comes_first_and_then_the_networks_in_order(table: Table) -> None:
    assert table.rows == ["bicubic", "as bicubic", "brighter"]
    assert table.images == ("scene 0", "scene 1", "scene 2")
    assert table.settings == {"scale": 4, "border": 4, "draws": 1}


def test_each_number_is_that_of_the_metric_on_the_rounded_picture(table: Table) -> None:
    """Written out once more, with the picture taken through 8 bit by hand."""
    lr, hr = scene(1).draw(0)
    assert hr is not None
    sr = torch.from_numpy(np.rint((images.resize(lr, 4) + 0.05).clamp(0, 1).numpy() * 255) / 255).float()
    expected = {
        "psnr_y": metrics.psnr(sr, hr, border=4, channel="y"),
        "ssim_y": metrics.ssim(sr, hr, border=4, channel="y"),
        "st_lpips": metrics.st_lpips(sr, hr),
        "niqe": metrics.niqe(sr),
        "patch_swd": metrics.patch_swd(sr, hr),
        "lr_consistency": metrics.lr_consistency(sr, lr, 4, border=1),
    }
    for key in KEYS:
        assert table.per_image("brighter", key)[1] == pytest.approx(float(expected[key]), rel=1e-5), key


def test_differences_are_zero_between_equals_and_certain_where_a_picture_is_brighter(table: Table) -> None:
    for key in KEYS:
        assert table.difference("as bicubic", "bicubic", key).mean == pytest.approx(0, abs=1e-6)
    assert table.difference("brighter", "bicubic", "psnr_y").high < 0


def test_differences_are_taken_picture_by_picture() -> None:
    """Pictures differ by 10 dB, methods by 1: the interval of the difference is narrow all the same."""
    first = np.array([20.0, 30.0, 25.0, 35.0])
    found = made({"bicubic": {"psnr_y": first}, "a": {"psnr_y": first + np.array([1, 1.2, 0.9, 1.1])}})
    difference, mean = found.difference("a", "bicubic", "psnr_y"), found.interval("a", "psnr_y")
    assert difference.mean == pytest.approx(1.05)
    assert 0.8 < difference.low < difference.high < 1.3
    assert mean.high - mean.low > 5


def test_draws_are_averaged_within_a_picture_before_the_bootstrap(
    camera: Degradation, tmp_path: Path
) -> None:
    for i in range(2):
        images.write(tmp_path / f"{i}.png", picture(i))
    scenes = degraded(sorted(tmp_path.glob("*.png")), camera)
    table = evaluate({}, scenes, draws=3)
    values = table.values["bicubic"]["psnr_y"]
    assert values.shape == (2, 3)
    assert len(set(values[0].tolist())) == 3
    assert table.per_image("bicubic", "psnr_y") == pytest.approx(values.mean(axis=1))
    assert table.interval("bicubic", "psnr_y") == metrics.mean_interval(values.mean(axis=1))
    again = evaluate({}, scenes, draws=3)
    assert all((again.values["bicubic"][k] == table.values["bicubic"][k]).all() for k in KEYS)
    assert (evaluate({}, scenes, draws=1).values["bicubic"]["psnr_y"] == values[:, :1]).all()


def test_degraded_pairs_are_those_of_the_command_degrade(camera: Degradation, tmp_path: Path) -> None:
    """otsr degrade seeds each picture with crc32(seed/path.png) and writes 8-bit files."""
    (tmp_path / "sub").mkdir()
    images.write(tmp_path / "sub" / "a.webp", picture(0))
    path = tmp_path / "sub" / "a.webp"
    (one,) = degraded([path], camera, seed=3, folder=tmp_path)
    hr, lr = camera.pair(images.read(path), zlib.crc32(b"5/sub/a.png"))
    images.write(tmp_path / "lr.png", lr)
    pair = one.draw(2)
    assert one.name == "sub/a"
    assert (pair.lr == images.read(tmp_path / "lr.png")).all()
    assert pair.hr is not None and (pair.hr * 255 - (hr * 255).round()).abs().max() < 1e-4


def test_the_cleanup_shrinks_the_truth_too(tmp_path: Path) -> None:
    images.write(tmp_path / "a.png", picture(0))
    (one,) = degraded([tmp_path / "a.png"], Degradation(4, cleanup=2))
    pair = one.draw(0)
    assert pair.hr is not None and pair.hr.shape == (3, 48, 104) and pair.lr.shape == (3, 12, 26)


def test_pairs_are_found_by_name_also_with_the_scale_in_it(tmp_path: Path) -> None:
    for name in ("HR/a.png", "HR/sub/b.png", "HR/sub/bx4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        images.write(tmp_path / name, picture(1, 83, 80) if name == "HR/a.png" else picture(1, 80, 80))
    for name in ("LR/ax4.png", "LR/sub/b.jpg", "LR/sub/bx4.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        images.write(tmp_path / name, picture(2, 20, 20))
    scenes = matched(hr=tmp_path / "HR", lr=tmp_path / "LR")
    assert [one.name for one in scenes] == ["a", "sub/b", "sub/bx4"]  # a name that HR has stays as it is
    for one in scenes:
        lr, hr = one.draw(0)
        assert hr is not None and hr.shape == (3, 80, 80) and lr.shape == (3, 20, 20)


def test_a_missing_partner_and_a_wrong_size_are_named_and_the_rest_is_measured(tmp_path: Path) -> None:
    for folder in ("HR", "LR"):
        (tmp_path / folder).mkdir()
    for name in ("good", "alone", "wrong"):
        images.write(tmp_path / "HR" / f"{name}.png", picture(1))
    images.write(tmp_path / "LR" / "good.png", picture(1, 24, 52))
    images.write(tmp_path / "LR" / "wrong.png", picture(1, 28, 52))
    images.write(tmp_path / "LR" / "orphan.png", picture(1, 24, 52))
    told: list[str] = []
    table = evaluate({}, matched(hr=tmp_path / "HR", lr=tmp_path / "LR"), on_error=told.append)
    assert table.images == ("good",)
    assert list(table.failures) == told
    alone, orphan, wrong = told
    assert f"alone.png: no picture called alone.* in {tmp_path / 'LR'}" in alone
    assert f"orphan.png: no picture called orphan.* in {tmp_path / 'HR'}" in orphan
    assert f"HR/wrong.png has 208×96 pixels, expected 208×112 to fit {tmp_path / 'LR'}" in wrong


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg"):
        images.write(tmp_path / name, picture(0))
    with pytest.raises(ValueError, match=r"a\.(png|jpg) and .*a\.(png|jpg) have the same name"):
        matched(lr=tmp_path)


def test_without_truth_only_what_needs_none_is_measured(tmp_path: Path) -> None:
    images.write(tmp_path / "a.png", picture(0, 60, 60))
    table = evaluate(upscalers(b=Blurry()), matched(lr=tmp_path))
    assert [metric.key for metric in table.metrics] == ["niqe", "lr_consistency"]
    assert "PSNR" not in markdown(table, "bicubic")
    assert "cannot be judged" in monotony(table, ["bicubic", "b"])
    assert to_json(table)["notes"] == []


def test_the_middle_is_the_same_place_in_both_pictures() -> None:
    lr = torch.arange(12 * 20).reshape(1, 12, 20).expand(3, -1, -1).float()
    hr = lr.repeat_interleave(4, 1).repeat_interleave(4, 2)
    cut = middle(Scene("a", lambda _: View(lr, hr)), 6, 4).draw(0)
    assert cut.hr is not None and cut.lr.shape == (3, 6, 6) and cut.hr.shape == (3, 24, 24)
    assert cut.lr[0, 0, 0] == 3 * 20 + 7
    assert (cut.hr == cut.lr.repeat_interleave(4, 1).repeat_interleave(4, 2)).all()
    whole = middle(Scene("a", lambda _: View(lr, None)), 100, 4).draw(0)
    assert whole.lr.shape == lr.shape and whole.hr is None


def test_the_border_is_left_out_of_psnr_and_of_lr_consistency() -> None:
    lr, hr = scene(0).draw(0)
    assert hr is not None
    spoilt = lr.clone()
    spoilt[:, 0] = 0
    one = Scene("a", lambda _: View(spoilt, hr))
    wide, none = (evaluate({}, [one], border=border) for border in (24, 0))
    assert wide.per_image("bicubic", "psnr_y") > none.per_image("bicubic", "psnr_y") + 1
    sr = images.resize(spoilt, 4).clamp(0, 1).mul(255).round().div(255)
    expected = metrics.lr_consistency(sr, spoilt, 4, border=6)
    assert wide.per_image("bicubic", "lr_consistency")[0] == pytest.approx(float(expected))


def test_flat_pictures_have_no_niqe_and_the_table_says_so() -> None:
    flat = torch.full((3, 96, 208), 0.2)
    table = evaluate({}, [scene(0), Scene("flat", lambda _: View(flat[:, ::4, ::4], flat))])
    assert math.isnan(table.per_image("bicubic", "niqe")[1])
    assert math.isnan(table.per_image("bicubic", "psnr_y")[1])  # infinite, as the pictures are equal
    note = next(note for note in to_json(table)["notes"] if note.startswith("NIQE: undefined for 1"))
    assert f"- {note}" in markdown(table)
    assert to_json(table)["values"]["bicubic"]["niqe"][1] == [None]


def test_undefined_numbers_of_every_row_are_counted() -> None:
    table = made({"bicubic": {"niqe": [5.0, math.nan]}, "a": {"niqe": [math.nan, math.nan]}})
    assert [note.partition(" SR")[0] for note in to_json(table)["notes"]] == ["NIQE: undefined for 3"]


def test_one_failing_picture_leaves_the_same_pictures_in_every_row() -> None:
    seen: list[tuple[int, int]] = []
    scenes = [scene(0), unreadable("gone.png"), scene(1)]
    table = evaluate(upscalers(a=Blurry()), scenes, progress=lambda *step: seen.append(step))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert table.images == ("scene 0", "scene 1")
    assert table.failures == ("gone.png: cannot be read",)
    assert all(table.values[row]["psnr_y"].shape == (2, 1) for row in table.rows)


def test_a_network_that_answers_nan_is_named() -> None:
    with pytest.raises(NothingMeasured, match=r"none of 1 pictures.*scene 0: the network answers NaN"):
        evaluate(upscalers(a=Broken()), [scene(0)])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scenes": []}, "no pictures"),
        ({"scenes": [scene(0), scene(0)]}, "two pictures would be called 'scene 0'"),
        ({"networks": {"bicubic": Blurry()}}, "two rows would be called 'bicubic'"),
        ({"networks": {"a": Blurry()}, "scale": 2}, "a enlarges by 4"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict, words: str) -> None:
    networks, scenes = options.pop("networks", {}), options.pop("scenes", [scene(0)])
    with pytest.raises(EvaluationError, match=words):
        evaluate(upscalers(**networks), scenes, **options)


def test_marks_say_what_the_interval_says() -> None:
    table = made(
        {
            "bicubic": {"psnr_y": [20, 21, 22], "st_lpips": [0.5, 0.6, 0.5]},
            "better": {"psnr_y": [21, 22.1, 23], "st_lpips": [0.4, 0.5, 0.41]},
            "worse": {"psnr_y": [19, 20.1, 21], "st_lpips": [0.6, 0.7, 0.61]},
            "same": {"psnr_y": [20.1, 20.9, 22.1], "st_lpips": [0.5, 0.61, 0.49]},
        }
    )
    lines = markdown(table, "bicubic").splitlines()
    marks = {line.split()[1]: (line.count("✓"), line.count("✗")) for line in lines[-3:]}
    assert marks == {"better": (2, 0), "worse": (0, 2), "same": (0, 0)}
    assert "PSNR-Y ↑" in lines[2] and "ST-LPIPS ↓" in lines[2]
    assert lines[4].split("|")[2].strip() == "21.00 [20.00, 22.00]"


def test_columns_line_up_in_a_terminal_and_a_row_that_is_not_there_is_named(table: Table) -> None:
    lines = [line for line in markdown(table, "bicubic").splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines[:5]}) == 1 and len({len(line) for line in lines[5:]}) == 1
    with pytest.raises(EvaluationError, match=r"'nobody'; there are bicubic, as bicubic, brighter"):
        markdown(table, "nobody")


def test_a_path_is_monotone_when_both_axes_fall_at_each_step() -> None:
    psnr, lpips = [25.0, 25.2], [0.5, 0.52]
    rows = {
        f"t{i}": {"psnr_y": [x - i for x in psnr], "st_lpips": [x - i / 10 for x in lpips]} for i in range(3)
    }
    assert monotony(made(rows), list(rows)).startswith("The path is monotone")
    rows["t2"]["st_lpips"] = [0.45, 0.46]
    answer = monotony(made(rows), list(rows))
    assert (
        answer.startswith("The path is not monotone") and "ST-LPIPS rises from t1 to t2 by +0.0450" in answer
    )
    assert monotony(made(rows), list(rows)[::-1]).count("PSNR-Y rises") == 2


def test_json_holds_every_number_and_survives_a_round_trip(table: Table) -> None:
    found = json.loads(json.dumps(to_json(table, "bicubic"), allow_nan=False))
    assert found["values"]["brighter"]["psnr_y"] == table.values["brighter"]["psnr_y"].tolist()
    assert found["means"]["bicubic"]["psnr_y"]["mean"] == pytest.approx(
        table.values["bicubic"]["psnr_y"].mean()
    )
    assert set(found["differences"]) == {"as bicubic", "brighter"}
    assert {"python", "otsr", "torch", "numpy"} <= set(found["versions"])
    assert found["settings"]["border"] == 4


def test_one_picture_has_no_interval() -> None:
    table = evaluate({}, [scene(0)])
    assert math.isnan(table.interval("bicubic", "psnr_y").low)
    assert "[" not in markdown(table)
    assert to_json(table)["means"]["bicubic"]["psnr_y"]["low"] is None


@pytest.mark.slow
def test_the_phones_degradation_has_its_kernels_and_its_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otsr.evaluation.scenes.phone_crops", lambda: phone_crops(iso=1792))
    camera = phone_degradation(4, cleanup=2)
    assert camera.kernels is not None and len(camera.kernels) > 0
    assert camera.noise is not None and len(camera.noise) > 50
    assert camera.cleanup == 2
