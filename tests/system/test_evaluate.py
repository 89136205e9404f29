"""`otsr evaluate`: tables, files, choices of data, bad input."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import Run
from PIL import Image

from otsr.datasets import photos
from otsr.degradation import Degradation

Numbers = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def hr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two crops of photos, 192×96: no smaller ones have a NIQE."""
    folder = tmp_path_factory.mktemp("hr")
    for path in photos("val")[:2]:
        Image.open(path).convert("RGB").crop((200, 200, 392, 296)).save(folder / f"{path.stem}.png")
    return folder


@pytest.fixture
def numbers(otsr: Run, tmp_path: Path) -> Numbers:
    """What `otsr evaluate --json` writes."""

    def run(*arguments: object) -> dict[str, Any]:
        result = otsr("evaluate", *arguments, "--json", tmp_path / "numbers.json")
        assert result.exit_code == 0, result.stderr
        return json.loads((tmp_path / "numbers.json").read_text())

    return run


def test_the_same_command_gives_the_same_file_and_another_seed_another(
    numbers: Numbers, pair: Path, hr: Path, camera: Path
) -> None:
    one, two = str(pair / "fidelity.safetensors"), str(pair / "transport.safetensors")
    data = ("--data", hr, "--degradation", camera, "--crop", 16)
    found, again = (numbers(*data, "--weights", one, two, "--against", one) for _ in range(2))
    assert found == again
    assert found["values"]["bicubic"] != numbers(*data, "--seed", 7)["values"]["bicubic"]
    assert found["settings"]["seed"] == 0 and set(found["settings"]["weights"]) == {one, two}
    assert set(found["differences"]) == {"bicubic", two}


def test_lr_is_as_from_the_phone_if_nothing_is_said_and_what_is_odd_about_a_picture_is_a_note(
    otsr: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    camera = "otsr.evaluation.scenes.phone_degradation"  # which takes its time
    monkeypatch.setattr(camera, lambda *options, **more: asked.append((options, more)) or Degradation(4))
    frames = [Image.new("RGB", (96, 96), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    result = otsr("evaluate", "--data", tmp_path, "--cleanup", 2)
    assert result.exit_code == 0 and asked == [((4,), {"cleanup": 2.0})]
    assert "estimating how the course's phone degrades" in result.stderr
    assert "note: " in result.stderr and "2 frames; only the first is used" in result.stderr
    assert "UserWarning" not in result.stderr


def test_weights_for_ncnn_are_told_by_their_numbers_not_by_their_graph(
    numbers: Numbers, tiny_weights: Path, hr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("x.param", "x.bin"):
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(  # which loads the weights, and is asked which they were without a download
        "otsr.weights.file_of", lambda name, download: Path(name) if download else tmp_path / "x.param"
    )
    found = numbers("--weights", tiny_weights, "--data", hr, "--degradation", "bicubic")
    assert found["settings"]["weights"] == {str(tiny_weights): hashlib.sha256(b"x.bin").hexdigest()}


def test_pictures_degraded_beforehand_give_the_same_numbers(
    otsr: Run, numbers: Numbers, hr: Path, camera: Path, tmp_path: Path
) -> None:
    """Draw d under seed s is what `otsr degrade` writes under seed s + d, in subfolders too."""
    (tmp_path / "hr" / "sub").mkdir(parents=True)
    for number, path in enumerate(sorted(hr.iterdir())):
        shutil.copy(path, tmp_path / "hr" / ("sub" if number else "") / path.name)
    of = ("--degradation", camera, "--seed")
    drawn = numbers("--data", tmp_path / "hr", *of, 3, "--draws", 2)["values"]["bicubic"]
    for draw in range(2):
        pairs = tmp_path / f"pairs {draw}"
        assert otsr("degrade", tmp_path / "hr", "-o", pairs, *of, 3 + draw).exit_code == 0
        found = numbers("--data", pairs / "HR", "--lr", pairs / "LR")["values"]["bicubic"]
        assert found == {key: [[draws[draw]] for draws in values] for key, values in drawn.items()}


def test_a_path_between_partners_is_shown_and_judged(
    otsr: Run, numbers: Numbers, pair: Path, hr: Path, tmp_path: Path
) -> None:
    start, end = (str(pair / f"{name}.safetensors") for name in ("fidelity", "transport"))
    data = ("--data", hr, "--degradation", "bicubic", "--crop", 16)
    path = ("--weights", end, "--ot-weight", 1, 0.5, 0, "--json", tmp_path / "path.json")
    result = otsr("evaluate", *data, *path)
    assert result.exit_code == 0 and "The path is" in result.stdout, result.stderr
    found = json.loads((tmp_path / "path.json").read_text())["values"]
    assert list(found) == ["bicubic", f"{end}@0", f"{end}@0.5", f"{end}@1"]
    ends = numbers("--weights", start, end, *data)["values"]
    assert ends[start] == found[f"{end}@0"] and ends[end] == found[f"{end}@1"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, hr: Path) -> Path:
    """Two programs' pictures of the HR ones: `soft`, and `named` with x4 in the names and JPEG noise."""
    folder = tmp_path_factory.mktemp("made")
    for name in ("soft", "named"):
        (folder / name).mkdir()
    for path in hr.iterdir():
        image = Image.open(path)
        image.resize((48, 24)).resize(image.size, Image.Resampling.BICUBIC).save(folder / "soft" / path.name)
        image.save(folder / "named" / f"{path.stem}x4.jpg", quality=60)
    return folder


def test_pictures_of_other_programs_are_measured_like_our_own(
    otsr: Run, numbers: Numbers, hr: Path, made: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    """Also those that `otsr upscale` wrote: the row of its folder equals the row of its weights."""
    lr, ours, soft, named = map(str, (tmp_path / "lr", tmp_path / "ours", made / "soft", made / "named"))
    Path(lr).mkdir()
    for path in hr.iterdir():
        Image.open(path).resize((48, 24)).save(Path(lr) / path.name)
    assert otsr("upscale", lr, "-o", ours, "--weights", tiny_weights, "--precision", "fp32").exit_code == 0
    values = numbers("--sr", ours, soft, named, "--data", hr, "--lr", lr, "--weights", tiny_weights)["values"]
    assert list(values) == ["bicubic", ours, soft, named, str(tiny_weights)]
    assert values[ours] == values[str(tiny_weights)]
    alone = numbers("--sr", named, soft, "--data", hr)
    assert alone["against"] == named and "lr_consistency" not in alone["metrics"]
    assert list(alone["values"]) == [named, soft]
    assert alone["values"][soft]["psnr_y"] == values[soft]["psnr_y"]


@pytest.mark.parametrize(
    ("arguments", "count", "shown"),
    [
        (["--sr", "SOFT"], 2, {"NIQE"}),
        (["--lr", "SOFT", "--crop", 16], 2, {"NIQE", "LR consistency", "undefined for"}),
        (["--data", "phone", "--crop", 48], 11, {"NIQE", "LR consistency"}),
        (["--data", "photos/val", "--degradation", "bicubic", "--crop", 48], 6, {"NIQE", "LR consistency", "PSNR"}),
    ],
)  # fmt: skip
def test_what_can_be_measured_is(otsr: Run, made: Path, arguments: list, count: int, shown: set[str]) -> None:
    """Without truth, what needs none; of small crops no NIQE. The course's pictures are known by name."""
    result = otsr("evaluate", *(made / "soft" if argument == "SOFT" else argument for argument in arguments))
    assert result.exit_code == 0, result.stderr
    titles = ("NIQE", "LR consistency", "PSNR", "undefined for")
    assert {title for title in titles if title in result.stdout} == shown
    assert f"Mean over {count} pictures" in result.stdout


def test_only_broken_pictures_end_with_status_1_and_no_table(otsr: Run, camera: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    result = otsr("evaluate", "--data", tmp_path, "--degradation", camera)
    assert result.exit_code == 1
    assert "none of 1 pictures could be measured" in result.stderr and "|" not in result.stdout
