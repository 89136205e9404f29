"""`otsr evaluate`: tables, files, choices of data, bad input."""

import hashlib
import json
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
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two crops of photos, 192×96 (smaller ones have no NIQE): HR, LR, and what two programs made of it.

    Those of `named` are JPEG, with x4 in their names.
    """
    home = tmp_path_factory.mktemp("home")
    for name, path in zip(("a", "sub/b"), photos("val"), strict=False):
        image = Image.open(path).convert("RGB").crop((200, 200, 392, 296))
        small = image.resize((48, 24))
        soft = small.resize(image.size, Image.Resampling.BICUBIC)
        for place, picture in (
            (f"hr/{name}.png", image),
            (f"lr/{name}.png", small),
            (f"soft/{name}.png", soft),
        ):
            (home / place).parent.mkdir(exist_ok=True, parents=True)
            picture.save(home / place)
        (home / "named" / name).parent.mkdir(exist_ok=True, parents=True)
        image.save(home / "named" / f"{name}x4.jpg", quality=60)
    return home


@pytest.fixture
def numbers(otsr: Run, tmp_path: Path) -> Numbers:
    """What `otsr evaluate --json` writes, and what it says."""

    def run(*arguments: object) -> dict[str, Any]:
        result = otsr("evaluate", *arguments, "--json", tmp_path / "numbers.json")
        assert result.exit_code == 0, result.stderr
        return {**json.loads((tmp_path / "numbers.json").read_text()), "said": result.stderr, "shown": result.stdout}

    return run


def test_the_same_command_gives_the_same_file_and_another_seed_another(
    numbers: Numbers, pair: Path, home: Path, camera: Path
) -> None:
    one, two = str(pair / "fidelity.safetensors"), str(pair / "transport.safetensors")
    data = ("--data", home / "hr", "--degradation", camera, "--crop", 16)
    found, again = (numbers(*data, "--weights", one, two, "--against", one) for _ in range(2))
    assert found | {"said": ""} == again | {"said": ""}
    assert found["values"]["bicubic"] != numbers(*data, "--seed", 7)["values"]["bicubic"]
    assert found["settings"]["seed"] == 0 and set(found["settings"]["weights"]) == {one, two}
    assert set(found["differences"]) == {"bicubic", two}


def test_lr_is_the_phones_if_nothing_is_said_and_what_is_odd_about_a_picture_is_a_note(
    numbers: Numbers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = "otsr.evaluation.scenes.phone_degradation"  # it takes its time
    monkeypatch.setattr(phone, lambda scale, cleanup: Degradation(scale, None, None, (40, 60), cleanup))
    frames = [Image.new("RGB", (96, 96), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    found = numbers("--data", tmp_path, "--cleanup", 2)
    assert "jpeg=(40, 60), cleanup=2" in found["settings"]["details"]
    assert "estimating how the course's phone degrades" in found["said"]
    assert "note: " in found["said"] and "2 frames; only the first is used" in found["said"]
    assert "UserWarning" not in found["said"]


def test_weights_for_ncnn_are_told_by_their_numbers_not_by_their_graph(
    numbers: Numbers, tiny_weights: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("x.param", "x.bin"):
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(  # which loads the weights, and is asked which they were without a download
        "otsr.weights.file_of", lambda name, download: Path(name) if download else tmp_path / "x.param"
    )
    found = numbers("--weights", tiny_weights, "--lr", home / "lr", "--crop", 16)
    assert found["settings"]["weights"] == {str(tiny_weights): hashlib.sha256(b"x.bin").hexdigest()}


def test_pictures_degraded_beforehand_give_the_same_numbers(
    otsr: Run, numbers: Numbers, home: Path, camera: Path, tmp_path: Path
) -> None:
    """Draw d under seed s is what `otsr degrade` writes under seed s + d, in subfolders too."""
    of = ("--degradation", camera, "--seed")
    drawn = numbers("--data", home / "hr", *of, 3, "--draws", 2)["values"]["bicubic"]
    for draw in range(2):
        pairs = tmp_path / f"pairs {draw}"
        assert otsr("degrade", home / "hr", "-o", pairs, *of, 3 + draw).exit_code == 0
        found = numbers("--data", pairs / "HR", "--lr", pairs / "LR")["values"]["bicubic"]
        assert found == {key: [[draws[draw]] for draws in values] for key, values in drawn.items()}


def test_a_path_between_partners_is_shown_and_judged(numbers: Numbers, pair: Path, home: Path) -> None:
    start, end = (str(pair / f"{name}.safetensors") for name in ("fidelity", "transport"))
    data = ("--data", home / "hr", "--degradation", "bicubic", "--crop", 16)
    path = numbers(*data, "--weights", end, "--ot-weight", 1, 0.5, 0)
    assert "The path is" in path["shown"]
    assert list(path["values"]) == ["bicubic", f"{end}@0", f"{end}@0.5", f"{end}@1"]
    ends = numbers("--weights", start, end, *data)["values"]
    assert ends[start] == path["values"][f"{end}@0"] and ends[end] == path["values"][f"{end}@1"]


def test_pictures_of_other_programs_are_measured_like_our_own(
    otsr: Run, numbers: Numbers, home: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    """Also those that `otsr upscale` wrote: the row of its folder equals the row of its weights."""
    ours, soft, named, lr = (str(place) for place in (tmp_path, home / "soft", home / "named", home / "lr"))
    weights = ("--weights", tiny_weights)
    assert otsr("upscale", lr, "-o", ours, *weights, "--precision", "fp32").exit_code == 0
    values = numbers("--sr", ours, soft, named, "--data", home / "hr", "--lr", lr, *weights)["values"]
    assert list(values) == ["bicubic", ours, soft, named, str(tiny_weights)]
    assert values[ours] == values[str(tiny_weights)]
    alone = numbers("--sr", named, soft, "--data", home / "hr")
    assert alone["against"] == named and "lr_consistency" not in alone["metrics"]
    assert list(alone["values"]) == [named, soft]
    assert alone["values"][soft]["psnr_y"] == values[soft]["psnr_y"]


PHOTOS = ("--data", "photos/val", "--degradation", "bicubic", "--crop", 48)


@pytest.mark.parametrize(
    ("arguments", "count", "shown"),
    [
        (["--sr", "SOFT"], 2, {"NIQE"}),
        (["--lr", "SOFT", "--crop", 16], 2, {"NIQE", "LR consistency", "undefined for"}),
        (["--data", "phone", "--crop", 48], 11, {"NIQE", "LR consistency"}),
        (PHOTOS, 6, {"NIQE", "LR consistency", "PSNR"}),
    ],
)
def test_what_can_be_measured_is(otsr: Run, home: Path, arguments: list, count: int, shown: set[str]) -> None:
    """Without truth, what needs none; of small crops no NIQE. The course's pictures are known by name."""
    result = otsr("evaluate", *(home / "soft" if argument == "SOFT" else argument for argument in arguments))
    assert result.exit_code == 0, result.stderr
    titles = ("NIQE", "LR consistency", "PSNR", "undefined for")
    assert {title for title in titles if title in result.stdout} == shown
    assert f"Mean over {count} pictures" in result.stdout


def test_only_broken_pictures_end_with_status_1_and_no_table(otsr: Run, camera: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    result = otsr("evaluate", "--data", tmp_path, "--degradation", camera)
    assert result.exit_code == 1
    assert "none of 1 pictures could be measured" in result.stderr and "|" not in result.stdout
