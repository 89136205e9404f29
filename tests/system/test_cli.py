"""The command line itself: help, version, status, `estimate`, `degrade`, `download`, `export`, `info`, `compare`."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from command import Run, files, picture
from PIL import Image, ImageCms

from otsr.cli import app
from otsr.datasets import phone_crops, photos
from otsr.degradation import Degradation
from otsr.download import sets
from otsr.images import read, write
from otsr.weights import DEFAULT, catalogue


def test_every_command_shows_an_example_and_otsr_its_version(otsr: Run) -> None:
    assert len(app.registered_commands) == 11
    for command in app.registered_commands:
        name = command.name or command.callback.__name__  # type: ignore[union-attr]
        assert f"otsr {name}" in otsr(name, "--help", status=0).stdout.split("Example:")[1]
    assert otsr("--version").stdout.startswith("otsr 0")


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys; sys.argv[1:] = ['upscale', '--help']\nfrom otsr.cli import app\n"
    code += "try: app()\nfinally: print('torch' in sys.modules, file=sys.stderr)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stderr.strip() == "False"


@pytest.mark.parametrize(("command", "policy"), [("upscale", "PASSIVE"), ("train", None)])
def test_threads_sleep_while_they_wait_but_for_a_training(
    otsr: Run, monkeypatch: pytest.MonkeyPatch, command: str, policy: str | None
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "")  # restored afterwards
    monkeypatch.delenv("OMP_WAIT_POLICY")
    otsr(command, "--help", status=0)
    assert os.environ.get("OMP_WAIT_POLICY") == policy


def test_info_says_what_is_here_and_what_to_expect(otsr: Run, tiny_weights: Path) -> None:
    said = otsr("info", "--weights", tiny_weights, status=0).stdout
    for words in ("torch 2", "Device", "realsr-df2k", "12 megapixels", "GB of memory", "Less time: "):
        assert words in said


def test_estimate_writes_a_degradation_and_a_report(otsr: Run, tmp_path: Path) -> None:
    """Of two phone crops; the smooth one gives noise and perhaps no kernel, which is no failure."""
    strange = os.fsdecode(b"caf\xe9.jpg") if sys.platform == "linux" else "café.jpg"  # not UTF-8
    (tmp_path / "in").mkdir()
    for kind, iso, name in (("texture", 100, "from $5_ to $6.jpg"), ("smooth", 382, strange)):
        (crop,) = phone_crops(kind, iso=iso)
        shutil.copy(crop, tmp_path / "in" / name)
    otsr("estimate", tmp_path / "in", "-o", tmp_path / "phone.safetensors", status=0)
    made = [name for name in files(tmp_path) if "in/" not in name]
    assert made == ["phone.json", "phone.safetensors", "phone_report.png"]
    degradation = Degradation.load(tmp_path / "phone.safetensors")
    report = json.loads((tmp_path / "phone.json").read_text())
    assert degradation.scale == report["scale"] == 4
    assert degradation.jpeg == (98, 98) and report["jpeg"] == [98, 98]
    assert degradation.kernels is not None and len(degradation.kernels) == len(report["kernels"]) >= 1
    assert degradation.noise is not None and len(degradation.noise) == report["noise"]["patches"]
    for kernel in report["kernels"].values():
        assert 0.3 < kernel["sigma_minor"] <= kernel["sigma_major"] < 10
    with Image.open(tmp_path / "phone_report.png") as drawn:
        assert drawn.size[0] > 800 and len(set(np.asarray(drawn.convert("L")).ravel())) > 50


def test_degrade_makes_aligned_pairs_that_the_seed_decides(otsr: Run, camera: Path, tmp_path: Path) -> None:
    """A photo that is too small is named; what is there already is left alone."""
    for name, *size in (("one.png", 161, 122), ("sub/two.png", 160, 120), ("small.png", 3, 3)):
        picture(tmp_path / "hr" / name, *size)

    def degraded(out: str, seed: int, summary: str = "2 done, 1 failed") -> bytes:
        options = ("--degradation", camera, "--seed", seed)
        said = otsr("degrade", tmp_path / "hr", "-o", tmp_path / out, *options, status=1).stderr
        assert "small.png" in said and summary in said
        return (tmp_path / out / "LR" / "sub" / "two.png").read_bytes()

    lr = degraded("a", 0)
    assert files(tmp_path / "a") == ["HR/one.png", "HR/sub/two.png", "LR/one.png", "LR/sub/two.png"]
    assert Image.open(tmp_path / "a" / "HR" / "one.png").size == (160, 120)
    assert Image.open(tmp_path / "a" / "LR" / "one.png").size == (40, 30)
    assert degraded("b", 0) == lr != degraded("c", 1)
    (tmp_path / "a" / "LR" / "sub" / "two.png").unlink()
    assert degraded("a", 0, "1 done, 1 there already") == lr
    own = picture(tmp_path / "d" / "HR" / "one.png", 160, 120)  # somebody's
    before = own.read_bytes()
    degraded("d", 0, "1 done, 2 failed")
    assert own.read_bytes() == before


def test_estimate_of_nothing_useful_fails_and_writes_nothing(otsr: Run, tmp_path: Path) -> None:
    Image.new("RGB", (200, 200), (90, 90, 90)).save(tmp_path / "flat.png")
    said = otsr("estimate", tmp_path / "flat.png", "-o", tmp_path / "c.safetensors", status=1).stderr
    assert "kernel" in said and "noise" in said
    assert files(tmp_path) == ["flat.png"]


def test_estimate_and_degrade_warn_that_there_is_no_noise_and_succeed(otsr: Run, tmp_path: Path) -> None:
    photo, camera = tmp_path / "texture.png", tmp_path / "c.safetensors"
    write(photo, read(photos("val")[0])[:, 250:450, 300:500])
    said = otsr("estimate", photo, "-o", camera, status=0).stderr
    assert "warning: no noise" in said and "--max-variance" in said
    assert said.splitlines()[-1] == "next: add photos with a plain wall or sky"
    for name in (camera, "bicubic"):
        out = tmp_path / Path(name).stem
        result = otsr("degrade", photo, "-o", out, "--degradation", name, status=0)
        assert f"{name} has no noise" in result.stderr


def test_download_lists_weights_and_data_sets_and_says_where_they_are(
    otsr: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OTSR_DATASETS", raising=False)
    assert "Data sets, in datasets\n" in otsr("download", "--list").stdout
    monkeypatch.setenv("OTSR_DATASETS", str(tmp_path))
    listed = otsr("download", "--list").stdout
    assert f"Data sets, in {tmp_path}\n" in listed
    lines = {line.split()[0]: line for line in listed.splitlines()}
    for entry in (*catalogue(), *sets.DATA_SETS):
        assert entry.licence in lines[entry.name]
        assert re.search(r" [0-9.]+ [MG]B ", lines[entry.name])
    assert Path(otsr("download", DEFAULT).stdout.strip()).is_file()


def test_a_download_that_fails_ends_with_status_1_and_says_what_to_do(
    otsr: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTSR_CACHE", str(tmp_path))
    for proxy in ("http_proxy", "https_proxy"):  # nothing listens there: the same on every machine
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    said = otsr("download", "otsr-dped", status=1).stderr
    assert "could not be fetched" in said and "save it as" in said
    otsr("info", "--weights", "otsr-dped", status=1)  # no mistake in the command line


def test_compare_shows_weights_and_trainings_side_by_side(otsr: Run, tiny_weights: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    shutil.copy(tiny_weights, tmp_path / "run" / "last.safetensors")
    photo = picture(tmp_path / "photo.png", 60, 50)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.open(photo).save(photo, icc_profile=profile)
    options = ("--side", 32, "--crop", "20,10", "--weights", tiny_weights, tmp_path / "run")
    result = otsr("compare", photo, "-o", tmp_path / "sheet.png", *options, status=0)
    assert "32×32 pixels from 20,10 on" in result.stderr
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (4 * (128 + 8) + 8, 128 + 42 + 8 + 8)
        assert sheet.info["icc_profile"] == profile
    refused = otsr("compare", photo, "-o", photo, "--overwrite", *options, status=2)
    assert "is the photo itself" in refused.stderr


def test_export_makes_a_file_that_runs_without_pytorch(otsr: Run, tiny_weights: Path, tmp_path: Path) -> None:
    """What is there already is kept until --overwrite is given, and something can be written."""
    out = tmp_path / "small.onnx"
    out.write_bytes(b"mine")
    assert "--overwrite" in otsr("export", "psnr-small", "-o", out, status=2).stderr
    result = otsr("export", tiny_weights, "-o", out, "--overwrite", status=1)
    assert "ONNX has no operator" in result.stderr and out.read_bytes() == b"mine"
    assert "gives sr ×4" in otsr("export", "psnr-small", "-o", out, "--overwrite", status=0).stderr
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    (sr,) = session.run(None, {"lr": np.zeros((1, 3, 20, 30), np.float32)})
    assert sr.shape == (1, 3, 80, 120)


def test_upscale_says_what_its_weights_are_for(otsr: Run, tmp_path: Path) -> None:
    (entry,) = (entry for entry in catalogue() if entry.name == DEFAULT)
    help_text = " ".join(otsr("upscale", "--help").stdout.split())
    assert f"The default weights, {DEFAULT}, are for {entry.use}" in help_text
    result = otsr("upscale", picture(tmp_path / "a.png"), "-o", tmp_path / "b.png", status=0)
    assert f"{DEFAULT} is for {entry.use}" in result.stderr


def test_a_recipe_works_by_name_anywhere(otsr: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "name: tiny" in otsr("train", "tiny", "--show").stdout
    otsr("train", "small", "--show", status=0)  # its base lies beside it
