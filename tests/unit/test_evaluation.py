"""Evaluation: protocol, pairing, intervals, failures, reports."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_networks import plainly
from torch import Tensor, nn

from otsr import evaluation, images, metrics
from otsr.datasets import phone_crops
from otsr.degradation import Degradation, NoisePool
from otsr.evaluation import evaluate, markdown, monotony, to_json
from otsr.evaluation.measuring import METRICS, NothingMeasured, Table
from otsr.evaluation.scenes import EvaluationError, Scene, View, degraded, matched, middle, rounded

KEYS = [metric.key for metric in METRICS]


class Blurry(nn.Module):
    """Bicubic interpolation, then a constant added."""

    scale = 4

    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        self.shift = shift

    def forward(self, x: Tensor) -> Tensor:
        return images.resize(x, 4) + self.shift


def picture(seed: int, height: int = 96, width: int = 192) -> Tensor:
    """Smooth noise in [0, 1], rounded to 8 bits; NIQE finds texture in it, and needs it as large."""
    x = torch.rand(3, height // 4 + 1, width // 4 + 1, generator=torch.Generator().manual_seed(seed))
    return rounded(images.resize(x, 4))[:, :height, :width].contiguous()


def scene(seed: int) -> Scene:
    hr = picture(seed)
    return Scene(f"scene {seed}", lambda _: View(rounded(images.resize(hr, 1 / 4)), hr))


def write(folder: Path, **sizes: tuple[int, int]) -> Path:
    """Pictures by name, of these heights and widths."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, size in sizes.items():
        images.write(folder / f"{name}.png", picture(1, *size))
    return folder


@pytest.fixture(scope="module")
def table() -> Table:
    networks = {"as bicubic": plainly(Blurry()), "brighter": plainly(Blurry(0.05))}
    return evaluate(networks, [scene(i) for i in range(3)])


def made(rows: dict[str, dict[str, Any]]) -> Table:
    """A table of invented numbers, one draw a picture."""
    values = {row: {key: np.array(found)[:, None] for key, found in of.items()} for row, of in rows.items()}
    (count,) = {len(numbers) for of in values.values() for numbers in of.values()}
    return Table(values, tuple(map(str, range(count))), (), {})


def test_each_number_is_that_of_the_metric_on_the_rounded_picture(table: Table) -> None:
    """Written out once more, with the picture taken through 8 bit by hand; bicubic comes first."""
    assert table.rows == ["bicubic", "as bicubic", "brighter"]
    assert table.images == ("scene 0", "scene 1", "scene 2")
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
        assert table.difference("as bicubic", "bicubic", key).mean == pytest.approx(0, abs=1e-6)


def test_differences_are_taken_picture_by_picture() -> None:
    """Pictures differ by 10 dB, methods by 1: the interval of the difference is narrow all the same."""
    first = np.array([20.0, 30.0, 25.0, 35.0])
    found = made({"bicubic": {"psnr_y": first}, "a": {"psnr_y": first + np.array([1, 1.2, 0.9, 1.1])}})
    difference, mean = found.difference("a", "bicubic", "psnr_y"), found.interval("a", "psnr_y")
    assert difference.mean == pytest.approx(1.05) and 0.8 < difference.low < difference.high < 1.3
    assert mean.high - mean.low > 5


def test_draws_are_averaged_within_a_picture_before_the_bootstrap(tmp_path: Path) -> None:
    patches = torch.randint(80, 120, (4, 3, 32, 32), generator=torch.Generator().manual_seed(0)).byte()
    noisy = Degradation(4, noise=NoisePool(patches, ["a"] * 4, [""] * 4))
    write(tmp_path, a=(32, 40), b=(40, 32))
    scenes = degraded(sorted(tmp_path.glob("*.png")), noisy)
    table = evaluate({}, scenes, draws=3)
    values = table.values["bicubic"]["psnr_y"]
    assert values.shape == (2, 3) and len(set(values[0].tolist())) == 3
    assert table.per_image("bicubic", "psnr_y") == pytest.approx(values.mean(axis=1))
    assert table.interval("bicubic", "psnr_y") == metrics.mean_interval(values.mean(axis=1))
    assert (evaluate({}, scenes).values["bicubic"]["psnr_y"] == values[:, :1]).all()


def test_a_clean_up_that_is_asked_for_counts_for_every_degradation(tmp_path: Path) -> None:
    Degradation(4, cleanup=3).save(tmp_path / "camera.safetensors")
    for name in ("bicubic", str(tmp_path / "camera.safetensors")):
        assert evaluation.scenes.named_degradation(name, cleanup=2).cleanup == 2
    assert evaluation.scenes.named_degradation(name).cleanup == 3
    (one,) = degraded([write(tmp_path, a=(96, 208)) / "a.png"], evaluation.scenes.named_degradation("bicubic", 4, 2))
    pair = one.draw(0)
    assert pair.hr is not None and pair.hr.shape == (3, 48, 104) and pair.lr.shape == (3, 12, 26)


def test_pairs_are_found_by_name_also_with_the_scale_in_it(tmp_path: Path) -> None:
    """A name that HR has stays as it is; HR that is too large is cut."""
    write(tmp_path / "HR", a=(83, 80))
    write(tmp_path / "HR" / "sub", b=(80, 80), bx4=(80, 80))
    write(tmp_path / "LR", ax4=(20, 20))
    write(tmp_path / "LR" / "sub", b=(20, 20), bx4=(20, 20))
    scenes = matched(hr=tmp_path / "HR", lr=tmp_path / "LR")
    assert [one.name for one in scenes] == ["a", "sub/b", "sub/bx4"]
    for one in scenes:
        lr, hr = one.draw(0)
        assert hr is not None and hr.shape == (3, 80, 80) and lr.shape == (3, 20, 20)


@pytest.mark.parametrize(("kind", "scale"), [("lr", 4), ("made", 1)])
def test_a_missing_partner_and_a_wrong_size_are_named_and_the_rest_is_measured(
    tmp_path: Path, kind: str, scale: int
) -> None:
    size = (32 // scale, 40 // scale)
    hr = write(tmp_path / "HR", good=(32, 40), alone=(32, 40), wrong=(32, 40))
    other = write(tmp_path / "other", good=size, orphan=size, wrong=(48 // scale, 40 // scale))
    told: list[str] = []
    scenes = matched(hr=hr, **{kind: other if kind == "lr" else [other]})
    table = evaluate({}, scenes, on_error=told.append)
    assert table.images == ("good",) and list(table.failures) == told
    alone, orphan, wrong = told
    assert f"alone.png: no picture called alone.* in {other}; add it" in alone
    assert f"orphan.png: no picture called orphan.* in {hr}; add it" in orphan
    assert f"wrong.png has 40×32 pixels, expected 40×48 to fit {other}" in wrong


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    (write(tmp_path, a=(8, 8), b=(8, 8)) / "b.png").rename(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"a\.(png|jpg) and .*a\.(png|jpg) have the same name"):
        matched(lr=tmp_path)


def test_without_truth_only_what_needs_none_is_measured(tmp_path: Path) -> None:
    table = evaluate({"b": plainly(Blurry())}, matched(lr=write(tmp_path, a=(24, 48))))
    assert [metric.key for metric in table.metrics] == ["niqe", "lr_consistency"]
    assert "PSNR" not in markdown(table, "bicubic")
    assert "cannot be judged" in monotony(table, ["bicubic", "b"])


def test_the_middle_is_the_same_place_in_both_pictures() -> None:
    lr = torch.arange(12 * 20).reshape(1, 12, 20).expand(3, -1, -1).float()
    hr = lr.repeat_interleave(4, 1).repeat_interleave(4, 2)
    cut = middle(Scene("a", lambda _: View(lr, hr)), 6, 4).draw(0)
    assert cut.hr is not None and cut.lr.shape == (3, 6, 6) and cut.hr.shape == (3, 24, 24)
    assert cut.lr[0, 0, 0] == 3 * 20 + 7
    assert (cut.hr == cut.lr.repeat_interleave(4, 1).repeat_interleave(4, 2)).all()
    whole = middle(Scene("a", lambda _: View(lr, None)), 100, 4).draw(0)
    assert whole.lr.shape == lr.shape and whole.hr is None


def test_undefined_numbers_are_left_out_and_counted() -> None:
    flat = torch.full((3, 96, 208), 0.2)
    table = evaluate({}, [scene(0), Scene("flat", lambda _: View(flat[:, ::4, ::4], flat))])
    assert math.isnan(table.per_image("bicubic", "niqe")[1])
    assert math.isnan(table.per_image("bicubic", "psnr_y")[1])  # infinite, as the pictures are equal
    found = to_json(table, "bicubic")
    assert found["values"]["bicubic"]["niqe"][1] == [None]
    only = table.values["bicubic"]["niqe"][0, 0]
    assert found["means"]["bicubic"]["niqe"] == {"mean": only, "low": None, "high": None}
    assert all(f"- {note}" in markdown(table, "bicubic") for note in found["notes"])
    table = made({"bicubic": {"niqe": [5.0, math.nan]}, "a": {"niqe": [math.nan, math.nan]}})
    (note,) = to_json(table, "bicubic")["notes"]
    assert note.startswith("NIQE: undefined for 3 pictures of all rows (too small or too flat)")
    text = markdown(made({"bicubic": {"psnr_y": [20.0]}}), "bicubic")
    assert " 20.00 |" in text and "[" not in text and "Difference" not in text  # one picture has no interval


def test_one_failing_picture_leaves_the_same_pictures_in_every_row() -> None:
    def fails(_: int) -> View:
        raise ValueError("cannot be read")

    seen: list[tuple[int, int]] = []
    scenes = [scene(0), Scene("gone.png", fails), scene(1)]
    table = evaluate({"a": plainly(Blurry())}, scenes, progress=lambda *step: seen.append(step))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert table.images == ("scene 0", "scene 1")
    assert table.failures == ("gone.png: cannot be read",)
    assert all(table.values[row]["psnr_y"].shape == (2, 1) for row in table.rows)


def test_a_network_that_answers_nan_is_named() -> None:
    with pytest.raises(NothingMeasured, match=r"none of 1 pictures.*scene 0: the network answers NaN"):
        evaluate({"a": plainly(Blurry(math.nan))}, [scene(0)])


def test_what_makes_no_sense_is_refused() -> None:
    for scenes, network, scale, words in (
        ([], "a", 4, "no pictures"),
        ([scene(0), scene(0)], "a", 4, "two pictures would be called 'scene 0'"),
        ([scene(0)], "bicubic", 4, "two rows would be called 'bicubic'"),
        ([scene(0)], "a", 2, "a enlarges by 4"),
    ):
        with pytest.raises(EvaluationError, match=words):
            evaluate({network: plainly(Blurry())}, scenes, scale=scale)


def test_marks_say_what_the_interval_says() -> None:
    psnr, lpips, change = (np.tile(v, 2) for v in ([20, 21, 22], [0.5, 0.6, 0.5], [0.1, -0.1, 0.1]))
    steps = {"better": 1, "worse": -1, "same": 0}
    values = {"bicubic": {"psnr_y": psnr, "st_lpips": lpips}}
    for row, step in steps.items():
        values[row] = {"psnr_y": psnr + step + change, "st_lpips": lpips - step / 10 + change / 10}
    lines = markdown(made(values), "bicubic").splitlines()
    marks = {line.split()[1]: (line.count("✓"), line.count("✗")) for line in lines[-3:]}
    assert marks == {"better": (2, 0), "worse": (0, 2), "same": (0, 0)}
    assert lines[4].split("|")[2].strip() == "21.00 [20.17, 21.83]"
    few = {row: {name: value[:5] for name, value in of.items()} for row, of in values.items()}
    text = markdown(made(few), "bicubic")
    assert "Fewer than 6 pictures never tell: no marks." in text and text.count("✓") == text.count("✗") == 1


def test_columns_line_up_in_a_terminal_and_a_row_that_is_not_there_is_named(table: Table) -> None:
    lines = [line for line in markdown(table, "bicubic").splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines[:5]}) == 1 and len({len(line) for line in lines[5:]}) == 1
    titles = ["PSNR-Y ↑", "SSIM-Y ↑", "ST-LPIPS ↓", "NIQE ↓", "patch-SWD ↓", "LR consistency ↑"]
    for line, first in ((lines[0], ""), (lines[5], "minus bicubic")):
        assert [cell.strip() for cell in line.split("|")] == ["", first, *titles, ""]
    with pytest.raises(EvaluationError, match=r"'nobody'; there are bicubic, as bicubic, brighter"):
        markdown(table, "nobody")


def test_a_path_is_monotone_when_both_axes_fall_at_each_step() -> None:
    steps = {f"t{i}": {"psnr_y": [25.0 - i, 25.2 - i], "st_lpips": [0.5 - i / 10] * 2} for i in range(3)}
    assert monotony(made(steps), list(steps)).startswith("The path is monotone")
    assert monotony(made(steps), list(steps)[::-1]).count("PSNR-Y rises") == 2
    steps["t2"]["st_lpips"] = [0.45, 0.45]
    answer = monotony(made(steps), list(steps))
    assert answer == "The path is not monotone: ST-LPIPS rises from t1 to t2 by +0.0500 [+0.0500, +0.0500]."


def test_json_holds_every_number_and_survives_a_round_trip(table: Table) -> None:
    found = json.loads(json.dumps(to_json(table, "bicubic"), allow_nan=False))
    values = table.values["bicubic"]["psnr_y"]
    assert found["values"]["bicubic"]["psnr_y"] == values.tolist()
    assert found["means"]["bicubic"]["psnr_y"]["mean"] == pytest.approx(values.mean())
    assert set(found["differences"]) == {"as bicubic", "brighter"}
    assert {"python", "otsr", "torch", "numpy"} <= set(found["versions"])
    assert found["settings"] == {"scale": 4, "border": 4, "draws": 1}


@pytest.mark.slow
def test_the_phones_degradation_has_its_kernels_and_its_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otsr.evaluation.scenes.phone_crops", lambda: phone_crops(iso=1792))
    camera = evaluation.phone_degradation(4, cleanup=2)
    assert camera.kernels is not None and len(camera.kernels) > 0 and camera.cleanup == 2
    assert camera.noise is not None and len(camera.noise) > 50
