"""`otsr pack` and `otsr train`: stores, recipes, statuses, interruption and resumption."""

import locale
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command import Run, files, picture
from safetensors.torch import load_file

from otsr.degradation import Degradation
from otsr.training import load_config
from otsr.training.store import Store

ROOT = Path(__file__).parents[2]

RECIPE = """\
name: quick
steps: 8
network: {name: Compact, nf: 4, nb: 1}
data: {hr: photos, crop: 16, batch: 2, workers: 0}
validation: {hr: photos, images: 1}
losses: {pixel: {weight: 1}}
precision: fp32
every: {validate: 4, checkpoint: 2, log: 1, pictures: 4}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with two photos and a recipe."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png"):
        picture(tmp_path / "photos" / name, 208, 104)  # NIQE needs 192×96
    (tmp_path / "quick.yml").write_text(RECIPE)
    return tmp_path


def test_pack_makes_a_store_names_a_broken_photo_and_replaces_a_store_only_when_told_to(otsr: Run, place: Path) -> None:
    pack = ("pack", "photos", "-o", "photos.lmdb")
    result = otsr(*pack, "--cleanup", 2)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("photos.lmdb: 2 photos, ")
    store = Store("photos.lmdb")
    assert len(store) == 2 and store.shape(0) == (52, 104)
    (place / "photos" / "broken.png").write_bytes(b"\x89PNG")
    result = otsr(*pack)
    assert result.exit_code == 2 and "--overwrite" in result.stderr
    result = otsr(*pack, "--overwrite")
    assert result.exit_code == 1
    assert "broken.png" in result.stderr and "2 photos" in result.stdout


def test_a_camera_is_the_degradation_of_the_recipe(otsr: Run, place: Path) -> None:
    camera = place / "my 📷.safetensors"
    Degradation(4).save(camera)
    result = otsr("train", "adapt", "--camera", camera, "--show")
    assert result.exit_code == 0, result.stderr
    assert f"degradation: {camera}" in result.stdout
    result = otsr("train", "adapt", "--camera", "photos")
    assert result.exit_code == 2
    assert "photos: no such file; make one with: otsr estimate PHOTOS -o" in result.stderr


def test_train_shows_the_whole_recipe_and_does_not_train_also_where_the_system_has_another_encoding(
    place: Path,
) -> None:
    (place / "quick.yml").write_text(RECIPE.replace("{hr: photos,", "{hr: фото,"), encoding="utf-8")
    before = files(place)
    command = [sys.executable, "-m", "otsr", "train", "quick.yml", "--set", "data.batch=3", "--show"]
    shown = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "cp1252"}, check=True)
    assert files(place) == before
    (place / "mine.yml").write_bytes(shown.stdout)
    assert load_config("mine.yml") == load_config("quick.yml", ["data.batch=3"])


def test_every_problem_of_a_recipe_is_a_line_on_stderr(otsr: Run, place: Path) -> None:
    (place / "quick.yml").write_text(RECIPE.replace("steps: 8", "stepss: 8"))
    result = otsr("train", "quick.yml", "--set", "losses.edge.knd=sobel")
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert "error: quick.yml:2: unknown key stepss; did you mean steps?" in lines
    assert any("--set losses.edge.knd=sobel: unknown key" in line for line in lines)
    assert all(line.startswith("error: ") for line in lines)
    assert files(place) == ["photos/a.png", "photos/b.png", "quick.yml"]


def test_options_of_realsr_are_translated_and_what_is_lost_is_told(otsr: Run, place: Path) -> None:
    (place / "theirs.yml").write_text("""\
name: theirs
scale: 4
gpu_ids: [0]
datasets: {train: {dataroot_GT: photos, GT_size: 16, batch_size: 2}}
network_G: {which_model_G: RRDBNet, nf: 8, nb: 1, gc: 4}
train: {niter: 10, lr_steps: [5], pixel_weight: 1}
""")
    result = otsr("train", "theirs.yml", "--show")
    assert result.exit_code == 0, result.stderr
    assert "note: theirs.yml:3: gpu_ids has no counterpart" in result.stderr
    (place / "ours.yml").write_text(result.stdout)
    assert otsr("train", "ours.yml", "--show").stderr == ""


def test_a_training_leaves_weights_that_upscale_with_a_note_if_it_is_not_finished(otsr: Run, place: Path) -> None:
    result = otsr("train", "quick.yml")
    first, second = result.stderr.splitlines()[:2]
    assert first.startswith("quick: 8 steps, into runs/quick; from step 1 on ")
    assert re.search(r"^step 1/8 .* s/step  \S+ \S+ left$", second)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("runs/quick: 8 steps")
    run = place / "runs" / "quick"
    assert {"config.yml", "last.safetensors", "best.safetensors", "validation.tsv"} <= set(files(run))
    upscale = ("upscale", "photos/a.png", "-o", "large.png", "--overwrite", "--weights")
    for weights in (run, run / "last.safetensors"):
        answer = otsr(*upscale, weights)
        assert answer.exit_code == 0 and "not finished" not in answer.stderr, answer.stderr
    recipe = run / "config.yml"
    recipe.write_text(recipe.read_text().replace("\nsteps: 8\n", "\n# größer\nsteps: 9\n"), encoding="utf-8")
    usual = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, "C")  # a system whose own encoding is another, as Windows'
        answer = otsr(*upscale, "runs/quick")
    finally:
        locale.setlocale(locale.LC_CTYPE, usual)
    assert answer.exit_code == 0, answer.stderr
    assert "note: runs/quick is a training that is not finished: step 8 of 9" in answer.stderr


def test_a_training_is_not_written_over_but_can_be_made_longer_and_its_kept_recipe_gives_the_same(
    otsr: Run, place: Path
) -> None:
    assert otsr("train", "quick.yml", "--set", "steps=4").exit_code == 0
    kept = (place / "runs/quick/last.safetensors").read_bytes()
    result = otsr("train", "quick.yml", "--set", "seed=3")
    assert result.exit_code == 1 and "--resume" in result.stderr
    assert (place / "runs/quick/last.safetensors").read_bytes() == kept
    result = otsr("train", "quick.yml", "--resume")
    assert result.exit_code == 0, result.stderr
    assert otsr("train", "runs/quick/config.yml", "-o", "whole").exit_code == 0
    a, b = (load_file(place / folder / "last.safetensors") for folder in ("runs/quick", "whole"))
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_the_course_recipe_trains_without_the_network(
    otsr: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it learns in its 100 steps is printed, and compared, in notebook 07."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("OTSR_CACHE", str(tmp_path))
    few = "--set steps=4 --set every.validate=4 --set validation.images=1 --set data.degradation=bicubic"
    answer = otsr("train", ROOT / "configs" / "tiny.yml", "-o", tmp_path / "run", *few.split())
    assert answer.exit_code == 0, answer.stderr
    rows = [row.split("\t") for row in (tmp_path / "run" / "validation.tsv").read_text().splitlines()]
    scores = dict(zip(rows[0], map(float, rows[-1]), strict=True))
    assert scores["step"] == 4 and 0.3 < scores["st_lpips"] < 1 and scores["psnr_y"] > 15
