"""`otsr evaluate`: tables, files, choices of data, bad input."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from command import Run
from PIL import Image

from otsr.datasets import photos
from otsr.images import atomic_path


@pytest.fixture(scope="module")
def hr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three crops of photos, 192×96: no smaller ones have a NIQE."""
    folder = tmp_path_factory.mktemp("hr")
    for path in photos("val")[:3]:
        Image.open(path).convert("RGB").crop((200, 200, 392, 296)).save(folder / f"{path.stem}.png")
    return folder


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A degradation file with noise."""
    from otsr.degradation import Degradation, NoisePool, kernels

    patches = torch.randint(90, 110, (4, 3, 32, 32), generator=torch.Generator().manual_seed(0)).byte()
    path = tmp_path_factory.mktemp("camera") / "phone.safetensors"
    Degradation(4, [kernels.gaussian(8, 2.0)], NoisePool(patches, ["a"] * 4, [""] * 4)).save(path)
    return path


def test_the_table_names_rows_columns_and_better_sides(
    otsr: Run, tiny_weights: Path, hr: Path, camera: Path
) -> None:
    result = otsr("evaluate", "--weights", tiny_weights, "--data", hr, "--degradation", camera)
    assert result.exit_code == 0, result.stderr
    head, _, *rows = [line for line in result.stdout.splitlines() if line.startswith("|")]
    titles = ("PSNR-Y ↑", "SSIM-Y ↑", "ST-LPIPS ↓", "NIQE ↓", "patch-SWD ↓", "LR consistency ↑")
    assert all(title in head for title in titles)
    assert rows[0].startswith("| bicubic") and str(tiny_weights) in rows[1]
    assert "minus bicubic" in rows[2]
    assert "Mean over 3 pictures" in result.stdout


@pytest.mark.slow
def test_the_same_command_gives_the_same_files(
    otsr: Run, pair: Path, hr: Path, camera: Path, tmp_path: Path
) -> None:
    one, two = pair / "fidelity.safetensors", pair / "transport.safetensors"
    data = ("--data", hr, "--degradation", camera, "--draws", 2)
    arguments = ("evaluate", "--weights", one, two, *data, "--against", one)
    for run in ("a", "b"):
        result = otsr(*arguments, "--json", tmp_path / f"{run}.json")
        assert result.exit_code == 0, result.stderr
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["settings"]["draws"] == 2 and found["settings"]["seed"] == 0
    assert set(found["settings"]["weights"]) == {
        str(pair / f"{n}.safetensors") for n in ("fidelity", "transport")
    }
    assert [len(draws) for draws in found["values"]["bicubic"]["psnr_y"]] == [2, 2, 2]
    assert set(found["differences"]) == {"bicubic", str(two)}
    assert otsr("evaluate", *data, "--seed", 7, "--json", tmp_path / "c.json").exit_code == 0
    other = json.loads((tmp_path / "c.json").read_text())
    assert other["values"]["bicubic"] != found["values"]["bicubic"]


def test_weights_for_ncnn_are_told_by_their_numbers_not_by_their_graph(
    otsr: Run, tiny_weights: Path, hr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("x.param", "x.bin"):
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(  # which loads the weights, and is asked which they were without a download
        "otsr.weights.file_of", lambda name, download: Path(name) if download else tmp_path / "x.param"
    )
    data = ("--data", hr, "--degradation", "bicubic", "--json", tmp_path / "out.json")
    assert otsr("evaluate", "--weights", tiny_weights, *data).exit_code == 0
    told = json.loads((tmp_path / "out.json").read_text())["settings"]["weights"]
    assert told == {str(tiny_weights): hashlib.sha256(b"x.bin").hexdigest()}


def test_pictures_degraded_beforehand_give_the_same_numbers(
    otsr: Run, hr: Path, camera: Path, tmp_path: Path
) -> None:
    otsr("degrade", hr, "-o", tmp_path / "pairs", "--degradation", camera)
    choices = (
        ("--data", hr, "--degradation", camera),
        ("--data", tmp_path / "pairs/HR", "--lr", tmp_path / "pairs/LR"),
    )
    for number, choice in enumerate(choices):
        result = otsr("evaluate", *choice, "--json", tmp_path / f"{number}.json")
        assert result.exit_code == 0, result.stderr
    values = [json.loads((tmp_path / f"{n}.json").read_text())["values"] for n in (0, 1)]
    assert values[0] == values[1]


def test_a_path_between_partners_is_shown_and_judged(
    otsr: Run, pair: Path, hr: Path, camera: Path, tmp_path: Path
) -> None:
    name = pair / "transport.safetensors"
    result = otsr("evaluate", "--weights", name, "--data", hr, "--degradation", camera,
                  "--ot-weight", 1, 0.5, 0, "--json", tmp_path / "path.json")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    found = json.loads((tmp_path / "path.json").read_text())["values"]
    assert list(found) == ["bicubic", f"{name}@0", f"{name}@0.5", f"{name}@1"]
    assert "The path is" in result.stdout
    for row, weights in ((f"{name}@0", "fidelity"), (f"{name}@1", "transport")):
        alone = otsr("evaluate", "--weights", pair / f"{weights}.safetensors", "--data", hr,
                     "--degradation", camera, "--json", tmp_path / "alone.json")  # fmt: skip
        assert alone.exit_code == 0
        values = json.loads((tmp_path / "alone.json").read_text())["values"]
        assert values[str(pair / f"{weights}.safetensors")] == found[row]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, hr: Path) -> Path:
    """Two programs' pictures of the HR ones: `soft`, and `named` with x4 in the names and JPEG noise."""
    folder = tmp_path_factory.mktemp("made")
    for path in hr.iterdir():
        image = Image.open(path)
        for name in ("soft", "named"):
            (folder / name).mkdir(exist_ok=True)
        image.resize((48, 24)).resize(image.size, Image.Resampling.BICUBIC).save(folder / "soft" / path.name)
        image.save(folder / "named" / f"{path.stem}x4.jpg", quality=60)
    return folder


def test_pictures_of_other_programs_are_measured_like_our_own(
    otsr: Run, hr: Path, made: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    """Also those that `otsr upscale` wrote: the row of its folder equals the row of its weights."""
    (tmp_path / "lr").mkdir()
    for path in hr.iterdir():
        Image.open(path).resize((48, 24)).save(tmp_path / "lr" / path.name)
    ours = tmp_path / "ours"
    options = ("-o", ours, "--weights", tiny_weights, "--precision", "fp32")
    assert otsr("upscale", tmp_path / "lr", *options).exit_code == 0
    result = otsr("evaluate", "--sr", ours, made / "soft", made / "named", "--data", hr, "--lr", tmp_path / "lr",
                  "--weights", tiny_weights, "--json", tmp_path / "all.json")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    values = json.loads((tmp_path / "all.json").read_text())["values"]
    assert list(values) == ["bicubic", str(ours), str(made / "soft"), str(made / "named"), str(tiny_weights)]
    assert values[str(ours)] == values[str(tiny_weights)]
    result = otsr(
        "evaluate", "--sr", made / "named", made / "soft", "--data", hr, "--json", tmp_path / "sr.json"
    )
    assert result.exit_code == 0, result.stderr
    assert "bicubic" not in result.stdout and "LR consistency" not in result.stdout
    assert f"minus {made / 'named'}" in result.stdout and "] ✗" in result.stdout
    alone = json.loads((tmp_path / "sr.json").read_text())["values"]
    assert alone[str(made / "soft")]["psnr_y"] == values[str(made / "soft")]["psnr_y"]


def test_pictures_of_other_programs_without_truth_get_what_needs_none(otsr: Run, made: Path) -> None:
    result = otsr("evaluate", "--sr", made / "soft")
    assert result.exit_code == 0, result.stderr
    assert "NIQE" in result.stdout and "PSNR" not in result.stdout and "consistency" not in result.stdout


def test_missing_extra_and_wrong_sized_pictures_of_other_programs_are_named(
    otsr: Run, hr: Path, made: Path, tmp_path: Path
) -> None:
    first, second, third = sorted(path.stem for path in hr.iterdir())
    shutil.copytree(made / "soft", tmp_path / "sr")
    (tmp_path / "sr" / f"{first}.png").rename(tmp_path / "sr" / "extra.png")
    Image.new("RGB", (184, 96)).save(tmp_path / "sr" / f"{second}.png")
    result = otsr("evaluate", "--sr", tmp_path / "sr", "--data", hr)
    assert result.exit_code == 1
    assert f"{first}.png: no picture called {first}.* in {tmp_path / 'sr'}; add it" in result.stderr
    assert f"extra.png: no picture called extra.* in {hr}; add it" in result.stderr
    assert f"{second}.png has 192×96 pixels, expected 184×96 to fit {tmp_path / 'sr'}" in result.stderr
    assert "Mean over 1 picture;" in result.stdout and third


def test_photos_without_truth_get_what_needs_none(otsr: Run, hr: Path) -> None:
    result = otsr("evaluate", "--lr", hr, "--crop", 48)
    assert result.exit_code == 0, result.stderr
    assert "NIQE" in result.stdout and "LR consistency" in result.stdout and "PSNR" not in result.stdout


def test_the_phones_own_crops_have_no_truth(otsr: Run) -> None:
    result = otsr("evaluate", "--data", "phone", "--crop", 48)
    assert result.exit_code == 0, result.stderr
    assert "Mean over 11 pictures" in result.stdout and "PSNR" not in result.stdout


def test_course_photos_are_known_by_name(otsr: Run) -> None:
    result = otsr(
        "evaluate", "--data", "photos/val", "--degradation", "bicubic", "--cleanup", 4, "--crop", 48
    )
    assert result.exit_code == 0, result.stderr
    assert "Mean over 6 pictures" in result.stdout


def test_a_broken_picture_is_named_and_the_rest_is_done(
    otsr: Run, hr: Path, camera: Path, tmp_path: Path
) -> None:
    shutil.copytree(hr, tmp_path / "hr")
    (tmp_path / "hr" / "broken.png").write_bytes(b"no picture")
    result = otsr("evaluate", "--data", tmp_path / "hr", "--degradation", camera)
    assert result.exit_code == 1
    assert "broken.png" in result.stderr and "Mean over 3 pictures" in result.stdout


def test_only_broken_pictures_end_with_status_1_and_no_table(otsr: Run, camera: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    result = otsr("evaluate", "--data", tmp_path, "--degradation", camera)
    assert result.exit_code == 1
    assert "none of 1 pictures could be measured" in result.stderr and "|" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name --data"),
        (["--data", "EMPTY", "--degradation", "bicubic"], "no pictures in this folder"),
        (["--data", "HR2", "--degradation", "bicubic"], "no such file or folder; did you mean hr"),
        (["--data", "HR", "--weights", "otsr-huge"], "'otsr-huge'"),
        (["--data", "HR", "--degradation", "no.safetensors"], "no.safetensors: no such file"),
        (["--data", "HR", "--lr", "HR", "--cleanup", 2], "these are there already"),
        (["--data", "HR", "--degradation", "bicubic", "--against", "nobody"], "--against nobody: no such row"),
        (["--lr", "HR", "--draws", 2], "--draws varies kernels and noise"),
        (["--data", "HR", "--json", "no/folder/a.json"], "the folder no/folder does not exist"),
        (["--data", "HR", "--ot-weight", 0.5], "--ot-weight needs --weights"),
        (["--data", "HR", "--ot-weight", 0.5, "--weights", "TINY"], "has no partner"),
        (["--data", "HR", "--ot-weight", 1.5, "--weights", "TINY"], "ot_weight is 1.5"),
        (["--data", "HR", "--weights", "TINY", "TINY"], "--weights names the same value twice"),
        (["--sr", "HR", "HR"], "--sr names the same value twice"),
        (["--sr", "EMPTY"], "no pictures in this folder"),
        (["--sr", "HR", "--data", "HR", "--weights", "TINY"], "name their folder with --lr"),
        (["--sr", "HR", "--data", "HR", "--crop", 20], "do not go together"),
        (["--sr", "HR", "--data", "HR", "--degradation", "bicubic"], "these are there already"),
        (["--data", "phone", "--lr", "HR"], "brings its own LR pictures"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_ends_with_status_2(
    otsr: Run, hr: Path, tiny_weights: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    places = {"EMPTY": tmp_path, "HR": hr, "HR2": hr.with_name("hr2"), "TINY": tiny_weights}
    result = otsr("evaluate", *(places.get(str(a), a) for a in arguments))
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.output


def test_a_degradation_of_another_scale_is_refused(
    otsr: Run, hr: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    from otsr.degradation import Degradation

    with atomic_path(tmp_path / "two.safetensors") as path:
        Degradation(2).save(path)
    result = otsr(
        "evaluate", "--weights", tiny_weights, "--data", hr, "--degradation", tmp_path / "two.safetensors"
    )
    assert result.exit_code == 2
    assert "made for ×2, not ×4; estimate it with --scale 4" in result.stderr
